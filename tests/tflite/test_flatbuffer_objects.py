"""A .tflite whose tables are shared is not unpacked into more objects than its bytes could hold."""

from __future__ import annotations

import flatbuffers
import pytest
from ai_edge_litert.tools.flatbuffer_utils import schema_fb as schema

from attnexport.core import ModelError
from attnexport.tflite.graph import parse_model


def shared(tensors: int, subgraphs: int) -> bytes:
    """A file of one tensor, which is listed so often by one subgraph, which is listed so often."""
    builder = flatbuffers.Builder()
    name = builder.CreateString("t")
    schema.TensorStart(builder)
    schema.TensorAddName(builder, name)
    tensor = schema.TensorEnd(builder)
    schema.SubGraphStartTensorsVector(builder, tensors)
    for _ in range(tensors):
        builder.PrependUOffsetTRelative(tensor)
    vector = builder.EndVector()
    schema.SubGraphStart(builder)
    schema.SubGraphAddTensors(builder, vector)
    subgraph = schema.SubGraphEnd(builder)
    schema.ModelStartSubgraphsVector(builder, subgraphs)
    for _ in range(subgraphs):
        builder.PrependUOffsetTRelative(subgraph)
    vector = builder.EndVector()
    schema.ModelStart(builder)
    schema.ModelAddSubgraphs(builder, vector)
    builder.Finish(schema.ModelEnd(builder), b"TFL3")
    return bytes(builder.Output())


def test_a_small_file_of_endless_objects_is_refused() -> None:
    content = shared(2000, 2000)  # 16 KB, four million tensors
    assert len(content) < 20_000
    with pytest.raises(ModelError, match=r"a damaged .tflite file: it has 16,\d+ bytes, and more than 69,\d+ objects"):
        parse_model(content)
