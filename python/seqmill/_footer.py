"""What a finished table says about itself, read from its end: metadata, row groups.

Only footers are read, and the first message of an Arrow stream, which has none: neither resuming
nor `--explain` needs pyarrow. Parquet footers are Thrift's compact protocol, those of Arrow files
and messages of streams are FlatBuffers.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from seqmill import _native
from seqmill._addresses import is_remote
from seqmill.errors import FormatError

__all__ = ["RowGroup", "count_rows", "is_made_of", "read_metadata", "read_row_groups"]

_PARQUET_MAGIC: Final = b"PAR1"
_ARROW_MAGIC: Final = b"ARROW1"
_STREAM_START: Final = b"\xff" * 4
_STREAM_END: Final = _STREAM_START + bytes(4)
# Field numbers of parquet.thrift.
_ROW_GROUPS, _KEY_VALUES = 4, 5
_COLUMNS, _NUM_ROWS = 1, 3
_COLUMN_METADATA, _PATH, _STATISTICS = 3, 3, 12
_MAX_VALUE, _MIN_VALUE = 5, 6
# Field numbers of Footer, Schema and KeyValue in the FlatBuffers files of Arrow.
_FOOTER_SCHEMA, _SCHEMA_METADATA = 1, 2
_MESSAGE_HEADER: Final = 2


@dataclass(frozen=True, slots=True)
class RowGroup:
    """A row group of a Parquet file: its rows, and by column the least and greatest value."""

    rows: int
    bounds: Mapping[str, tuple[bytes, bytes]]


class _Compact:
    """Reads Thrift's compact protocol: structs become mappings of field numbers to values."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def _byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:  # noqa: PLR2004 - the bit that says that more follow
                return value
            shift += 7

    def _integer(self) -> int:
        value = self._varint()
        return value >> 1 ^ -(value & 1)

    def _take(self, length: int) -> bytes:
        self._at += length
        return self._data[self._at - length : self._at]

    def struct(self) -> dict[int, Any]:
        """Read a struct."""
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._integer()
            fields[number] = self._value(head & 0xF)
        return fields

    def _value(self, kind: int) -> Any:
        match kind:
            case 1 | 2:
                value: Any = kind == 1
            case 3:
                value = self._byte()
            case 4 | 5 | 6:
                value = self._integer()
            case 7:
                value = struct.unpack("<d", self._take(8))[0]
            case 8:
                value = self._take(self._varint())
            case 9 | 10:
                head = self._byte()
                length = head >> 4 if head >> 4 != 0xF else self._varint()  # noqa: PLR2004
                value = [self._value(head & 0xF) for _ in range(length)]
            case 12:
                value = self.struct()
            case _:
                message = f"thrift type {kind} is not used in Parquet footers"
                raise ValueError(message)
        return value


class _Table:
    """A table of a FlatBuffers message."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._at = at

    @classmethod
    def root(cls, data: bytes) -> "_Table":
        """Give the root table of a message."""
        return cls(data, _u32(data, 0))

    def _field(self, number: int) -> int | None:
        vtable = self._at - struct.unpack_from("<i", self._data, self._at)[0]
        slot = 4 + 2 * number
        if slot >= struct.unpack_from("<H", self._data, vtable)[0]:
            return None
        offset = struct.unpack_from("<H", self._data, vtable + slot)[0]
        return self._at + offset if offset else None

    def table(self, number: int) -> "_Table | None":
        """Give the table in a field."""
        at = self._field(number)
        return None if at is None else _Table(self._data, at + _u32(self._data, at))

    def tables(self, number: int) -> "list[_Table]":
        """Give the tables in a vector field."""
        at = self._field(number)
        if at is None:
            return []
        start = at + _u32(self._data, at)
        places = [start + 4 + 4 * item for item in range(_u32(self._data, start))]
        return [_Table(self._data, place + _u32(self._data, place)) for place in places]

    def text(self, number: int) -> str:
        """Give the text in a field."""
        at = self._field(number)
        if at is None:
            return ""
        start = at + _u32(self._data, at)
        return self._data[start + 4 : start + 4 + _u32(self._data, start)].decode()


def _u32(data: bytes, at: int) -> int:
    value: int = struct.unpack_from("<I", data, at)[0]
    return value


def _footer(path: Path) -> tuple[bytes, bytes]:
    """Read the footer, or a stream's first message; gives the bytes at the end of the file too."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 10))
        tail = file.read()
        if tail.endswith(_STREAM_END):
            file.seek(0)
            head = file.read(8)
            if head.startswith(_STREAM_START):
                return _STREAM_END, file.read(_u32(head, 4))
        magic = next((m for m in (_PARQUET_MAGIC, _ARROW_MAGIC) if tail.endswith(m)), b"")
        if not magic or len(tail) < len(magic) + 4:
            return b"", b""
        length = _u32(tail, len(tail) - len(magic) - 4)
        start = size - len(magic) - 4 - length
        if start < 0:
            return magic, b""
        file.seek(start)
        return magic, file.read(length)


