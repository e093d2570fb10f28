"""Simulated alignments: written as BAM, SAM, FASTQ and as the table of the truth."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from seqmill.simulate import layout
from seqmill.simulate.bai import IndexRows, build_index
from seqmill.simulate.bam import encode_batch, encode_header
from seqmill.simulate.bgzf import BgzfWriter
from seqmill.simulate.content import Reference
from seqmill.simulate.fastq import write_reads
from seqmill.simulate.files import replaced, text_target
from seqmill.simulate.genome import substitute
from seqmill.simulate.records import BatchMaker, ReadStyle
from seqmill.simulate.sam import write_lines
from seqmill.simulate.tags import cigar_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from seqmill.simulate.draws import Draws
    from seqmill.simulate.files import PathLike
    from seqmill.simulate.genome import Genome
    from seqmill.simulate.layout import Plan
    from seqmill.simulate.records import Batch

__all__ = ["Alignments", "ReadStyle"]

# Small batches stay in the processor's cache; the content does not depend on them.
_BATCH_BASES = 400_000
_LOWER_BIT = 0x20

Order = Literal["coordinate", "query"]


class Alignments:
    """Reads with their true alignments.

    Made by :func:`simulate_short_reads` and :func:`simulate_long_reads`. Every file written from
    one object tells of the same reads, base by base.
    """

    def __init__(self, genome: Genome, plan: Plan, style: ReadStyle, draws: Draws) -> None:
        self._genome = genome
        self._plan = plan
        self._style = style
        self._draws = draws

    def __len__(self) -> int:
        """Give the number of alignment records."""
        return len(self._plan)

    @cached_property
    def _maker(self) -> BatchMaker:
        genome = self._genome
        draws = self._draws.child("individual")
        wanted = draws.chance(self._style.snp_rate, len(genome.letters))
        individual = substitute(draws, genome.letters, wanted)
        table = np.full(256, 4, dtype=np.uint8)
        for code, letters in enumerate((b"Aa", b"Cc", b"Gg", b"Tt")):
            table[list(letters)] = code
        both = table[individual] | genome.codes << np.uint8(4)
        upper = genome.letters & ~np.uint8(_LOWER_BIT)
        reference = Reference(genome.starts, upper, both)
        names = tuple(contig.name for contig in genome.contigs)
        return BatchMaker(self._plan, reference, names, self._style, self._draws)

    def header(self, order: Order = "coordinate") -> str:
        """Give the header text."""
        sorting = "SO:coordinate" if order == "coordinate" else "SO:unsorted\tGO:query"
        lines = [f"@HD\tVN:1.6\t{sorting}"]
        for contig in self._genome.contigs:
            upper = contig.sequence & ~np.uint8(_LOWER_BIT)
            digest = hashlib.md5(upper.tobytes(), usedforsecurity=False).hexdigest()
            lines.append(f"@SQ\tSN:{contig.name}\tLN:{len(contig)}\tM5:{digest}")
        lines += [
            f"@RG\tID:{name}\tSM:sample\tLB:library\tPL:{self._style.platform}"
            for name in self._style.read_groups
        ]
        lines.append("@PG\tID:seqmill.simulate\tPN:seqmill")
        return "\n".join(lines) + "\n"

    def _rows(self, order: Order) -> NDArray[np.int64]:
        if order == "coordinate":
            return self._plan.in_coordinate_order()
        return np.lexsort((np.arange(len(self._plan)), self._plan.name))

    def _cut(self, rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        """Cut rows into batches by their bases."""
        bases = np.cumsum(self._plan.length[rows])
        batch = bases // _BATCH_BASES
        edges = np.flatnonzero(np.diff(batch)) + 1
        for part in np.split(rows, edges):
            if len(part):
                yield part

    def _batches(self, order: Order) -> Iterator[Batch]:
        for rows in self._cut(self._rows(order)):
            yield self._maker.make(rows)

    def write_bam(
        self,
        path: PathLike,
        *,
        order: Order = "coordinate",
        level: int = 6,
        index: bool = True,
    ) -> None:
        """Write a BAM file.

        Parameters
        ----------
        path
            File to write; an earlier one is replaced.
        order
            ``coordinate``, or ``query``: all records of a read together.
        level
            Deflate level.
        index
            Write ``PATH.bai`` as well (in coordinate order only).
        """
        contigs = [(contig.name, len(contig)) for contig in self._genome.contigs]
        lengths, rows = [], []
        with BgzfWriter(path, level) as file:
            file.write(encode_header(self.header(order), contigs))
            begin = file.inflated
            for batch in self._batches(order):
                plan = batch.plan
                end = _ends(plan)
                records = encode_batch(batch, end)
                file.write(records.values.data)
                lengths.append(records.lengths)
                mapped = (plan.flag & layout.UNMAPPED) == 0
                rows.append((plan.contig, plan.position, end, mapped))
        if index and order == "coordinate":
            edges = begin + np.concatenate([[0], np.cumsum(np.concatenate([[], *lengths]))])
            offsets = file.virtual_offsets(edges.astype(np.int64))
            columns = [np.concatenate(column) for column in zip(*rows, strict=True)]
            if not columns:
                columns = [np.empty(0, dtype=np.int64)] * 4
            contig, start, end, mapped = columns
            table = IndexRows(contig, start, end, mapped, offsets[:-1], offsets[1:])
            target = Path(path)
            with replaced(target.with_name(target.name + ".bai")) as out:
                out.write(build_index(table, len(contigs)))

    def write_sam(self, path: PathLike, *, order: Order = "coordinate") -> None:
        """Write the same records as SAM text (BGZF if the name ends in ``.gz``)."""
        contigs = [contig.name for contig in self._genome.contigs]
        with text_target(path) as file:
            file.write(self.header(order).encode())
            for batch in self._batches(order):
                file.write(write_lines(batch, contigs).encode())

    def write_fastq(self, path: PathLike, mates: PathLike | None = None) -> None:
        """Write the reads as sequenced (BGZF if a name ends in ``.gz``).

        Parameters
        ----------
        path
            File to write.
        mates
            File for the second reads of pairs; without it they follow the first ones in `path`.
        """
        rows = self._plan.reads()
        if mates is None:
            self._write_reads(path, rows)
            return
        last = (self._plan.flag[rows] & layout.LAST) != 0
        self._write_reads(path, rows[~last])
        self._write_reads(mates, rows[last])

    def _write_reads(self, path: PathLike, rows: NDArray[np.int64]) -> None:
        with text_target(path) as file:
            for part in self._cut(rows):
                plan = self._plan.take(part)
                content = self._maker.content(plan)
                tags = self._maker.modifications(plan, content)
                file.write(write_reads(plan, self._maker.names(plan.name), content, tags))

    def write_truth(self, path: PathLike) -> None:
        """Write where each record comes from, as a table in coordinate order.

        Columns: name, mate (0 for single reads), flag, contig, begin and end (0-based,
        half-open), strand, cigar. Reads that are not mapped are left out.
        """
        with text_target(path) as file:
            file.write(b"name\tmate\tflag\tcontig\tbegin\tend\tstrand\tcigar\n")
            for rows in self._cut(self._rows("coordinate")):
                file.write(self._truth_lines(self._plan.take(rows)).encode())

    def _truth_lines(self, plan: Plan) -> str:
        names, cigars, end = self._maker.names(plan.name), cigar_text(plan), _ends(plan)
        lines = []
        for row in np.flatnonzero((plan.flag & layout.UNMAPPED) == 0).tolist():
            flag = int(plan.flag[row])
            mate = (flag & (layout.FIRST | layout.LAST)) // layout.FIRST
            strand = "-" if flag & layout.REVERSE else "+"
            lines.append(
                f"{names.item(row).tobytes().decode()}\t{mate}\t{flag}"
                f"\t{self._genome.contigs[plan.contig[row]].name}\t{plan.position[row]}"
                f"\t{end[row]}\t{strand}\t{cigars.item(row).tobytes().decode()}\n"
            )
        return "".join(lines)


def _ends(plan: Plan) -> NDArray[np.int64]:
    """Give where records end (0-based, half-open); an unmapped one covers one base."""
    return plan.position + np.maximum(plan.reference_span(), 1)
