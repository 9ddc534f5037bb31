"""Adding metadata to a .tflite without writing it anew: new tables in front, everything else stays where it was.

Offsets in a flatbuffer point forward and are relative. A block between the file's first eight bytes and the rest can
therefore hold another root table that points to all the old parts, and to a few new ones. Its length keeps the
alignment of the constants behind it, and nothing is copied or packed again.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

_FIELDS = 8  # of the root table Model in TFLite's schema, of 4 bytes each
_VERSION, _BUFFERS, _METADATA = 0, 4, 6  # places among them
_HEAD = 8  # bytes before the first table: the root's offset, and the identifier
_ALIGNMENT = 64  # bytes; the schema asks for 16 of constants


def with_metadata_buffers(content: bytes, entries: Mapping[str, bytes]) -> bytes | None:
    """A .tflite with named metadata buffers, which replace those of the same names.

    Args:
        content: The file.
        entries: The content of each buffer, by its name.

    Returns:
        The new file; None if its constants stand outside the flatbuffer, as they do above 2 GB.
    """
    root = _uint32(content, 0)
    fields = [_field(content, root, slot) for slot in range(_FIELDS)]
    buffers, metadata = _vector(content, fields[_BUFFERS]), _vector(content, fields[_METADATA])
    if any(_field(content, each, 1) for each in buffers):  # Buffer.offset
        return None
    kept = [each for each in metadata if _name(content, each) not in entries]
    block = _Block()
    new_root = block.table([4] * _FIELDS)
    buffer_list = block.offsets(len(buffers) + len(entries))
    metadata_list = block.offsets(len(kept) + len(entries))
    block.pad()
    inserted: list[tuple[int, int, int]] = []
    for name, data in entries.items():
        buffer, entry = block.table([4]), block.table([4, 4])
        block.point(entry + 4, block.string(name))
        block.point(buffer + 4, block.bytes(data))
        inserted.append((buffer, entry, len(buffers) + len(inserted)))
    block.pad()
    shift = len(block.data)

    def old(position: int) -> int:
        """Where a part of the old file stands in the new one."""
        return position - _HEAD + shift

    for slot, position in enumerate(fields):
        place = new_root + 4 + 4 * slot
        if slot == _VERSION:
            block.put(place, _uint32(content, position) if position else 0)
        elif slot not in (_BUFFERS, _METADATA):
            if position:
                block.point(place, old(position + _uint32(content, position)))
            else:
                block.absent(new_root, slot)
    block.point(new_root + 4 + 4 * _BUFFERS, buffer_list)
    block.point(new_root + 4 + 4 * _METADATA, metadata_list)
    for number, each in enumerate([*map(old, buffers), *(buffer for buffer, _, _ in inserted)]):
        block.point(buffer_list + 4 + 4 * number, each)
    for number, each in enumerate([*map(old, kept), *(entry for _, entry, _ in inserted)]):
        block.point(metadata_list + 4 + 4 * number, each)
    for _, entry, index in inserted:
        block.put(entry + 8, index)
    return struct.pack("<I", _HEAD + new_root) + content[4:_HEAD] + bytes(block.data) + content[_HEAD:]


class _Block:
    """Bytes of a flatbuffer that are written front to back; positions count from the block's start."""

    def __init__(self) -> None:
        self.data = bytearray()

    def table(self, sizes: list[int]) -> int:
        """A table of four-byte fields, all present and zero; its position is that of its first byte."""
        self.pad(4)
        vtable = len(self.data)
        self.data += struct.pack(
            f"<{2 + len(sizes)}H", 4 + 2 * len(sizes), 4 + sum(sizes), *(4 + 4 * n for n in range(len(sizes)))
        )
        self.pad(4)
        table = len(self.data)
        self.data += struct.pack("<i", table - vtable) + bytes(sum(sizes))
        return table

    def offsets(self, count: int) -> int:
        """A vector of offsets that are not known yet."""
        self.pad(4)
        position = len(self.data)
        self.data += struct.pack("<I", count) + bytes(4 * count)
        return position

    def string(self, text: str) -> int:
        self.pad(4)
        position, encoded = len(self.data), text.encode()
        self.data += struct.pack("<I", len(encoded)) + encoded + b"\0"
        return position

    def bytes(self, data: bytes) -> int:
        """A vector of bytes, which begin at a multiple of 16 in the file."""
        while (_HEAD + len(self.data) + 4) % 16:
            self.data += b"\0"
        position = len(self.data)
        self.data += struct.pack("<I", len(data)) + data
        return position

    def absent(self, table: int, slot: int) -> None:
        """Take a field out of a table."""
        vtable = table - struct.unpack_from("<i", self.data, table)[0]
        struct.pack_into("<H", self.data, vtable + 4 + 2 * slot, 0)

    def point(self, place: int, target: int) -> None:
        """Write the offset from a place to a target behind it."""
        self.put(place, target - place)

    def put(self, place: int, value: int) -> None:
        struct.pack_into("<I", self.data, place, value)

    def pad(self, alignment: int = _ALIGNMENT) -> None:
        self.data += bytes(-len(self.data) % alignment)


def _uint32(content: bytes, position: int) -> int:
    return int(struct.unpack_from("<I", content, position)[0])


def _field(content: bytes, table: int, slot: int) -> int:
    """The position of a table's field; 0 if it is absent."""
    vtable = table - struct.unpack_from("<i", content, table)[0]
    if 4 + 2 * slot >= struct.unpack_from("<H", content, vtable)[0]:
        return 0
    offset = struct.unpack_from("<H", content, vtable + 4 + 2 * slot)[0]
    return table + int(offset) if offset else 0


def _vector(content: bytes, field: int) -> list[int]:
    """The positions of the tables in a vector of them."""
    if not field:
        return []
    vector = field + _uint32(content, field)
    places = range(vector + 4, vector + 4 + 4 * _uint32(content, vector), 4)
    return [place + _uint32(content, place) for place in places]


def _name(content: bytes, metadata: int) -> str:
    field = _field(content, metadata, 0)
    if not field:
        return ""
    string = field + _uint32(content, field)
    return content[string + 4 : string + 4 + _uint32(content, string)].decode("utf-8", "replace")
