"""What `seqmill fetch` writes: FASTA, BED lines with sequence, arrays."""

import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, BinaryIO, Final, Literal

import numpy as np

from seqmill._encodings import Encode, choose_encoding
from seqmill._intervals import Intervals
from seqmill.cli._fetch_room import Room
from seqmill.cli._fetch_windows import Wanted, end_of
from seqmill.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from seqmill._store import OutOfRange
    from seqmill.fetch import FastaStore

__all__ = ["Figures", "TextOptions", "write_arrays", "write_text"]

_TEXT_BYTES: Final = 3
"""A base as it is read and as the bytes that Python has of it, and what lies between them."""
_BATCH_WINDOWS: Final = 4096
_LINES_BYTES: Final = 1 << 16
_FEW_LINES: Final = 16
"""Up to so many lines are written one by one, which is then faster than to make an array."""
_LENGTHS_MAX: Final = 100_000


@dataclass(slots=True)
class Figures:
    """What was written.

    Attributes
    ----------
    windows, bases
        How many.
    lengths
        Lengths of the first windows, for the picture.
    """

    windows: int = 0
    bases: int = 0
    lengths: list[int] = field(default_factory=list)

    def add(self, lengths: "Iterable[int]") -> None:
        """Count windows."""
        for length in lengths:
            self.windows += 1
            self.bases += length
            if len(self.lengths) < _LENGTHS_MAX:
                self.lengths.append(length)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextOptions:
    """How windows become text."""

    out_of_range: "OutOfRange"
    room: Room
    bed: bool
    width: int


def write_text(
    store: "FastaStore", wanted: Iterable[Wanted], out: BinaryIO, options: TextOptions
) -> Figures:
    """Write windows in batches, so that blocks that short ones share are inflated once.

    What is longer than a batch is read and written piece by piece.
    """
    most = options.room.fit_batch(_TEXT_BYTES)
    figures = Figures()
    batch: list[Wanted] = []
    bases = 0
    for item in wanted:
        length = end_of(store, item) - item.start
        if length > most:
            _flush(store, batch, out, options, figures)
            bases = 0
            figures.add([_write_pieces(store, item, out, options, most)])
            continue
        if batch and (bases + length > most or len(batch) >= _BATCH_WINDOWS):
            _flush(store, batch, out, options, figures)
            bases = 0
        batch.append(item)
        bases += length
    _flush(store, batch, out, options, figures)
    return figures


def _flush(
    store: "FastaStore",
    batch: list[Wanted],
    out: BinaryIO,
    options: TextOptions,
    figures: Figures,
) -> None:
    if not batch:
        return
    rows = [
        (item.file, item.contig, item.start, end_of(store, item), "-" if item.minus else "+")
        for item in batch
    ]
    threads = options.room.threads if len(batch) > 1 else 1
    texts = store.fetch_many(
        rows, encode="bytes", out_of_range=options.out_of_range, threads=threads
    )
    figures.add(map(len, texts))
    for item, text in zip(batch, texts, strict=True):
        lines = _begin(item, out, options)
        lines.write(text)
        lines.end()
    batch.clear()


def _begin(item: Wanted, out: BinaryIO, options: TextOptions) -> "_Lines":
    """Write what is before the bases of a window; gives the lines that they go into."""
    if options.bed:
        text = "\t".join([*(item.columns or [item.label]), ""])
    else:
        text = f">{item.label}{'/rc' if item.minus else ''}\n"
    out.write(text.encode("utf-8", "surrogateescape"))
    return _Lines(out, None if options.bed else options.width)


