"""What `seqmill fetch` writes: FASTA, BED lines with sequence, arrays."""

import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, BinaryIO, Final, Literal

import numpy as np

from seqmill._encodings import Encode, choose_encoding
from seqmill._intervals import Intervals
from seqmill.cli._fetch_windows import Wanted, end_of
from seqmill.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from seqmill._store import OutOfRange
    from seqmill.fetch import FastaStore

__all__ = ["Figures", "TextOptions", "write_arrays", "write_text"]

_STEP_BASES: Final = 8 << 20
_BATCH_BASES: Final = 8 << 20
_BATCH_WINDOWS: Final = 4096
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
    threads: int
    bed: bool
    width: int


def write_text(
    store: "FastaStore", wanted: Iterable[Wanted], out: BinaryIO, options: TextOptions
) -> Figures:
    """Write windows in batches, so that blocks that short ones share are inflated once."""
    figures = Figures()
    batch: list[Wanted] = []
    bases = 0
    for item in wanted:
        length = None if item.end is None else item.end - item.start
        if length is None or length > _STEP_BASES:
            _flush(store, batch, out, options, figures)
            bases = 0
            _flush(store, [item], out, options, figures)
            continue
        batch.append(item)
        bases += length
        if bases > _BATCH_BASES or len(batch) >= _BATCH_WINDOWS:
            _flush(store, batch, out, options, figures)
            bases = 0
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
    threads = options.threads if len(batch) > 1 else 1
    texts = store.fetch_many(
        rows, encode="bytes", out_of_range=options.out_of_range, threads=threads
    )
    figures.add(map(len, texts))
    for item, text in zip(batch, texts, strict=True):
        if options.bed:
            columns = item.columns or [item.label]
            out.write("\t".join(columns).encode("utf-8", "surrogateescape") + b"\t" + text + b"\n")
        else:
            label = f"{item.label}/rc" if item.minus else item.label
            out.write(f">{label}\n".encode("utf-8", "surrogateescape"))
            out.write(_fold(text, options.width))
    batch.clear()


def _fold(text: bytes, width: int) -> bytes:
    return b"".join(text[at : at + width] + b"\n" for at in range(0, len(text), width))


def write_arrays(
    store: "FastaStore",
    wanted: Iterable[Wanted],
    out: BinaryIO,
    *,
    encode: Encode,
    out_of_range: "OutOfRange",
    threads: int,
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
    threads
        Threads that read.
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
    data = _Data(store, windows, lengths, encode, out_of_range, threads)
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
    threads: int

    def write(self, out: "BinaryIO | IO[bytes]", dtype: Any, shape: tuple[int, ...]) -> None:
        descr = np.lib.format.dtype_to_descr(np.dtype(dtype))
        header = {"descr": descr, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(out, header)
        ends = np.cumsum(self.lengths)
        begin = 0
        while begin < len(self.windows):
            before = int(ends[begin - 1]) if begin else 0
            end = int(np.searchsorted(ends, before + _BATCH_BASES, side="right"))
            end = min(max(end, begin + 1), begin + _BATCH_WINDOWS)
            found = self.store.fetch_many(
                self.windows[begin:end],
                encode=self.encode,
                out_of_range=self.out_of_range,
                threads=self.threads,
            )
            batch = found[0] if isinstance(found, tuple) else found
            out.write(batch.reshape(-1).view(np.uint8).data)
            begin = end
