"""Files without signatures, as TensorFlow Serving serves them: by the names of tensors, or by their metadata."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils
from flatbuffers import flexbuffers
from tensorflow.core.protobuf import meta_graph_pb2

from attnexport.core.errors import ModelError
from attnexport.tflite import TFLiteRunner
from attnexport.workflows.serve_models import ArtifactLoader

X = np.ones((1, 3), np.float32)


@pytest.fixture
def model(tmp_path: Path) -> Any:
    """The objects of a file that computes y = 2 x, without signatures. A test may change them."""
    path = tmp_path / "model"
    twice = tf.function(lambda x: {"y": x + x}, [tf.TensorSpec((1, 3), tf.float32, name="x")])
    tf.saved_model.save(tf.Module(), str(path), signatures=twice)
    found = flatbuffer_utils.read_model_from_bytearray(
        bytearray(tf.lite.TFLiteConverter.from_saved_model(str(path)).convert())
    )
    found.signatureDefs = []
    return found


def content(model: Any) -> bytes:
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def test_a_file_without_signatures_is_served_by_its_tensors(model: Any, tmp_path: Path) -> None:
    data = content(model)
    with pytest.raises(ModelError, match="has no signatures"):
        TFLiteRunner(data)
    (tmp_path / "model.tflite").write_bytes(data)
    served = ArtifactLoader(prefer_tflite=True).load(tmp_path / "model.tflite")
    signature = served.signatures["serving_default"]
    [takes], [gives] = signature.inputs, signature.outputs
    assert ":" not in takes.name + gives.name
    np.testing.assert_array_equal(served.run({takes.name: X}, "serving_default", ())[gives.name], 2 * X)


def test_signatures_in_the_metadata_are_served(model: Any) -> None:
    plain = TFLiteRunner(content(model), by_tensors=True).signatures["serving_default"]
    definition = meta_graph_pb2.SignatureDef()
    definition.inputs["in"].name = f"{plain.inputs[0].name}:0"
    definition.outputs["out"].name = plain.outputs[0].name
    subgraph = model.subgraphs[0]
    definition.outputs["out"].name = subgraph.tensors[subgraph.outputs[0]].name.decode()
    builder = flexbuffers.Builder()
    with builder.Map():
        builder.Key("mine")
        builder.Blob(definition.SerializeToString())
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(bytes(builder.Finish()), np.uint8)
    metadata = schema.MetadataT()
    metadata.name, metadata.buffer = b"signature_defs_metadata", len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), metadata]
    runner = TFLiteRunner(content(model), by_tensors=True)
    assert list(runner.signatures) == ["mine"]
    np.testing.assert_array_equal(runner.run({"in": X}, "mine")["out"], 2 * X)
