"""Where a document has its values: the words and brackets of a text, the fields of a serialized message."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

Span: TypeAlias = tuple[int, int]

_BRACKETS = {b"[": b"]", b"{": b"}", b"(": b")"}
_TOKEN = re.compile(rb"""\"(?:[^"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|[\[\]{}()]|[-+.\w]+""", re.DOTALL)
_MEMBER = re.compile(rb"""\"\w*\"\s*:\s*(?:\"(?:[^"\\]|\\.)*\"|[-+.\w]+|\[[^\[\]{}]*\]|\{[^\[\]{}]*\}),?""")
_MAX_SPANS, _MAX_DEPTH = 4096, 12


@dataclass(frozen=True)
class Node:
    """A field of a serialized message.

    Attributes:
        key: Its number and wire type, as its tag has them.
        start: Where its tag begins.
        value: Where its value begins, behind the length if it has one.
        end: Where it ends.
        parents: The fields that hold it, the outermost first.
    """

    key: int
    start: int
    value: int
    end: int
    parents: tuple[Node, ...] = ()

    @property
    def has_length(self) -> bool:
        """Whether it is a text, bytes, a message or a packed list."""
        return self.key & 7 == 2


def text_spans(data: bytes) -> list[Span]:
    """Where a text has words and strings, without the keys of JSON, and brackets with what they hold."""
    spans: list[Span] = []
    opened: list[tuple[bytes, int]] = []
    for match in _TOKEN.finditer(data):
        token = match[0]
        if token in _BRACKETS:
            opened.append((_BRACKETS[token], match.start()))
        elif token in _BRACKETS.values():
            if opened and opened[-1][0] == token:
                spans.append((opened.pop()[1], match.end()))
        elif token[:1] != b'"' or data[match.end() : match.end() + 1] != b":":
            spans.append(match.span())
        if len(spans) >= _MAX_SPANS:
            break
    return spans


def member_spans(data: bytes) -> list[Span]:
    """Where a JSON text has keys with small values, and the comma behind them."""
    return [match.span() for match in _MEMBER.finditer(data)][:_MAX_SPANS]


def message_nodes(data: bytes, start: int, stop: int, parents: tuple[Node, ...] = ()) -> list[Node] | None:
    """The fields in a serialized message and, of values that look like messages, those in them; None if it is none."""
    nodes: list[Node] = []
    at = start
    while at < stop:
        key = read_number(data, at, stop)
        if key is None or not key[0] >> 3 or len(nodes) > _MAX_SPANS:
            return None
        wire, value = key[0] & 7, key[1]
        if wire == 0:
            number = read_number(data, value, stop)
            end = number[1] if number else stop + 1
        elif wire == 2:
            length = read_number(data, value, stop)
            value, end = (length[1], length[1] + length[0]) if length else (value, stop + 1)
        else:
            end = value + {1: 8, 5: 4}.get(wire, len(data))
        if end > stop:
            return None
        node = Node(key[0], at, value, end, parents)
        nodes.append(node)
        if wire == 2 and len(parents) < _MAX_DEPTH and end > value:
            nodes += message_nodes(data, value, end, (*parents, node)) or []
        at = end
    return nodes


def with_field(data: bytes, node: Node, replacement: bytes) -> bytes:
    """A message with other bytes for a field; the lengths of all that hold it follow."""
    start, end = node.start, node.end
    for parent in reversed(node.parents):
        inner = data[parent.value : start] + replacement + data[end : parent.end]
        replacement, start, end = written(parent.key) + written(len(inner)) + inner, parent.start, parent.end
    return data[:start] + replacement + data[end:]


def read_number(data: bytes, at: int, stop: int) -> tuple[int, int] | None:
    """A varint and where it ends; None if it does not."""
    number = shift = 0
    while at < stop and shift < 70:
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at
    return None


def written(number: int) -> bytes:
    """A varint."""
    content = bytearray()
    while number > 0x7F:
        content.append(number & 0x7F | 0x80)
        number >>= 7
    content.append(number)
    return bytes(content)
