"""JSON for classify and regress: features to tf.Example, and results back."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from .rest_json import encoded, is_base64, json_type, members, read_base64, shown
from .rest_outputs import decimal
from .status import invalid

_MIN_INT64, _MAX_INT64, _MAX_UINT64 = -(2**63), 2**63 - 1, 2**64 - 1


def fill_examples(document: dict[str, Any], message: Any) -> None:
    """Write `examples`, and `context` if there is one, into a tensorflow.serving.Input.

    Raises:
        StatusError: naming the feature that does not fit.
    """
    target = message.example_list
    if "context" in document:
        target = message.example_list_with_context
        target.context.SetInParent()
        _fill(document["context"], target.context)
    if "examples" not in document:
        raise invalid(
            f"JSON Value: {shown(document)} When method is classify, key 'examples' is expected and was not found"
        )
    rows = document["examples"]
    if not isinstance(rows, list):
        raise invalid(f"JSON Value: {shown(document)} Expecting 'examples' value to be an list/array")
    if not rows:
        raise invalid(f"JSON Value: {shown(document)} 'examples' value is an empty array")
    for row in rows:
        _fill(row, target.examples.add())


def _fill(row: Any, example: Any) -> None:
    if not isinstance(row, dict):
        raise invalid(f"Example must be JSON object but got JSON {json_type(row)}")
    for key, content in members(row):  # of equal names the last one counts
        name = key.split("\0", 1)[0]  # TF Serving reads names as C does
        try:
            feature = example.features.feature[name]
        except UnicodeEncodeError as error:
            raise invalid(f"the name of feature {shown(name)} is not valid UTF-8") from error
        feature.Clear()
        _fill_feature(content if isinstance(content, list) else [content], feature, name)


def _fill_feature(values: list[Any], feature: Any, name: str) -> None:
    kinds = [_list_of(value, name) for value in values]
    if not kinds:
        return
    kind = kinds[0]
    if any(each != kind for each in kinds):
        expected = kind.removesuffix("_list")
        raise invalid(f"Unexpected element type in feature: {name} expecting type: {expected}")
    if kind == "bytes_list":
        try:
            data = [encoded(value) if isinstance(value, str) else read_base64(value) for value in values]
        except ValueError as error:
            raise invalid(f"{error} (feature {name!r})") from error
        feature.bytes_list.value.extend(data)
    elif kind == "int64_list":
        if any(value > _MAX_INT64 for value in values):
            raise invalid(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
        feature.int64_list.value.extend(map(int, values))
    else:
        with np.errstate(over="ignore"):  # infinity, as a cast in C++ gives
            feature.float_list.value.extend(np.array(values, np.float64).astype(np.float32).tolist())


def _list_of(value: Any, name: str) -> str:
    if isinstance(value, bool):
        return "int64_list"
    if isinstance(value, int):  # what no 64 bits hold is a double to the parser
        return "int64_list" if _MIN_INT64 <= value <= _MAX_UINT64 else "float_list"
    if isinstance(value, float):
        return "float_list"
    if isinstance(value, str) or is_base64(value):
        return "bytes_list"
    raise invalid(f"Feature: {name} has element with unexpected JSON type: {json_type(value)}")


def write_classifications(result: Any) -> str:
    """The reply to a classify request: for each example, pairs of label and score."""
    rows = [
        "[" + ", ".join([f"[{json.dumps(each.label)}, {decimal(each.score)}]" for each in row.classes]) + "]"
        for row in result.classifications
    ]
    return '{\n    "results": [' + ", ".join(rows) + "\n    ]\n}"


def write_regressions(result: Any) -> str:
    """The reply to a regress request: a value for each example."""
    return '{\n    "results": [' + ", ".join([decimal(each.value) for each in result.regressions]) + "]\n}"
