"""Open tables of k-mers: :class:`KmerTable`."""

import json
import os
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self, cast

from seqmill import _native
from seqmill._kmer_jobs import PathLike, check_counts, choose_outputs, to_text
from seqmill._kmer_sequence import text_bytes
from seqmill._outputs import refuse_inputs
from seqmill.errors import InputError
from seqmill.limits import choose_memory

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    import pyarrow as pa
    from numpy.typing import NDArray

    from seqmill.report import Metrics

__all__ = ["KmerTable"]

Strand = Literal["forward", "canonical"]

_WORD_BASES: Final = 32
_FILTERED: Final = 1
_LOOK_UPS: Final = 1 << 20
"""Look-ups between two chances to interrupt."""


class KmerTable:
    r"""A sorted table of k-mers and counts in a file, mapped and not loaded.

    Speaks the Arrow PyCapsule protocol: ``polars.DataFrame(table)`` and ``pyarrow.table(table)``
    take it batch by batch. Pickling it pickles its path.

    Parameters
    ----------
    path
        A file of the format `skm`.

    Attributes
    ----------
    metrics : Metrics or None
        Figures of the job that made the table in this process.

    Raises
    ------
    FormatError
        If the file is no table, is cut or damaged. Blocks are checked when first touched.

    Examples
    --------
    >>> import seqmill, tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "tiny.fa").write_text(">a\nACGACGT\n")
    >>> table = seqmill.count_kmers(folder / "tiny.fa", k=3)
    >>> table["ACG"], table.get("TTT", 0), "CGA" in table, len(table)
    (2, 0, True, 4)
    """

    metrics: "Metrics | None" = None

    def __init__(self, path: PathLike) -> None:
        self._path = os.fspath(path)
        self._native = _native.KmerTable(self._path)
        self._k, canonical, self._flags, self._stored, self._total, self._blocks, self._bytes = (
            self._native.facts
        )
        self._strand: Strand = "canonical" if canonical else "forward"

    @classmethod
    def _open(cls, path: str, metrics: "Metrics | None" = None, *, drop: bool = False) -> Self:
        table = cls(path)
        table.metrics = metrics
        if drop:
            weakref.finalize(table, _remove, path, os.getpid())
        return table

    def __reduce__(self) -> tuple[type["KmerTable"], tuple[str]]:
        """Pickle the path."""
        return KmerTable, (self._path,)

    def __repr__(self) -> str:
        """Say what the table holds."""
        return f"KmerTable({self._path!r}, k={self._k}, {self._strand}, distinct={self._stored})"

    @property
    def path(self) -> Path:
        """The file."""
        return Path(self._path)

    @property
    def k(self) -> int:
        """Length of the k-mers."""
        return self._k

    @property
    def strand(self) -> Strand:
        """Whether a k-mer and its reverse complement are counted as one."""
        return self._strand

    @property
    def total(self) -> int:
        """Occurrences that were counted, before filters."""
        return self._total

    @property
    def distinct(self) -> int:
        """K-mers in the table."""
        return self._stored

    @property
    def filtered(self) -> bool:
        """Whether k-mers were left out by their count."""
        return bool(self._flags & _FILTERED)

    @property
    def info(self) -> dict[str, Any]:
        """Header and footer: what was counted."""
        return {
            "k": self._k,
            "strand": self._strand,
            "distinct": self._stored,
            "total": self._total,
            "filtered": self.filtered,
            "blocks": self._blocks,
            "bytes": self._bytes,
            **json.loads(self._native.footer()),
        }

    def __len__(self) -> int:
        """Count the k-mers in the table."""
        return self._stored

    def __getitem__(self, kmer: str | bytes) -> int:
        """Look up the count of a k-mer.

        Raises
        ------
        KeyError
            If the table does not have it.
        """
        count = self._find(kmer)
        if count == 0:
            raise KeyError(kmer)
        return count

    def __contains__(self, kmer: object) -> bool:
        """Tell whether the table has a k-mer."""
        return isinstance(kmer, str | bytes) and bool(
            self._native.query_text([text_bytes(kmer)])[0]
        )

    def get(self, kmer: str | bytes, default: int = 0) -> int:
        """Look up the count of a k-mer, or give `default` where it is absent."""
        return self._find(kmer) or default

    def _find(self, kmer: str | bytes) -> int:
        (count,) = self._native.query_text([text_bytes(kmer)])
        if count is None:
            raise InputError(
                f"{kmer!r} is not a k-mer of {self._k} bases A, C, G, T", option="kmer", value=kmer
            )
        return count

    def query(self, kmers: "Sequence[str | bytes] | bytes | NDArray[np.uint64]") -> Any:
        """Look up many k-mers.

        Parameters
        ----------
        kmers
            Packed k-mers as a NumPy array of uint64 (A C G T = 0 1 2 3, the first base highest),
            or text; bytes are one k-mer after the other.

        Returns
        -------
        numpy.ndarray
            uint64, 0 where a k-mer is absent.

        Raises
        ------
        InputError
            If a text is not a k-mer of the table's length.
        """
        import numpy as np  # noqa: PLC0415 - a count by the command needs none

        if isinstance(kmers, np.ndarray) and kmers.dtype.kind in "ui":
            packed = np.ascontiguousarray(kmers, np.uint64)
            counts = np.zeros(packed.shape, np.uint64)
            wanted, found = packed.reshape(-1), counts.reshape(-1)
            for at in range(0, packed.size, _LOOK_UPS):
                part = slice(at, at + _LOOK_UPS)
                self._native.query_packed(wanted[part], found[part])
            return counts
        if isinstance(kmers, str):
            kmers = [kmers]
        if isinstance(kmers, bytes):
            kmers = [kmers[at : at + self._k] for at in range(0, len(kmers), self._k)]
        texts = [text_bytes(kmer) for kmer in kmers]
        answers = self._native.query_text(texts)
        for kmer, count in zip(kmers, answers, strict=True):
            if count is None:
                raise InputError(
                    f"{kmer!r} is not a k-mer of {self._k} bases A, C, G, T",
                    option="kmers",
                    value=kmer,
                )
        return np.array(answers, np.uint64)

    def query_or_none(self, kmers: Sequence[str | bytes]) -> list[int | None]:
        """Look up k-mers as text; None for what is no k-mer of the table's length."""
        return self._native.query_text([text_bytes(kmer) for kmer in kmers])

    def histogram(self, max: int | None = None) -> tuple[Any, Any]:  # noqa: A002 - the field's word
        """Count the k-mers of each count.

        Parameters
        ----------
        max
            Counts above are folded into this one.

        Returns
        -------
        tuple of numpy.ndarray
            Counts that occur, ascending, and the number of k-mers that have each.
        """
        import numpy as np  # noqa: PLC0415 - a count by the command needs none

        check_counts(hist_max=max)
        pairs = self._native.histogram(max)
        array = np.array(pairs, np.uint64).reshape(-1, 2)
        return array[:, 0].copy(), array[:, 1].copy()

    def profile(
        self, sequence: "str | bytes | os.PathLike[str]", *, memory: int | str | None = None
    ) -> Any:
        """Look up the k-mer at each position of a sequence, or of each record of a file.

        Parameters
        ----------
        sequence
            Bases; anything else breaks k-mers. A `Path` is a FASTA or FASTQ file.
        memory
            What the process may hold while it goes through a file, beside the arrays that it gives;
            see :ref:`job-options`.

        Returns
        -------
        numpy.ma.MaskedArray, or an iterator of pairs of a name and such an array
            uint64, one count for each window; windows that hold a break are masked. Records of a
            file that are shorter than k are left out.

        Raises
        ------
        BudgetError
            If `memory` is too small; names the least that works.
        """
        from seqmill._kmer_profile import profile_bases, profile_records  # noqa: PLC0415 - seldom

        if isinstance(sequence, os.PathLike):
            return profile_records(self, sequence, memory)
        return profile_bases(self, text_bytes(sequence))

    def __arrow_c_schema__(self) -> Any:
        """Give the schema as an Arrow PyCapsule."""
        return self._native.schema()

    def __arrow_c_stream__(self, requested_schema: object = None) -> Any:
        """Give the table as an Arrow PyCapsule stream of bounded batches."""
        return self._native.stream().__arrow_c_stream__(requested_schema)

    def to_arrow(self, *, text: bool = False) -> "pa.Table":
        """Load the table with pyarrow; `text` gives k-mers as letters."""
        import pyarrow as pa  # noqa: PLC0415 - an optional extra

        reader = pa.RecordBatchReader.from_stream(self._native.stream(text))
        return reader.read_all()

    def batches(self, rows: int = 1_000_000, *, text: bool = False) -> "Iterator[Any]":
        """Go through the table in batches of pyarrow."""
        import pyarrow as pa  # noqa: PLC0415 - an optional extra

        yield from pa.RecordBatchReader.from_stream(self._native.stream(text, rows))

    def to_polars(self, *, text: bool = False) -> "pl.DataFrame":
        """Load the table with polars; `text` gives k-mers as letters."""
        import polars as pl  # noqa: PLC0415 - an optional extra

        return pl.DataFrame(self._native.stream(text))

    def to_numpy(self) -> tuple[Any, Any]:
        """Load packed k-mers and counts.

        Returns
        -------
        tuple of numpy.ndarray
            uint64; k-mers above 32 bases have a row of words each, the highest first.
        """
        import numpy as np  # noqa: PLC0415 - a count by the command needs none

        kmers, counts = self._native.arrays()
        words = -(-self._k // _WORD_BASES)
        packed = np.frombuffer(kmers, np.uint64)
        return (
            packed if words == 1 else packed.reshape(-1, words),
            np.frombuffer(counts, np.uint64),
        )

    def verify(self) -> None:
        """Check every block: checksums, order and sums.

        Raises
        ------
        FormatError
            Names the first damaged block.
        """
        memory = choose_memory(None, useful=1 << 30).value
        self._native.verify(json.dumps({"memory": memory}))

    def dump(self, path: PathLike, *formats: str, force: bool = False, **options: Any) -> int:
        """Write the table in other formats; see :func:`seqmill.kmers.count_kmers`.

        Returns
        -------
        int
            Bytes that were written.
        """
        chosen = choose_outputs(path, formats)
        check_counts(hist_max=options.get("hist_max"))
        refuse_inputs([file for _, file in chosen], [self._path])
        outputs = [(name, to_text(file)) for name, file in chosen]
        memory = choose_memory(options.pop("memory", None), useful=256 << 20).value
        request = {**options, "outputs": outputs, "force": force, "memory": memory}
        return _native.kmers_dump(self._path, json.dumps(request))

    def to_json(self, path: PathLike, *, pretty: bool = False, force: bool = False) -> None:
        """Write one JSON object with k-mers as keys."""
        self.dump(path, "json", pretty=pretty, force=force)

    def save(self, path: PathLike, *, force: bool = False) -> "KmerTable":
        """Copy the table to a file of its own, and open that."""
        self.dump(path, "skm", force=force)
        return KmerTable(path)

    def __or__(self, other: "KmerTable") -> "KmerTable":
        """Join two tables; counts are summed."""
        return self._combine("union-sum", other)

    def __and__(self, other: "KmerTable") -> "KmerTable":
        """Keep what both tables have, with the lesser count."""
        return self._combine("intersect-min", other)

    def __sub__(self, other: "KmerTable") -> "KmerTable":
        """Take the counts of the other table away."""
        return self._combine("subtract", other)

    def _combine(self, operation: str, other: object) -> "KmerTable":
        if not isinstance(other, KmerTable):
            return cast("KmerTable", NotImplemented)
        from seqmill._kmer_sets import combine_tables  # noqa: PLC0415 - it makes tables

        return combine_tables(operation, [self._path, os.fspath(other.path)])


def _remove(path: str, owner: int) -> None:
    # A forked child must not remove what its parent still uses.
    if os.getpid() == owner:
        Path(path).unlink(missing_ok=True)
