"""JSON for classify and regress: features to tf.Example, and results back."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from .rest_json import Word, decimal, is_base64, read_base64
from .status import invalid

_SINGLE = float(np.finfo(np.float32).max)
_MIN_INT64, _MAX_INT64 = -(2**63), 2**63 - 1


def fill_examples(document: dict[str, Any], message: Any) -> None:
    """Write `examples`, and `context` where there is one, into a tensorflow.serving.Input.

    Raises:
        StatusError: naming the feature that does not fit.
    """
    rows = document.get("examples")
    if not isinstance(rows, list) or not rows:
        raise invalid("the body needs 'examples', a list of at least one object of features")
    target = message.example_list
    if "context" in document:
        target = message.example_list_with_context
        _fill(document["context"], target.context, "context")
        target.SetInParent()
    for number, row in enumerate(rows):
        _fill(row, target.examples.add(), f"example {number}")


def _fill(row: Any, example: Any, where: str) -> None:
    if not isinstance(row, dict):
        raise invalid(f"{where} is no object of features by name")
    for name, content in row.items():
        values = content if isinstance(content, list) else [content]
        _fill_feature(values, example.features.feature[name], f"feature {name!r} of {where}")


def _fill_feature(values: list[Any], feature: Any, where: str) -> None:
    kinds = {_list_of(value, where) for value in values}
    if len(kinds) > 1:
        raise invalid(f"{where} mixes {' and '.join(sorted(kinds))}; all its values must be of one kind")
    if not kinds:
        return
    [kind] = kinds
    if kind == "bytes_list":
        try:
            data = [value.encode() if isinstance(value, str) else read_base64(value) for value in values]
        except ValueError as error:
            raise invalid(f"{where}: {error}") from error
        feature.bytes_list.value.extend(data)
        return
    if kind == "int64_list" and not all(_MIN_INT64 <= value <= _MAX_INT64 for value in values):
        raise invalid(f"{where} holds a whole number beyond int64")
    if kind == "float_list" and any(abs(value) > _SINGLE and type(value) is not Word for value in values):
        raise invalid(f"{where} holds a number that is too large for float32")
    getattr(feature, kind).value.extend(values)


def _list_of(value: Any, where: str) -> str:
    if isinstance(value, bool | int):
        return "int64_list"
    if isinstance(value, float):
        return "float_list"
    if isinstance(value, str) or is_base64(value):
        return "bytes_list"
    raise invalid(f'{where} holds {json.dumps(value)[:100]}; numbers, strings and {{"b64": ...}} are features')


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
