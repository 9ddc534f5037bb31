"""Inputs of a parser out of documents that it reads: bytes are changed anywhere, or values where they stand."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, TypeVar

from .spans import Node, Span, member_spans, message_nodes, text_spans, with_field, written

_Choice = TypeVar("_Choice")
Form: TypeAlias = Literal["bytes", "text", "protobuf"]

_NUMBERS = (
    *(0, 1, 2, 3, 4, 7, 8, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0xFFFF, 1 << 16),
    *(each for bits in (31, 32, 63) for each in ((1 << bits) - 1, 1 << bits)),
    (1 << 64) - 1,
)
_WORDS = (
    *(b"0", b"-1", b"1", b"1.5", b"1e999", b"-0.0", b"9223372036854775808", b"1" * 400, b"NaN", b"-Infinity"),
    *(b"null", b"true", b"false", b"{}", b"[]", b'""', b'"\\ud800"', b'"\\u0000"', b'"../../x"', b'"\xff"', b'"int8"'),
    *(b"[[1, 2], [3]]", b'{"b64": "YQ=="}', b'{"": {"": 0}}', b"(1, 2)", b"'O'", b"'<U9'", b"'>c16'", b"'m8[3D]'"),
)
_KEYS = (b'""', b'"x"', b'"name"', b'"\\ud800"', b'"../x"', b'"' + b"k" * 300 + b'"')
_MAX_BYTES = 1 << 16
_MAX_KEPT = 256  # documents beside the seeds


@dataclass
class Document:
    """What inputs are made from.

    Attributes:
        data: Its bytes.
        spans: Where its values are, of text.
        members: Where its keys with their values are, of JSON.
        nodes: Its fields, of a message.
    """

    data: bytes
    spans: list[Span] = field(default_factory=list)
    members: list[Span] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)

    @classmethod
    def of(cls, data: bytes, form: Form) -> Document:
        return cls(
            data,
            text_spans(data) if form == "text" else [],
            member_spans(data) if form == "text" else [],
            message_nodes(data, 0, len(data)) or [] if form == "protobuf" else [],
        )


class Corpus:
    """Documents, from which inputs are drawn.

    Args:
        seeds: What the parser reads.
        form: What they are: `text` covers JSON, text-format messages and the headers of .npy.
        chance: Where every choice comes from.
    """

    def __init__(self, seeds: Sequence[bytes], form: Form, chance: random.Random) -> None:
        self._form, self._chance = form, chance
        self._seeds = [Document.of(each, form) for each in seeds]
        self._kept: list[Document] = []
        self._is_json = all(map(is_json, seeds))
        self._change: Callable[[Document], bytes] = {
            "bytes": self._bytes_changed, "text": self._text_changed, "protobuf": self._message_changed,
        }[form]  # fmt: skip

    def draw(self) -> bytes:
        """The next input."""
        chance, document = self._chance.random(), self._pick()
        if chance < 0.8:
            return self._change(document)
        if chance < 0.9:
            return self._bytes_changed(document)
        return self._change(Document.of(self._change(document), self._form))

    def keep(self, data: bytes) -> None:
        """Make inputs from this one as well, since it was answered as none was before."""
        if len(data) > _MAX_BYTES or (self._is_json and not is_json(data)):
            return
        document = Document.of(data, self._form)
        if len(self._kept) < _MAX_KEPT:
            self._kept.append(document)
        else:
            self._kept[self._below(_MAX_KEPT)] = document

    def _below(self, count: int) -> int:
        return int(self._chance.random() * count)  # several times as fast as randrange

    def _of(self, choices: Sequence[_Choice]) -> _Choice:
        return choices[self._below(len(choices))]

    def _pick(self) -> Document:
        documents = self._kept if self._kept and self._chance.random() < 0.5 else self._seeds
        return self._of(documents)

    def _bytes_changed(self, document: Document) -> bytes:
        content = bytearray(document.data)
        for _ in range(1 + self._below(4)):
            at, kind = self._below(len(content) + 1), self._below(9)
            if kind == 0 and at < len(content):
                content[at] ^= 1 << self._below(8)
            elif kind == 1:
                content[at : at + 1] = bytes([self._below(256)])
            elif kind == 2:
                del content[at : at + 1 + self._below(16)]
            elif kind == 3:
                content[at:at] = content[at : at + 1 + self._below(64)]
            elif kind == 4:
                content[at:at] = self._of(_WORDS)
            elif kind in (5, 6):  # a number where numbers of its size stand
                size = self._of((1, 2, 4, 8))
                at -= at % size
                number = self._of(_NUMBERS) if kind == 5 else self._below(len(content) + 1)
                content[at : at + size] = (number & ((1 << 8 * size) - 1)).to_bytes(size, "little")
            elif kind == 7:
                other = self._pick().data
                begin = self._below(len(other) + 1)
                content[at : at + 32] = other[begin : begin + 1 + self._below(32)]
            else:
                del content[at:]
        return bytes(content)

    def _text_changed(self, document: Document) -> bytes:
        data = document.data
        if not document.spans:
            return self._bytes_changed(document)
        spans = {self._of(document.spans) for _ in range(1 + self._below(3))}
        if document.members and self._below(3) == 0:
            spans = {self._of(document.members)}
        last = len(data)
        for begin, end in sorted(spans, reverse=True):
            if end <= last:  # not one that holds a span which was changed
                is_member = (begin, end) in document.members
                new = self._new_member(data[begin:end]) if is_member else self._new_text(data[begin:end])
                data = data[:begin] + new + data[end + (not new and data[end : end + 1] == b",") :]
                last = begin
        return data

    def _new_member(self, old: bytes) -> bytes:
        kind = self._below(4)
        if kind == 0:
            return b""
        if kind == 1:
            return old.rstrip(b",") + b"," + old
        if kind == 2:
            other = self._pick()
            begin, end = self._of(other.members) if other.members else (0, 0)
            return (other.data[begin:end] or old).rstrip(b",") + b"," * old.endswith(b",")
        return self._of(_KEYS) + old[old.index(b":") :]

    def _new_text(self, old: bytes) -> bytes:
        kind = self._below(8)
        if kind <= 2:
            return self._of(_WORDS)
        if kind <= 4:
            other = self._pick()
            if not other.spans:
                return b""
            begin, end = self._of(other.spans)
            return other.data[begin:end]
        if kind == 5:
            return old + b", " + old
        if kind == 6:
            depth = self._of((1, 1, 2, 60, 2000))
            return (b"[" * depth + old + b"]" * depth) if depth != 2 else b'{"a": ' + old + b"}"
        return b""

    def _message_changed(self, document: Document) -> bytes:
        if not document.nodes:
            return self._bytes_changed(document)
        node = self._of(document.nodes)
        field_bytes = self._new_field(document.data, node)
        if len(field_bytes) > _MAX_BYTES:
            return document.data
        return with_field(document.data, node, field_bytes)

    def _new_field(self, data: bytes, node: Node) -> bytes:
        """What stands for a field instead: nothing, the field several times, another field, or the field changed."""
        kind, old = self._below(8), data[node.start : node.end]
        number, wire = node.key >> 3, node.key & 7
        if kind == 0:
            return b""
        if kind == 1:
            return old * (2 + self._below(3))
        if kind == 2:  # a field of another message
            other = self._pick()
            there = self._of(other.nodes) if other.nodes else node
            return (other.data if other.nodes else data)[there.start : there.end]
        if kind == 3:  # the same message within itself
            for _ in range(self._of((1, 5, 40, 150))):
                old = written(number << 3 | 2) + written(len(old)) + old
            return old
        if kind == 4:
            number = 1 + self._below(20)
        value = self._new_value(data[node.value : node.end], node)
        return written(number << 3 | wire) + (written(len(value)) if node.has_length else b"") + value

    def _new_value(self, value: bytes, node: Node) -> bytes:
        kind = self._below(4)
        if not node.has_length:
            is_number = node.key & 7 == 0
            return written(self._of(_NUMBERS)) if is_number else self._chance.randbytes(len(value))
        if kind == 0:
            return b""
        return self._of(_WORDS) if kind == 1 else self._bytes_changed(Document(value))


def is_json(data: bytes) -> bool:
    """Whether bytes begin with a JSON object."""
    try:
        json.JSONDecoder().raw_decode(data.decode())
    except (ValueError, RecursionError):
        return False
    return data.startswith(b"{")
