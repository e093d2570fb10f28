"""What `find_repeats` gives back: tables, sequences and figures."""

import re
from dataclasses import dataclass
from typing import Any, Literal

from seqmill._repeat_config import MemoryUsageBreakdown
from seqmill._repeat_known import KnownComparison
from seqmill.errors import InputError, NotFoundError
from seqmill.report import Metrics

__all__ = ["DroppedFamily", "RepeatResult", "RepeatTable"]


@dataclass(frozen=True, slots=True)
class RepeatTable:
    """One of the tables of a run.

    Speaks the Arrow PyCapsule protocol, so ``polars.DataFrame(table)`` and
    ``pyarrow.table(table)`` work without a copy.
    """

    _run: Any
    _name: str
    _rows: int

    def __len__(self) -> int:
        """Count the rows."""
        return self._rows

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Give the table as a stream of Arrow batches; a wish for another schema is ignored."""
        del requested_schema
        return self._run.table(self._name)


@dataclass(frozen=True, slots=True, kw_only=True)
class DroppedFamily:
    """A family whose sequence is not in the library because a longer one covers it.

    Attributes
    ----------
    family
        Its name, such as ``"fam7"``.
    by
        The family that stands for it.
    coverage
        The share of its letters that is covered.
    identity
        The share of equal columns in that part, gaps included.
    """

    family: str
    by: str
    coverage: float
    identity: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatResult:
    """What a search for repeats has found.

    Attributes
    ----------
    outputs
        Paths of the files that were written.
    metrics
        Figures of the job.
    warnings
        Warnings in the order in which they came.
    overview
        Counts for pictures, if they were asked for.
    comparison
        How far the elements agree with the known annotation, if one was given.
    """

    outputs: tuple[str, ...]
    metrics: Metrics
    warnings: tuple[str, ...]
    overview: dict[str, Any] | None
    comparison: KnownComparison | None
    _run: Any
    _counts: dict[str, int]

    @property
    def families(self) -> RepeatTable:
        """Families in the order in which they were found."""
        return RepeatTable(self._run, "families", self._counts["families"])

    @property
    def elements(self) -> RepeatTable:
        """Elements in the order of the genome."""
        return RepeatTable(self._run, "elements", self._counts["elements"])

    @property
    def seeds(self) -> RepeatTable:
        """Seeds that were tried, the most frequent first."""
        return RepeatTable(self._run, "seeds", self._counts["seeds"])

    @property
    def dropped(self) -> tuple[DroppedFamily, ...]:
        """Families that `cluster` left out of the library, in their order."""
        return tuple(
            DroppedFamily(
                family=f"fam{one['family']}",
                by=f"fam{one['by']}",
                coverage=one["coverage"],
                identity=one["identity"],
            )
            for one in self.metrics.detail["dropped"]
        )

    @property
    def memory_usage(self) -> MemoryUsageBreakdown:
        """What held memory."""
        raw = dict(self.metrics.detail["memory_usage"])
        accounts = tuple(raw.pop("accounts"))
        return MemoryUsageBreakdown(**raw, accounts=accounts)

    def consensus(self, name: str) -> bytes:
        """Give the consensus of a family such as ``"fam0"``.

        Raises
        ------
        NotFoundError
            If there is no such family.
        """
        match = re.fullmatch(r"fam(0|[1-9][0-9]*)", name)
        found: bytes | None = self._run.consensus(int(match[1])) if match else None
        if found is None:
            message = f"there is no family {name!r}; they are fam0 to fam{len(self.families) - 1}"
            raise NotFoundError(message, name=name)
        return found

    def masked(self, chrom: str, kind: Literal["soft", "hard"] = "soft") -> bytes:
        """Give a sequence with its repeats in lower case, or as N.

        Parameters
        ----------
        chrom
            Name of the sequence: its header up to the first blank.
        kind
            ``"soft"`` or ``"hard"``.

        Raises
        ------
        NotFoundError
            If the file has no such sequence.
        """
        if kind not in ("soft", "hard"):
            message = f"kind {kind!r} is neither 'soft' nor 'hard'"
            raise InputError(message, option="kind", value=kind, allowed="soft, hard")
        name = chrom.encode("utf-8", "surrogateescape")
        found: bytes | None = self._run.masked(name, kind == "hard")
        if found is None:
            message = f"there is no sequence {chrom!r}"
            raise NotFoundError(message, name=chrom)
        return found
