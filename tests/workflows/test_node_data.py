"""Node data for Model Explorer: the numbers of a .tflite's operators and tensors, in the form that it loads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import attnexport as ax
from attnexport.core.errors import ArgumentError
from attnexport.parity.layers import LayerCheck
from attnexport.tflite.graph import read_graph
from attnexport.workflows.layers import Inside, keep_float_pattern
from attnexport.workflows.node_data import errors, write_node_data

FILE = Path(__file__).parents[1] / "store/exports/0.1.0/small/tflite/1/small.int8.tflite"
CHECKS = (
    LayerCheck("tflite/1/m.int8.tflite", "attention/w_q", "dense", "model/attention/w_q/MatMul;x", (8, 2), 41.5, 0.1),
    LayerCheck("tflite/1/m.int8.tflite", "attention/w_q2", "dense", "model/attention/w_q2/MatMul", (8, 2), 39.0, 0.2),
    LayerCheck("tflite/1/m.int8.tflite", "logits", "dense", "StatefulPartitionedCall:0", (8, 2), float("inf"), 0.0),
)


def test_what_the_delegate_takes_is_written_by_operator(tmp_path: Path) -> None:
    result = ax.inspect(FILE, node_data=tmp_path / "n.json")
    [(graph, data)] = json.loads((tmp_path / "n.json").read_text()).items()
    assert graph == "main"
    operators = read_graph(FILE.read_bytes()).subgraphs[0].operators
    assert list(data["results"]) == [str(number) for number in range(len(operators))]
    taken = sum(each["value"] for each in data["results"].values())
    contents: Any = result.contents
    assert taken == contents.signatures[0].delegation.taken
    assert [each["stop"] for each in data["gradient"]] == [0, 1]


def test_errors_are_written_by_tensor_and_each_recipe_has_its_file(tmp_path: Path) -> None:
    data = errors(Inside(CHECKS, (0.0, 1.0, 0.0)))
    [written] = write_node_data(tmp_path / "n.json", data)
    results = json.loads(written.read_text())["main"]["results"]
    assert results["StatefulPartitionedCall:0"] == {"value": 80.0}, "equal has no number in JSON"
    assert results["model/attention/w_q2/MatMul"] == {"value": 39.0}
    both = {**data, "tflite/1/m.dynamic.tflite": data["tflite/1/m.int8.tflite"]}
    names = [path.name for path in write_node_data(tmp_path / "n.json", both)]
    assert names == ["n.int8.json", "n.dynamic.json"]


def test_model_explorer_knows_every_key(tmp_path: Path) -> None:
    adapters = pytest.importorskip("model_explorer.builtin_tflite_flatbuffer_adapter")
    ax.inspect(FILE, node_data=tmp_path / "n.json")
    collection = adapters.BuiltinTfliteFlatbufferAdapter().convert(str(FILE), {})["graphCollections"][0]
    known = {graph.id: {node.id for node in graph.nodes} for graph in collection.graphs}
    for graph, data in json.loads((tmp_path / "n.json").read_text()).items():
        assert set(data["results"]) <= known[graph]


def test_places_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    for path, words in (("n.txt", "is not a FILE.json"), ("no/n.json", "is not a directory")):
        with pytest.raises(ArgumentError, match=words):
            ax.inspect(FILE, node_data=tmp_path / path)


def test_a_pattern_matches_its_layer_alone() -> None:
    first, second, last = CHECKS
    assert keep_float_pattern(second, CHECKS) == "attention/w_q2"
    assert keep_float_pattern(first, CHECKS) == "model/attention/w_q/MatMul;x", "its path is part of another's"
    assert keep_float_pattern(last, CHECKS) == "StatefulPartitionedCall:0"