def read_metadata(path: str) -> dict[str, str]:
    """Read the metadata of a Parquet file, an Arrow file or stream; empty where there is none."""
    magic, footer = _footer(Path(path))
    try:
        if magic == _PARQUET_MAGIC:
            pairs = _Compact(footer).struct().get(_KEY_VALUES, [])
            return {pair[1].decode(): pair.get(2, b"").decode() for pair in pairs}
        if magic in (_ARROW_MAGIC, _STREAM_END):
            place = _FOOTER_SCHEMA if magic == _ARROW_MAGIC else _MESSAGE_HEADER
            schema = _Table.root(footer).table(place)
            items = schema.tables(_SCHEMA_METADATA) if schema else []
            return {item.text(0): item.text(1) for item in items}
    except (IndexError, KeyError, ValueError, struct.error) as error:
        raise FormatError(f"{path}: the footer is damaged: {error}", path=path) from None
    return {}


def read_row_groups(path: str) -> list[RowGroup]:
    """Read the row groups of a Parquet file.

    Raises
    ------
    FormatError
        If it is not a Parquet file.
    """
    magic, footer = _footer(Path(path))
    if magic != _PARQUET_MAGIC:
        raise FormatError(f"{path}: is not a Parquet file", path=path)
    try:
        groups = _Compact(footer).struct().get(_ROW_GROUPS, [])
        return [RowGroup(group[_NUM_ROWS], _bounds(group[_COLUMNS])) for group in groups]
    except (IndexError, KeyError, ValueError, struct.error) as error:
        raise FormatError(f"{path}: the footer is damaged: {error}", path=path) from None


def count_rows(path: str) -> int | None:
    """Count the rows of a Parquet file; None for another one."""
    try:
        return sum(group.rows for group in read_row_groups(path))
    except FormatError:
        return None


def _bounds(columns: list[dict[int, Any]]) -> dict[str, tuple[bytes, bytes]]:
    found = {}
    for column in columns:
        metadata = column[_COLUMN_METADATA]
        statistics = metadata.get(_STATISTICS, {})
        if _MIN_VALUE in statistics and _MAX_VALUE in statistics:
            name = ".".join(part.decode() for part in metadata[_PATH])
            found[name] = (statistics[_MIN_VALUE], statistics[_MAX_VALUE])
    return found


def is_made_of(output: str, options: Mapping[str, Any]) -> bool:
    """Tell whether a finished output was made of these inputs with these options."""
    try:
        metadata = read_metadata(output)
        made = json.loads(metadata["seqmill.options"])
        sources = json.loads(metadata["seqmill.source"])
    except (FormatError, KeyError, ValueError):
        return False
    if metadata.get("seqmill.version") != options["version"]:
        return False
    full = bool(options["semantic"].get("record_paths"))
    expected = [_identity(path, full=full) for path in options["inputs"]]
    # Tuples of the request are lists in JSON.
    wanted = json.loads(json.dumps(options["semantic"]))
    return bool(made == wanted and sources == expected)


def _identity(path: str, *, full: bool) -> dict[str, Any]:
    if path == "-":
        return {"name": path}
    if is_remote(path):
        from seqmill._remote import fingerprint  # noqa: PLC0415 - most inputs are local

        print_ = fingerprint(path)
    else:
        print_ = _native.fingerprint(path)
    name = path if full else Path(path).name
    return {"name": name, "size": print_["size"], "xxh3": print_["hash"]}
