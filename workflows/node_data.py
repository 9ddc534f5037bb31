"""Node data for Model Explorer: numbers that colour its graph of a .tflite.

The format is that of ai-edge-model-explorer's `node_data_builder`: by graph, results by a tensor's name or an
operator's number, and the colours between the least and the greatest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnexport.core.errors import ArgumentError

if TYPE_CHECKING:
    from attnexport.tflite import TFLiteInspection

    from .layers import Inside

_GOOD, _BAD = "#2e9d67", "#d64550"
_MAX_DB = 80.0  # shown of a tensor that is equal


@dataclass(frozen=True)
class NodeData:
    """Numbers for the graphs of one file.

    Attributes:
        name: What Model Explorer calls them.
        results: By graph, the number of each node, whose key is an output tensor's name or the operator's index.
        low, high: Colours of the least and the greatest number.
    """

    name: str
    results: Mapping[str, Mapping[str, float]]
    low: str
    high: str

    def to_dict(self) -> dict[str, Any]:
        """The document that Model Explorer loads."""
        gradient = [{"stop": 0, "bgColor": self.low}, {"stop": 1, "bgColor": self.high}]
        return {
            graph: {
                "name": self.name,
                "results": {key: {"value": value} for key, value in values.items()},
                "gradient": gradient,
            }
            for graph, values in self.results.items()
        }


def check_node_data(path: str | Path | None) -> Path | None:
    """Check where node data is to be written.

    Raises:
        ArgumentError: if it is not a .json in a directory that exists.
    """
    if path is None:
        return None
    path = Path(path)
    if path.suffix != ".json":
        raise ArgumentError(f"--node-data '{path}' is not a FILE.json")
    if not path.parent.is_dir():
        raise ArgumentError(f"--node-data '{path}' is in {path.parent}, which is not a directory")
    return path


def delegated(content: bytes, inspection: TFLiteInspection) -> NodeData:
    """1 for each operator that the XNNPACK delegate takes, 0 for those that it leaves."""
    from attnexport.tflite.flatbuffer_check import text_of
    from attnexport.tflite.graph import parse_model, read_graph

    graph, model = read_graph(content), parse_model(content)
    results: dict[str, dict[str, float]] = {}
    for each in inspection.signatures:
        if each.delegation is None:
            continue
        index = graph.signatures.get(each.signature.name, 0)
        name = text_of(model.subgraphs[index].name or b"") or "main"
        left = set(each.delegation.left_operators)
        count = len(graph.subgraphs[index].operators)
        results[name] = {str(number): float(number not in left) for number in range(count)}
    return NodeData("taken by XNNPACK", results, _BAD, _GOOD)


def errors(inside: Inside) -> dict[str, NodeData]:
    """For each artifact the SQNR in dB of every tensor that was matched with the original's."""
    results: dict[str, dict[str, float]] = {}
    for check in inside.layers:
        results.setdefault(check.artifact, {})[check.tensor] = round(max(min(check.sqnr_db, _MAX_DB), -_MAX_DB), 2)
    return {
        artifact: NodeData("SQNR in dB against the original", {"main": values}, _BAD, _GOOD)
        for artifact, values in results.items()
    }


def write_node_data(path: Path, several: Mapping[str, NodeData]) -> list[Path]:
    """Write the node data of artifacts: to the path itself if there is one, else to `NAME.RECIPE.json` for each.

    Args:
        path: The .json file.
        several: The data by artifact.

    Raises:
        StorageError: if a file cannot be written.
    """
    from attnexport.core.os_errors import writing
    from attnexport.store.files import write_atomically

    written = []
    for artifact, data in several.items():
        recipe = Path(artifact).name.removesuffix(".tflite").rpartition(".")[2]
        target = path if len(several) == 1 else path.with_suffix(f".{recipe}.json")
        with writing(target):
            write_atomically(target, json.dumps(data.to_dict(), indent=1) + "\n")
        written.append(target)
    return written
