"""The server over REST, asked by the standard library: formats, values, and HTTP codes."""

from __future__ import annotations

import json
import socket
import urllib.request
from typing import Any
from urllib.parse import urlparse

import numpy as np
import pytest
from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2

ROWS = [[1.5, -2.0, 3.25], [0.0, 4.0, -0.5]]
DOUBLED = [[5.0, -2.0, 8.5], [2.0, 10.0, 1.0]]
PREDICT = "/v1/models/m:predict"


def test_rows_and_columns_answer_in_their_own_form(serving: Any) -> None:
    status, answer = serving.http(PREDICT, {"instances": [{"x": row} for row in ROWS], "signature_name": "total"})
    assert (status, list(answer)) == (400, ["error"])  # a scalar gives no rows
    assert serving.http(PREDICT, {"inputs": ROWS, "signature_name": "total"}) == (200, {"outputs": 6.25})
    assert serving.http(PREDICT, {"instances": ROWS, "signature_name": "picky"}) == (200, {"predictions": ROWS})
    named = {"inputs": {"x": ROWS}}
    assert serving.http(PREDICT, named) == (200, {"outputs": {"y": DOUBLED, "rows": [2]}})
    two = [{"numbers": [1, 2], "x": row} for row in ROWS]
    assert serving.http(PREDICT, {"instances": two, "signature_name": "two"}) == (
        200,
        {"predictions": [[2.5, 0.0], [1.0, 6.0]]},
    )


def test_versions_and_labels_in_paths_of_any_case_with_a_lower_case_verb(serving: Any) -> None:
    body = {"inputs": ROWS}
    for path in ("/v1/models/m/versions/1:predict", "/V1/MODELS/m/LABELS/stable:predict"):
        assert serving.http(path, body)[1]["outputs"]["y"][0][0] == 4.0
    assert serving.http("/v1/models/m:PREDICT", body)[0] == 400


def test_numbers_keep_their_digits_and_what_is_no_number_its_name(serving: Any) -> None:
    body = b'{"signature_name": "", "inputs": [[NaN, Infinity, -Infinity]]}'
    url = f"{serving.server.rest_address}{PREDICT}"
    with urllib.request.urlopen(urllib.request.Request(url, body)) as answer:
        text = answer.read().decode()
    assert "NaN, Infinity, -Infinity" in text
    assert serving.http(PREDICT, {"inputs": [[0.1, 1e20, -3.0]]})[1]["outputs"]["y"] == [[2.2, 2e20, -4.0]]


def test_the_words_of_rapidjson_are_numbers_outside_of_strings(serving: Any) -> None:
    status, answer = serving.http(PREDICT, b'{"inputs": [[Inf,-Inf,-NaN],[-Infinity,Infinity,NaN]]}')
    assert status == 200
    np.testing.assert_array_equal(answer["outputs"]["y"], [[np.inf, -np.inf, np.nan], [-np.inf, np.inf, np.nan]])
    text = r"Inf \\ \" Inf, -Inf"
    status, answer = serving.http(PREDICT, f'{{"b": Inf, "signature_name": "words", "inputs": ["{text}"]}}'.encode())
    assert (status, answer["outputs"]["words"]) == (200, [json.loads(f'"{text}"')])
    body = b'{"signature_name": "regress", "examples": [{"x": [1.0, Inf, 2.0]}]}'
    assert serving.http("/v1/models/m:regress", body) == (200, {"results": [np.inf]})
    for wrong in (b"Infinit", b"Infx", b"1Inf", b"inf", b"+Inf", b"--Inf", b"Inf Inf"):
        assert serving.http(PREDICT, b'{"inputs": [[1, 2, %s]]}' % wrong)[0] == 400, wrong


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_number_beyond_the_floats_is_refused_beside_an_infinity(dtype: str) -> None:
    from attnexport.core import Signature, TensorSpec
    from attnexport.serving.server import StatusError
    from attnexport.serving.server.rest_inputs import read_inputs
    from attnexport.serving.server.rest_json import parse

    spec = TensorSpec("x", dtype, (None,))
    signature = Signature("s", (spec,), (spec,))
    for number in ("1e400", "-1e400", "1" + "0" * 400):
        with pytest.raises(StatusError, match="Number too big"):
            read_inputs(parse(f'{{"inputs": [Infinity, 1.5, {number}]}}'.encode()), signature)
    inputs, _ = read_inputs(parse(b'{"inputs": [Infinity, -Inf, NaN, 3e38]}'), signature)
    np.testing.assert_array_equal(inputs["x"], np.array([np.inf, -np.inf, np.nan, 3e38], dtype))


