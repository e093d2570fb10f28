"""Blocked gzip files (SAMv1 §4.1) and their block index (.gzi)."""

from __future__ import annotations

import functools
import importlib
import os
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from numpy.typing import NDArray

    from seqmill.simulate.files import PathLike

BLOCK_BYTES = 65_280
"""Inflated bytes of every block but the last."""

END_MARKER = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")

_PENDING_BYTES = 64 * BLOCK_BYTES
_HEAD = struct.Struct("<4BI2BH2BHH")
_TAIL = struct.Struct("<II")
_SIZE_AT = 16


@functools.cache
def _native_compress() -> Callable[[bytes, int], bytes] | None:
    """Find the compiled function; this module also works before anything is built."""
    try:
        native = importlib.import_module("seqmill._native")
    except ImportError:
        return None
    found: Callable[[bytes, int], bytes] | None = getattr(native, "bgzf_compress", None)
    return found


def _zlib_compress(data: bytes, level: int) -> bytes:
    out = []
    for begin in range(0, len(data), BLOCK_BYTES):
        piece = data[begin : begin + BLOCK_BYTES]
        engine = zlib.compressobj(level, zlib.DEFLATED, -15)
        body = engine.compress(piece) + engine.flush()
        size = _HEAD.size + len(body) + _TAIL.size
        out.append(_HEAD.pack(31, 139, 8, 4, 0, 0, 255, 6, 66, 67, 2, size - 1))
        out.append(body)
        out.append(_TAIL.pack(zlib.crc32(piece), len(piece)))
    return b"".join(out)


def compress(data: bytes, level: int = 6) -> bytes:
    """Deflate into BGZF blocks of :data:`BLOCK_BYTES`, without the end marker.

    The compiled module does it when it is there, else Python's zlib: valid blocks either way,
    of slightly different size.
    """
    native = _native_compress()
    return _zlib_compress(data, level) if native is None else native(data, level)


class BgzfWriter:
    """Write a BGZF file and remember where its blocks begin.

    Parameters
    ----------
    path
        File to write; it appears under this name when it is complete.
    level
        Deflate level.
    """

    def __init__(self, path: PathLike, level: int = 6) -> None:
        self._path = Path(path)
        self._part = self._path.with_name(f".{self._path.name}.part")
        self._file = self._part.open("wb")
        self._level = level
        self._pending = bytearray()
        self._written = 0
        self._blocks: list[int] = []
        self.inflated = 0

    def __enter__(self) -> Self:
        """Give the writer."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish the file, or remove it after an error."""
        if kind is None:
            self._flush(everything=True)
            self._file.write(END_MARKER)
        self._file.close()
        if kind is None:
            os.replace(self._part, self._path)  # noqa: PTH105 - one atomic step
        else:
            self._part.unlink()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Add bytes."""
        self._pending += data
        self.inflated += len(data)
        if len(self._pending) >= _PENDING_BYTES:
            self._flush(everything=False)

    def _flush(self, *, everything: bool) -> None:
        whole = len(self._pending) // BLOCK_BYTES * BLOCK_BYTES
        length = len(self._pending) if everything else whole
        packed = compress(bytes(self._pending[:length]), self._level)
        del self._pending[:length]
        at = 0
        while at < len(packed):
            self._blocks.append(self._written + at)
            at += int.from_bytes(packed[at + _SIZE_AT : at + _SIZE_AT + 2], "little") + 1
        self._file.write(packed)
        self._written += len(packed)

    def virtual_offsets(self, positions: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Give the virtual offsets of inflated positions (when the file is complete)."""
        # The end of the data is the beginning of the end marker.
        blocks = np.array([*self._blocks, self._written], dtype=np.uint64)
        number = positions // BLOCK_BYTES
        rest = (positions - number * BLOCK_BYTES).astype(np.uint64)
        ended = positions == self.inflated
        number = np.where(ended, len(blocks) - 1, number)
        rest = np.where(ended, np.uint64(0), rest)
        return np.asarray((blocks[number] << np.uint64(16)) | rest, dtype=np.uint64)

    def write_block_index(self) -> Path:
        """Write ``PATH.gzi``: for every block but the first, where it begins."""
        later = np.array(self._blocks[1:], dtype="<u8")
        pairs = np.empty((len(later), 2), dtype="<u8")
        pairs[:, 0] = later
        pairs[:, 1] = np.arange(1, len(later) + 1) * BLOCK_BYTES
        target = self._path.with_name(self._path.name + ".gzi")
        target.write_bytes(struct.pack("<Q", len(later)) + pairs.tobytes())
        return target
