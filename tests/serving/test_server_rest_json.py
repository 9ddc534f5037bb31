"""JSON as the server reads it: fast where nothing is special, and the same with care."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from attnexport.core.signature import Signature, TensorSpec


@pytest.mark.parametrize(
    "body",
    [
        b'{"instances": [[1, 2.5], [-0, 1e-7]]}',
        b' {"inputs" : 7 , "signature_name":"x"} ',
        b'{"instances": [18446744073709551616, 123456789012345678901234567890, -9223372036854775809]}',
        b'{"instances": [1e308, 4.9e-324, 0.1, 1E5, true, false, null, []]}',
        b'{"instances": [1e400]}',
        b'{"instances": [0e400]}',
        b'{"foo": -0.0E+400, "instances": [1]}',
        b'{"foo": 1e0000000001, "instances": [1]}',
        b'{"foo": %s, "instances": [1]}' % (b"1" * 400),
        b'{"foo": -%s, "instances": [1]}' % (b"9" * 309),
        b'{"foo": %s, "instances": [1]}' % (b"9" * 308),
        b'{"foo": 0.%s, "instances": [1]}' % (b"1" * 400),
        b'{"instances": [NaN, -Infinity, Inf]}',
        b'{"instances": 1, "instances": 2}',
        b'{"instances": [{"x": 1, "x": 2}]}',
        b'{"instances": ["a", {"b64": "YQ=="}]}',
        b'{"inputs": "a\\u0041", "b": "\\ud800"}',
        b'{"instances": [1]} and more',
        b'\xef\xbb\xbf{"instances": [1]}',
        b'{"instances": [01]}',
        b'{"a": "\x01"}',
        b'{"a": "\xff"}',
        b'{"instances": [1,]}',
        b"[1]",
        b"{",
        b"{}",
        b"",
    ],
)
def test_json_reads_the_same_whether_it_is_read_fast_or_with_care(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    from attnexport.serving.server import rest_json

    def read() -> Any:
        try:
            return repr(rest_json.parse(bytearray(body)))
        except Exception as error:
            return type(error), str(error)

    fast = read()
    monkeypatch.setattr(rest_json, "_plain", lambda _: None)
    assert fast == read()


def test_plain_json_is_read_fast() -> None:
    from attnexport.serving.server import rest_json

    assert rest_json._plain(b'{"signature_name": "x", "instances": [[1.5, 2]]}')
    assert rest_json._plain(b'{"instances": [{"x": 1}]}') is None
    assert rest_json._plain(b'{"instances": [1e-300, 0.5, 1E+30, %s]}' % (b"1" * 308))


def test_only_the_beginning_of_a_large_value_is_written_for_a_message() -> None:
    from attnexport.serving.server import rest_json

    value = {"inputs": [1, 2.5, float("nan"), None, True, "ä", {}, [], {"b": [[7]]}], "rest": list(range(100))}
    assert rest_json.shown(value) == json.dumps(value)[:100]
    assert rest_json.shown([[1], "a"]) == '[[1], "a"]'
    # An object that has no JSON is not reached.
    assert rest_json.shown([list(range(100)), object()]).startswith("[[0, 1, 2, ")


# As TF Serving's own JSON code, compiled alone in November 2026, answered the same bytes.
TENSORS = [
    ("float32", '{"foo": 1e400, "inputs": [1]}', "JSON Parse error: Number too big to be stored in double."),
    ("string", '{"foo": [-1e309], "inputs": ["a"]}', "JSON Parse error: Number too big to be stored in double."),
    ("string", '{"inputs": ["1e400", 1e5]}', "is not of expected type: string"),
    ("float32", '{"foo": "a", "inputs": {"x": 0e400}}', "JSON Parse error: Number too big to be stored in double."),
    ("float32", '{"inputs": {"x": [0.%s1e310, 1e-400]}}' % ("0" * 20), [1e289, 0.0]),
    ("float64", '{"inputs": {"x": [1%s]}}' % ("0" * 308), [1e308]),
    ("float64", '{"inputs": {"x": [1%s]}}' % ("0" * 309), "JSON Parse error: Number too big to be stored in double."),
    ("float64", '{"inputs": {"x": [%s]}}' % ("1" * 5000), "JSON Parse error: Number too big to be stored in double."),
    ("string", '{"inputs": [{"b64": "YQ==", "b64": "YQ=="}]}', "not formatted correctly for base64 data"),
    ("float16", '{"inputs": []}', []),
    ("uint16", '{"instances": [[], []]}', [[], []]),
    ("bfloat16", '{"inputs": [{}]}', "JSON Value: {} Type: Object is not of expected type: bfloat16"),
    ("float16", '{"inputs": [1, {}]}', "Conversion of JSON Value: 1 to type: half"),
    ("float32", '{"instances": []}', "JSON Value: .* No values in 'instances' array"),
    ("float32", '{"instances": {}, "inputs": 1}', "JSON Value: .* Not formatted correctly expecting only one of"),
]


@pytest.mark.parametrize(("dtype", "body", "wanted"), TENSORS)
def test_json_becomes_the_tensor_or_the_error_that_tf_serving_makes_of_it(dtype: str, body: str, wanted: Any) -> None:
    from attnexport.serving.server.rest_inputs import read_inputs
    from attnexport.serving.server.rest_json import parse
    from attnexport.serving.server.status import StatusError

    signature = Signature("s", (TensorSpec("x", dtype, None),), (TensorSpec("y", dtype, None),))
    if isinstance(wanted, str):
        with pytest.raises(StatusError, match=wanted):
            read_inputs(parse(body.encode()), signature)
        return
    inputs, _ = read_inputs(parse(body.encode()), signature)
    assert inputs["x"].dtype.name == dtype
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(inputs["x"], np.array(wanted, np.float64).astype(inputs["x"].dtype))


def test_examples_keep_an_empty_context_and_names_end_as_in_c() -> None:
    from attnexport.serving.messages import ClassificationRequest
    from attnexport.serving.server.rest_examples import fill_examples
    from attnexport.serving.server.rest_json import parse

    message = ClassificationRequest().input
    fill_examples(parse(b'{"context": {}, "examples": [{"a\\u0000b": 1}]}'), message)
    assert message.example_list_with_context.HasField("context")
    assert list(message.example_list_with_context.examples[0].features.feature) == ["a"]


def test_outputs_without_elements_have_json_in_every_dtype() -> None:
    from attnexport.serving.server.rest_outputs import write_outputs

    assert json.loads(write_outputs({"y": np.empty((2, 0), "f2")}, rows=True)) == {"predictions": [[], []]}
    assert json.loads(write_outputs({"y": np.empty(0, "u2")}, rows=False)) == {"outputs": []}