@pytest.mark.parametrize("number", ["1e400", "-1e400", "1" + "0" * 400])
def test_a_feature_beyond_the_floats_is_refused(number: str) -> None:
    from attnexport.serving.messages import ClassificationRequest
    from attnexport.serving.server import StatusError
    from attnexport.serving.server.rest_examples import fill_examples
    from attnexport.serving.server.rest_json import parse

    body = f'{{"examples": [{{"x": [Infinity, 1.5, {number}]}}]}}'.encode()
    with pytest.raises(StatusError, match="Number too big"):
        fill_examples(parse(body), ClassificationRequest().input)


def test_strings_travel_as_text_and_as_base64(serving: Any) -> None:
    body = {"signature_name": "words", "instances": ["héllo", {"b64": "AAH/"}]}
    data = json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(serving.server.rest_address + PREDICT, data)) as reply:
        text = reply.read().decode("utf-8", "surrogateescape")
    rows = json.loads(text)["predictions"]
    assert [row["raw_bytes"] for row in rows] == [{"b64": "aMOpbGxv"}, {"b64": "AAH/"}]
    assert [row["words"] for row in rows] == ["héllo", "\0\1\udcff"], "bytes that are not UTF-8 come as they are"
    assert serving.http(PREDICT, {"signature_name": "flags", "inputs": True}) == (200, {"outputs": False})


def test_white_space_in_base64_is_skipped_as_abseil_does(serving: Any) -> None:
    def words(text: str) -> Any:
        status, answer = serving.http(PREDICT, {"signature_name": "words", "inputs": [{"b64": text}]})
        return answer["outputs"]["words"] if status == 200 else status

    for text in ("aGVs\nbG8=", " aGVs\r\nbG8=\n", "aG Vs\tbG8 ="):
        assert words(text) == ["hello"]
    for text in ("aGVs\u00a0bG8=", "aGVs\0bG8=", "aGVs!bG8=", "aGVsb", "a=GVsbG8"):
        assert words(text) == 400


def test_classify_and_regress_with_context(serving: Any) -> None:
    body = {"signature_name": "classify", "context": {"x": [7.0, 8.0, 9.0]}, "examples": [{}, {"x": [1.0, 2.0, 3.5]}]}
    status, answer = serving.http("/v1/models/m:classify", body)
    assert (status, answer["results"][1]) == (200, [["a", 1.0], ["b", 2.0], ["c", 3.5]])
    assert answer["results"][0][0] == ["a", 7.0]
    body = {"signature_name": "regress", "examples": [{"x": [1.0, 2.0, 3.5]}]}
    assert serving.http("/v1/models/m/versions/2:regress", body) == (200, {"results": [6.5]})


def test_status_and_metadata(serving: Any) -> None:
    status, answer = serving.http("/v1/models/m")
    entry = {"version": "2", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    assert (status, answer["model_version_status"][0]) == (200, entry)
    assert len(serving.http("/v1/models/m/labels/stable")[1]["model_version_status"]) == 2, "labels are ignored here"
    status, answer = serving.http("/v1/models/m/versions/1/metadata")
    assert answer["model_spec"] == {"name": "m", "signature_name": "", "version": "1"}
    inner = answer["metadata"]["signature_def"]["signature_def"]
    assert inner["serving_default"]["inputs"]["x"]["dtype"] == "DT_FLOAT"


def test_metadata_are_those_of_grpc_without_a_type_around_the_signatures(serving: Any) -> None:
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "m"
    found = get_model_metadata_pb2.SignatureDefMap()
    assert serving.predictions.GetModelMetadata(request).metadata["signature_def"].Unpack(found)
    wanted = json_format.MessageToDict(
        found, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    answer = serving.http("/v1/models/m/metadata")[1]
    assert answer["metadata"] == {"signature_def": wanted}
    assert list(wanted) == ["signature_def"]


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/v1/models/nope:predict", {"inputs": ROWS}, 404),
        ("/v1/models/m/versions/9:predict", {"inputs": ROWS}, 404),
        ("/v1/models/m/labels/nope:predict", {"inputs": ROWS}, 400),
        ("/v1/models/nope", None, 404),
        ("/v1/models/m/versions/9", None, 404),
        ("/v1/models", None, 400),
        ("/v1/models/m:guess", {"inputs": ROWS}, 400),
        (f"/v1/models/m/versions/{'9' * 40}", None, 400),
        (PREDICT, {"inputs": ROWS, "signature_name": "nope"}, 400),
        (PREDICT, {"inputs": ROWS, "signature_name": 3}, 400),
        (PREDICT, {"inputs": ROWS, "instances": ROWS}, 400),
        (PREDICT, {}, 400),
        (PREDICT, b"", 400),
        (PREDICT, b"{", 400),
        (PREDICT, b"[1]", 400),
        (PREDICT, b"[" * 100_000, 400),
        (PREDICT, {"instances": []}, 400),
        (PREDICT, {"instances": 3}, 400),
        (PREDICT, {"instances": [[1, 2, 3], [1, 2]]}, 400),
        (PREDICT, {"instances": [[1, 2, [3]]]}, 400),
        (PREDICT, {"instances": [[1, 2, "3"]]}, 400),
        (PREDICT, {"instances": [[1, 2, True]]}, 400),
        (PREDICT, {"instances": [[1, 2, None]]}, 400),
        (PREDICT, b'{"instances": [[1, 2, 1e400]]}', 400),
        ("/v1/models/m:regress", b'{"signature_name": "regress", "examples": [{"x": [1.0, 2.0, -1e400]}]}', 400),
        (PREDICT, {"instances": [{"x": [1, 2, 3]}, [1, 2, 3]]}, 400),
        (PREDICT, {"instances": [{"z": [1, 2, 3]}]}, 400),
        (PREDICT, {"inputs": {"z": ROWS}}, 400),
        (PREDICT, {"inputs": ROWS, "signature_name": "two"}, 400),
        (PREDICT, {"inputs": {"numbers": [[1.5, 2]], "x": ROWS[:1]}, "signature_name": "two"}, 400),
        (PREDICT, {"inputs": [{"b64": "!"}], "signature_name": "words"}, 400),
        (PREDICT, {"inputs": [1.0], "signature_name": "halves"}, 501),
        ("/v1/models/m:classify", {"examples": []}, 400),
        ("/v1/models/m:classify", {"examples": [{"x": [1.0, 2.0, 3.0]}]}, 400),
        ("/v1/models/m:classify", {"signature_name": "classify", "examples": [{"x": [1.0, "a"]}]}, 400),
        ("/v1/models/m:regress", {"signature_name": "regress", "examples": [{"x": None}]}, 400),
    ],
)  # fmt: skip
def test_refusals_are_json_with_tf_servings_http_code(serving: Any, path: str, body: Any, code: int) -> None:
    status, answer = serving.http(path, body)
    assert status == code
    assert list(answer) == ["error"]
    assert answer["error"]
    assert "bug of attnexport" not in answer["error"]


