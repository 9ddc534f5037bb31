"""A few inputs for a parser, made by Hypothesis, which shows the smallest one that goes wrong."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import hypothesis
from hypothesis import strategies as st

from .target import Target

_PIECES = (
    *(b"\0", b"\xff", b"\x7f", b"\x80", b"\xff\xff\xff\xff\x0f", b"\xff" * 9 + b"\x01", b"\xff\xff\xff\x7f"),
    *(b"[" * 40, b"{", b'"', b"\\u", b"-1", b"1e999", b"null"),
)
_EDIT, _EDITS = 6, 5  # bytes of an edit, and edits of an example at least


def changed(seed: bytes, edits: bytes) -> Iterator[bytes]:
    """A seed after each of some edits: bytes replaced, removed, repeated or put in.

    Args:
        seed: What a parser reads.
        edits: Any bytes, of which each six are an edit: its kind, a value, and a place.
    """
    content = bytearray(seed)
    for start in range(0, len(edits) - _EDIT + 1, _EDIT):
        kind, value, *place = edits[start : start + _EDIT]
        at = int.from_bytes(bytes(place), "big") % (len(content) + 1)
        piece = _PIECES[value % len(_PIECES)]
        if kind % 8 == 7:
            content = bytearray(edits)
        elif kind % 8 == 0:
            del content[at : at + 1 + value % 16]
        elif kind % 8 == 1:
            content[at:at] = content[at : at + 1 + value % 64]
        elif kind % 8 == 2:
            content[at : at + len(piece)] = piece
        elif kind % 8 == 3:
            content[at:at] = piece
        else:
            content[at : at + 1] = bytes([value])
        yield bytes(content)


def fuzz(target: Target, inputs: int) -> None:
    """Feed parsers at least this many inputs, the same ones each time.

    Raises:
        BaseException: what a parser raised, beside its own refusals, on the smallest example that was found.
    """
    fed = 0

    # One draw of bytes for several inputs: Hypothesis takes longer over a draw than most parsers over an input.
    @hypothesis.settings(
        max_examples=inputs // _EDITS + 1,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
    )
    @hypothesis.given(st.sampled_from(target.seeds), st.binary(min_size=_EDIT * _EDITS, max_size=2 * _EDIT * _EDITS))
    def run(seed: bytes, edits: bytes) -> None:
        nonlocal fed
        for data in changed(seed, edits):
            fed += 1
            whole = data if target.wrap is None else target.wrap(data, fed % 997 / 997)
            for read in target.reads:
                with contextlib.suppress(*target.refuses):
                    read(whole)

    run()
    assert fed >= inputs, f"{fed} inputs were fed"
