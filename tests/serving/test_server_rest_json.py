"""JSON as the server reads it: fast where nothing is special, and the same with care."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.mark.parametrize(
    "body",
    [
        b'{"instances": [[1, 2.5], [-0, 1e-7]]}',
        b' {"inputs" : 7 , "signature_name":"x"} ',
        b'{"instances": [18446744073709551616, 123456789012345678901234567890, -9223372036854775809]}',
        b'{"instances": [1e308, 4.9e-324, 0.1, 1E5, true, false, null, []]}',
        b'{"instances": [1e400]}',
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
