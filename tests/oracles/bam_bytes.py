"""BAM files put together field by field, for what no simulator makes."""

import struct
from collections.abc import Iterable
from pathlib import Path

from seqmill.simulate.bgzf import BgzfWriter

ALPHABET = "=ACMGRSVTWYHKDBN"
OPERATIONS = "MIDNSHP=X"


def header(references: Iterable[tuple[str, int]], text: str = "") -> bytes:
    listed = [(name.encode() + b"\0", length) for name, length in references]
    parts = [b"BAM\1", struct.pack("<i", len(text)), text.encode(), struct.pack("<i", len(listed))]
    for name, length in listed:
        parts += [struct.pack("<i", len(name)), name, struct.pack("<i", length)]
    return b"".join(parts)


def record(
    name: str = "r",
    *,
    flag: int = 0,
    reference: int = 0,
    pos: int = 0,
    mapq: int = 60,
    cigar: Iterable[tuple[int, str]] = (),
    seq: str = "",
    qual: bytes | None = None,
    tags: bytes = b"",
) -> bytes:
    """One record; `pos` is 0-based, `tags` are the bytes as they stand in the file."""
    operations = [length << 4 | OPERATIONS.index(letter) for length, letter in cigar]
    codes = [ALPHABET.index(base) for base in seq] + [0]
    packed = bytes(codes[i] << 4 | codes[i + 1] for i in range(0, len(seq), 2))
    text = name.encode() + b"\0"
    fixed = struct.pack(
        "<iiBBHHHiiii",
        *(reference, pos, len(text), mapq, 0, len(operations), flag, len(seq), -1, -1, 0),
    )
    words = struct.pack(f"<{len(operations)}I", *operations)
    body = fixed + text + words + packed + (qual or b"\xff" * len(seq)) + tags
    return struct.pack("<I", len(body)) + body


def write(
    path: Path, references: Iterable[tuple[str, int]], records: Iterable[bytes], text: str = ""
) -> Path:
    with BgzfWriter(path, level=1) as file:
        file.write(header(references, text) + b"".join(records))
    return path