def test_other_methods_are_malformed(serving: Any) -> None:
    assert serving.http(PREDICT, {"inputs": ROWS}, method="PUT")[0] == 400
    assert serving.http(PREDICT)[0] == 400


def test_the_decimals_read_back_as_the_same_floats() -> None:
    from attnexport.serving.server.rest_outputs import decimal

    bits = np.random.default_rng(0).integers(0, 2**32, 5000, dtype=np.uint64).astype(np.uint32)
    values = bits.view(np.float32)
    for value in values[np.isfinite(values)]:
        assert np.float32(decimal(float(value))) == value
    assert [decimal(value) for value in (1.0, 9e6, 3e-5)] == ["1.0", "9e+06", "3e-05"]
    assert decimal(0.1, 17, single=False) == "0.1"


def test_rows_and_columns_hold_the_same_numbers() -> None:
    from attnexport.serving.server.rest_outputs import decimal, write_outputs

    chance = np.random.default_rng(1)
    special = [0.0, -0.0, np.nan, np.inf, -np.inf, 1e30, 1e-40, 16777217.0, 123456789.0, 0.1, 1e6]
    for dtype, digits in (("float32", 9), ("float64", 17)):
        column = np.concatenate([chance.normal(size=500), special]).astype(dtype)
        texts = [decimal(float(value), digits, single=dtype == "float32") for value in column]
        answer = write_outputs({"y": column}, rows=True)
        assert answer == '{\n    "predictions": [' + ", ".join(texts) + "\n    ]\n}"
    for shape in ((4,), (4, 3), (4, 2, 3), (4, 0), (4, 2, 0), (4, 0, 2)):
        outputs = {
            "f": chance.normal(size=shape).astype(np.float32),
            "i": chance.integers(-5, 5, shape),
            "b": chance.integers(0, 2, shape).astype(bool),
            "s": chance.integers(0, 9, shape).astype(str).astype(object),
        }
        rows = json.loads(write_outputs(outputs, rows=True))["predictions"]
        columns = json.loads(write_outputs(outputs, rows=False))["outputs"]
        assert {name: [row[name] for row in rows] for name in outputs} == columns
        assert columns["i"] == outputs["i"].tolist()


def test_garbage_on_the_port_does_no_harm(serving: Any) -> None:
    place = urlparse(serving.server.rest_address)
    for data in (b"\x00" * 100, b"GET /v1/models/m HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"POST " + b"/" * 100_000):
        with socket.create_connection((place.hostname, place.port)) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(30)
            while connection.recv(4096):
                pass
    assert serving.http("/v1/models/m")[0] == 200
