"""Messages of refusals, which clients take with the trailers of a call, where 8 KB have room."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from attnexport.core.errors import GateError, no_such, one_of
from attnexport.serving.server.status import Code, invalid, status_of


@pytest.mark.parametrize("character", ["a", "\x1b", "%", "ß", "漢", "😀", "\udcff", "a😀"])
def test_a_message_has_room_among_the_trailers(character: str) -> None:
    text = str(invalid(f"no input {character * 100_000}"))
    assert text.startswith(f"no input {character}")
    assert text.endswith("...")
    assert 2900 < len(quote(text, errors="surrogatepass")) < 8000
    assert len(text) <= 3003


def test_many_alternatives_are_counted() -> None:
    names = [f"m{number}" for number in range(100_000)]
    assert one_of(names).endswith("'m48', 'm49' or one of 99,950 more")
    assert no_such("model", "m7x" * 10**6, names).startswith("there is no model 'm7xm7x")
    assert one_of(names[:50]).endswith("'m48' or 'm49'")


def test_a_file_that_fails_its_gate_is_no_bug() -> None:
    status = status_of(GateError("model.tflite is damaged"))
    assert (status.code, str(status)) == (Code.INVALID_ARGUMENT, "model.tflite is damaged")
