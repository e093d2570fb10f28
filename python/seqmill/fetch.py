"""Random access to directories of FASTA files: :class:`FastaStore`.

Coordinates are 0-based half-open. The engine is :mod:`seqmill._native`; here options are checked,
arrays are made and names are looked up.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal, Unpack, overload

import numpy as np
from numpy.typing import NDArray

from seqmill._encodings import (
    Case,
    Channels,
    Encode,
    Encoding,
    Iupac,
    as_bytes,
    choose_encoding,
    cut_text,
    row_length,
)
from seqmill._intervals import Intervals, as_intervals
from seqmill._store import (
    OutOfRange,
    StoreBase,
    StoreOptions,
    Strand,
    check_threads,
    is_minus,
    out_of_any_range,
    pad_byte,
)
from seqmill.errors import InputError, OutOfRangeError

__all__ = ["FastaStore", "Intervals"]

PathLike = str | os.PathLike[str]

SUFFIXES: Final = (
    ".agc",
    *(
        f".{kind}{packed}"
        for kind in ("fa", "fna", "fasta", "ffn", "frn")
        for packed in ("", ".gz", ".bgz")
    ),
)
"""Suffixes of sequence files that a store looks for."""


_BASES_MAX: Final = 1 << 62
# A look-up of equal options would take as long as a short window of a plain file.
_BYTES: Final = choose_encoding("bytes")


class FastaStore(StoreBase):
    r"""Many FASTA files, read by window, with one index that all processes share.

    A file's name is its path below the root without its suffix. Handles are small: they pickle,
    survive a fork, and may be used by several threads at once.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "tiny.fa").write_text(">chr1\nACGTN\nac\n")
    >>> store = FastaStore.open(folder)
    >>> store.names, store.contigs("tiny")
    (['tiny'], [('chr1', 7)])
    >>> store.fetch("tiny", "chr1", 2, 7)
    b'GTNac'
    >>> store.fetch("tiny", "chr1", 0, 4, encode="tokens").tolist()
    [0, 1, 2, 3]
    """

    _content = "sequence"
    _default_suffixes = SUFFIXES

    @classmethod
    def open(
        cls, path: PathLike | Sequence[PathLike], **options: Unpack[StoreOptions]
    ) -> "FastaStore":
        """Open a directory, a file, a list of files or a glob pattern.

        Parameters
        ----------
        path
            What to open. A directory is walked recursively.
        **options
            See :class:`StoreOptions`.

        Returns
        -------
        FastaStore
            Its index is found, or built if there is no valid one; missing `.fai` and `.gzi` files
            are built too.

        Raises
        ------
        FormatError
            If a file or a side file is damaged and `strict` is set.
        InputError
            If two files would have one name.
        """
        return cls(path, **options)

    @overload
    def fetch(
        self,
        name: str | bytes | int,
        contig: str | bytes | int,
        start: int = ...,
        end: int | None = ...,
        *,
        strand: Strand = ...,
        encode: Literal["bytes"] = ...,
        case: Case = ...,
        mask: str | None = ...,
        out_of_range: OutOfRange = ...,
        pad_char: str = ...,
    ) -> bytes: ...

    @overload
    def fetch(
        self,
        name: str | bytes | int,
        contig: str | bytes | int,
        start: int = ...,
        end: int | None = ...,
        *,
        strand: Strand = ...,
        encode: Literal["str"],
        case: Case = ...,
        mask: str | None = ...,
        out_of_range: OutOfRange = ...,
        pad_char: str = ...,
    ) -> str: ...

    @overload
    def fetch(
        self,
        name: str | bytes | int,
        contig: str | bytes | int,
        start: int = ...,
        end: int | None = ...,
        *,
        strand: Strand = ...,
        encode: Encode,
        dtype: Any = ...,
        channels: Channels = ...,
        case: Case = ...,
        mask: str | None = ...,
        n_value: float = ...,
        iupac: Iupac = ...,
        vocab: bytes | None = ...,
        out_of_range: OutOfRange = ...,
        pad_char: str = ...,
        out: NDArray[Any] | None = ...,
    ) -> Any: ...

    def fetch(
        self,
        name: str | bytes | int,
        contig: str | bytes | int,
        start: int = 0,
        end: int | None = None,
        *,
        strand: Strand = "+",
        encode: Encode = "bytes",
        dtype: Any = None,
        channels: Channels = "last",
        case: Case = "keep",
        mask: str | None = None,
        n_value: float = 0.0,
        iupac: Iupac = "zero",
        vocab: bytes | None = None,
        out_of_range: OutOfRange = "error",
        pad_char: str = "N",
        out: NDArray[Any] | None = None,
    ) -> Any:
        """Read one window.

        Parameters
        ----------
        name, contig
            File and contig, or the numbers that :meth:`resolve` gives.
        start, end
            0-based half-open; no end is the end of the contig.
        strand
            ``"-"`` gives the reverse complement of the same interval.
        encode
            ``"bytes"``, ``"str"``, ``"array"`` (uint8), ``"onehot"`` (order ACGT; others are all
            zero), ``"tokens"`` (A0 C1 G2 T3, others 4), ``"2bit"`` (four bases a byte, then a bit a
            base that is set where it is none of the four) or ``"softmask"`` (lower case).
        dtype
            Of one-hot: uint8, bool, float16 or float32; of tokens: uint8, int8, int32 or int64.
        channels
            ``"last"`` is (n, 4), ``"first"`` is (4, n).
        case, mask
            ``"keep"``, ``"upper"`` or ``"lower"``; mask ``"N"`` turns lower case into N.
        n_value, iupac
            Of float one-hot: what unknown bases have in all channels; ``"fraction"`` shares
            ambiguous bases among those that they stand for.
        vocab
            256 tokens, by byte.
        out_of_range
            ``"error"``, ``"pad"`` with `pad_char`, ``"clip"`` or ``"shift"`` the window inside.
        pad_char
            What stands for bases outside of the contig.
        out
            Array to fill instead of a new one.

        Returns
        -------
        bytes, str or numpy.ndarray
            The window.

        Raises
        ------
        NameNotFoundError
            If there is no such file or contig.
        OutOfRangeError
            If the window is not within the contig.
        FormatError
            If a block is damaged or an index is stale; never wrong bases.
        """
        if encode == "bytes" and case == "keep" and mask is None:
            encoding = _BYTES
        else:
            encoding = choose_encoding(
                encode,
                dtype=dtype,
                channels=channels,
                case=case,
                mask=mask,
                n_value=n_value,
                iupac=iupac,
                vocab=vocab,
            )
        native = self._native
        file, number = self.resolve(name, contig)
        try:
            place = native.place(file, number, start, end, out_of_range)
        except OverflowError:
            raise out_of_any_range(start, end) from None
        minus = strand != "+" and is_minus(strand)
        pad = pad_byte(pad_char)
        if encoding.is_text:
            if out is not None:
                raise InputError(f"out is for arrays, which {encode!r} is not", option="out")
            text = native.read_bytes(file, number, place, minus, encoding.native, pad)
            self._warn()
            return text if encode == "bytes" else text.decode("latin-1")
        bases = place[1] - place[0] + place[2] + place[3]
        if out is None:
            out = encoding.empty(None, bases)
        else:
            encoding.check(out, None, bases)
        native.read(file, number, place, minus, encoding.native, pad, as_bytes(out))
        self._warn()
        return out

    def fetch_many(
        self,
        windows: "Intervals | Sequence[Any] | NDArray[Any]",
        *,
        encode: Encode = "array",
        dtype: Any = None,
        channels: Channels = "last",
        case: Case = "keep",
        mask: str | None = None,
        n_value: float = 0.0,
        iupac: Iupac = "zero",
        vocab: bytes | None = None,
        out_of_range: OutOfRange = "error",
        pad_char: str = "N",
        pad_to: int | None = None,
        length: int | NDArray[np.int64] | None = None,
        threads: int = 1,
        out: NDArray[Any] | None = None,
    ) -> Any:
        """Read many windows; each block that they share is read and inflated once.

        Parameters
        ----------
        windows
            :class:`Intervals`; a sequence of ``(name, contig, start, end[, strand])``; a structured
            array with the fields file, contig, start, end and strand; or, with `length`, four
            arrays: numbers of files and contigs, starts, and strands (1, -1).
        encode, dtype, channels, case, mask, n_value, iupac, vocab, out_of_range, pad_char
            As in :meth:`fetch`.
        pad_to
            Length of every row or text; shorter windows are filled with `pad_char` at their end.
        length
            Bases of every window, or of each, where four arrays say where they begin.
        threads
            Threads that read, besides none that outlives the call.
        out
            Array to fill instead of a new one.

        Returns
        -------
        numpy.ndarray, or a tuple of two
            Windows of one length (or `pad_to`): one row each, in the order given. Else the data of
            all, one after the other, and the offsets at which each begins and the last ends, in
            bases. ``"bytes"`` and ``"str"`` give a list.
        """
        encoding = choose_encoding(
            "array" if encode in ("bytes", "str") else encode,
            dtype=dtype,
            channels=channels,
            case=case,
            mask=mask,
            n_value=n_value,
            iupac=iupac,
            vocab=vocab,
        )
        intervals = as_intervals(windows, self, length)
        arrays = intervals.arrays
        if out_of_range == "clip":
            lengths = np.asarray(self._native.measure_many(arrays, out_of_range), np.int64)
        else:
            lengths = intervals.lengths()
        is_text = encode in ("bytes", "str")
        bases = None if is_text and pad_to is None else row_length(lengths, pad_to)
        pad = pad_byte(pad_char)
        rows = len(intervals)
        if bases is None:
            return self._fetch_ragged(
                arrays,
                lengths,
                encoding,
                encode=encode,
                out_of_range=out_of_range,
                pad=pad,
                threads=threads,
                out=out,
            )
        if out is None:
            out = encoding.empty(rows, bases)
        else:
            encoding.check(out, rows, bases)
        self._native.read_many(
            arrays, out_of_range, bases, encoding.native, pad, as_bytes(out), check_threads(threads)
        )
        self._warn()
        return cut_text(out, np.arange(rows + 1) * bases, encode) if is_text else out

    def pack(self, name: str | bytes | int) -> tuple[Path, int]:
        """Write the packed sidecar of a file: two bits a base and what two bits cannot say.

        It lies beside the file as ``NAME.sqm2`` and is used as long as the file is what it was.

        Parameters
        ----------
        name
            The file.

        Returns
        -------
        tuple of Path and int
            Where it lies, and its bytes.
        """
        path, size = self._native.pack(self._file(name))
        return Path(path), size

    def _fetch_ragged(
        self,
        arrays: tuple[NDArray[Any], ...],
        lengths: NDArray[np.int64],
        encoding: Encoding,
        *,
        encode: Encode,
        out_of_range: OutOfRange,
        pad: int,
        threads: int,
        out: Any,
    ) -> Any:
        if encoding.layout != "rows":
            message = (
                f"windows of different lengths cannot be {encode!r} in this layout; give pad_to"
            )
            raise InputError(message, option="pad_to")
        if lengths.sum(dtype=np.float64) > _BASES_MAX:
            raise OutOfRangeError(f"{len(lengths)} windows together are too long to be read")
        offsets = np.zeros(len(lengths) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        total = int(offsets[-1])
        if out is None:
            out = encoding.empty(None, total)
        else:
            encoding.check(out, None, total)
        self._native.read_many(
            arrays, out_of_range, 0, encoding.native, pad, as_bytes(out), check_threads(threads)
        )
        self._warn()
        return cut_text(out, offsets, encode) if encode in ("bytes", "str") else (out, offsets)