class _Lines:
    """Bases of one window, broken into lines; of a line of BED all stand in one.

    Parameters
    ----------
    out
        Where they go.
    width
        Bases of a line, None for one line.
    """

    __slots__ = ("_column", "_out", "_width")

    def __init__(self, out: BinaryIO, width: int | None) -> None:
        self._out, self._width = out, width
        self._column = 0

    def write(self, text: bytes | memoryview) -> None:
        """Write the next bases."""
        width = self._width
        if width is None:
            self._out.write(text)
            return
        if self._column:
            # What is left of the line that was begun.
            head = text[: width - self._column]
            self._write_part(head, width)
            text = memoryview(text)[len(head) :]
        full = len(text) // width
        if full > _FEW_LINES:
            self._write_full(np.frombuffer(text, np.uint8, full * width).reshape(full, width))
            text = memoryview(text)[full * width :]
        for at in range(0, len(text), width):
            self._write_part(text[at : at + width], width)

    def end(self) -> None:
        """End the last line, if it is not ended yet."""
        if self._column or self._width is None:
            self._out.write(b"\n")

    def _write_part(self, part: bytes | memoryview, width: int) -> None:
        self._out.write(part)
        self._column = (self._column + len(part)) % width
        if not self._column and len(part):
            self._out.write(b"\n")

    def _write_full(self, bases: "NDArray[np.uint8]") -> None:
        """Write rows of an array as lines, some at a time."""
        count, width = bases.shape
        step = max(1, _LINES_BYTES // width)
        lines = np.empty((min(step, count), width + 1), np.uint8)
        lines[:, width] = ord("\n")
        for at in range(0, count, step):
            part = bases[at : at + step]
            lines[: len(part), :width] = part
            self._out.write(lines[: len(part)].data)


def _write_pieces(
    store: "FastaStore", item: Wanted, out: BinaryIO, options: TextOptions, most: int
) -> int:
    """Write a window of any length; gives its bases."""
    native = store._native  # noqa: SLF001 - of the same package
    begin, end = item.start, end_of(store, item)
    place = native.place(item.file, item.contig, begin, end, options.out_of_range)
    if options.out_of_range != "pad":
        begin, end = place[:2]
    lines = _begin(item, out, options)
    for at in range(0, end - begin, most):
        size = min(most, end - begin - at)
        first = end - at - size if item.minus else begin + at
        row = (item.file, item.contig, first, first + size, "-" if item.minus else "+")
        (text,) = store.fetch_many([row], encode="bytes", out_of_range="pad")
        lines.write(text)
    lines.end()
    return end - begin


def write_arrays(
    store: "FastaStore",
    wanted: Iterable[Wanted],
    out: BinaryIO,
    *,
    encode: Encode,
    out_of_range: "OutOfRange",
    room: Room,
    kind: Literal["npy", "npz"],
) -> Figures:
    """Write windows as one array (npy), or with offsets and places beside it (npz).

    Parameters
    ----------
    store, wanted
        The windows. Their places are kept, 25 bytes each; their bases are not.
    out
        Where to write.
    encode, out_of_range
        What bases become, and what becomes of windows that reach outside.
    room
        The budget and the threads that read.
    kind
        npy takes windows of one length only.

    Returns
    -------
    Figures
        What was written.
    """
    labels: list[str] = []

    def rows() -> Iterator[tuple[int, int, int, int, str]]:
        for item in wanted:
            if kind == "npz":
                labels.append(item.label)
            yield (
                item.file,
                item.contig,
                item.start,
                end_of(store, item),
                "-" if item.minus else "+",
            )

    windows = Intervals.from_windows(store, rows())
    lengths = windows.ends - windows.starts
    if out_of_range == "clip":
        native = store._native  # noqa: SLF001 - of the same package
        lengths = np.asarray(native.measure_many(windows.arrays, out_of_range), np.int64)
    same = len(lengths) == 0 or bool((lengths == lengths[0]).all())
    if not same and (kind == "npy" or encode == "2bit"):
        message = "windows of different lengths make no array; take --format npz, not with 2bit"
        raise InputError(message, option="format", value=kind)
    encoding = choose_encoding(encode)
    one = encoding.empty(None, int(lengths[0]) if len(lengths) else 0)
    shape = (len(lengths), *one.shape) if same else (int(lengths.sum()), *one.shape[1:])
    base_bytes = encoding.empty(None, 1).nbytes + 1
    longest = int(lengths.max()) if len(lengths) else 0
    most = room.fit_batch(base_bytes, max(longest, 1))
    data = _Data(store, windows, lengths, encode, out_of_range, most, room.threads)
    if kind == "npy":
        data.write(out, encoding.dtype, shape)
    else:
        # No time stamps: the same windows give the same bytes.
        with zipfile.ZipFile(out, "w") as archive:
            with archive.open(zipfile.ZipInfo("data.npy"), "w", force_zip64=True) as member:
                data.write(member, encoding.dtype, shape)
            columns = {
                "offsets": np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
                "regions": np.array(labels, dtype=np.str_),
                "starts": windows.starts,
                "ends": windows.ends,
                "strands": windows.strands,
            }
            for name, column in columns.items():
                info = zipfile.ZipInfo(f"{name}.npy")
                with archive.open(info, "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, column, allow_pickle=False)
    figures = Figures()
    figures.add(lengths.tolist())
    return figures


@dataclass(frozen=True, slots=True)
class _Data:
    """The windows of an array, read batch by batch while it is written."""

    store: "FastaStore"
    windows: Intervals
    lengths: "NDArray[np.int64]"
    encode: Encode
    out_of_range: "OutOfRange"
    most: int
    threads: int

    def write(self, out: "BinaryIO | IO[bytes]", dtype: Any, shape: tuple[int, ...]) -> None:
        descr = np.lib.format.dtype_to_descr(np.dtype(dtype))
        header = {"descr": descr, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(out, header)
        ends = np.cumsum(self.lengths)
        begin = 0
        while begin < len(self.windows):
            before = int(ends[begin - 1]) if begin else 0
            end = int(np.searchsorted(ends, before + self.most, side="right"))
            end = min(max(end, begin + 1), begin + _BATCH_WINDOWS)
            self._write_batch(out, begin, end)
            begin = end

    def _write_batch(self, out: "BinaryIO | IO[bytes]", begin: int, end: int) -> None:
        # In a function, so that a batch is gone before the next is read.
        found = self.store.fetch_many(
            self.windows[begin:end],
            encode=self.encode,
            out_of_range=self.out_of_range,
            threads=self.threads,
        )
        batch = found[0] if isinstance(found, tuple) else found
        out.write(batch.reshape(-1).view(np.uint8).data)
