"""SAM text of simulated records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seqmill.simulate import layout
from seqmill.simulate.content import LETTERS
from seqmill.simulate.tags import cigar_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seqmill.simulate.pieces import Pieces
    from seqmill.simulate.records import Batch

_TO_TEXT = bytes(min(value + 33, 255) for value in range(256))


def _text(pieces: Pieces, row: int) -> str:
    return pieces.item(row).tobytes().decode() or "*"


def write_lines(batch: Batch, contigs: Sequence[str]) -> str:
    """Write records as lines of SAM."""
    plan = batch.plan
    cigars = cigar_text(plan)
    lines = []
    for row in range(len(plan)):
        contig, mate = int(plan.contig[row]), int(plan.mate_contig[row])
        mate_name = "=" if mate == contig else contigs[mate]
        bases = LETTERS[batch.bases.item(row)].tobytes().decode()
        qualities = batch.qualities.item(row).tobytes().translate(_TO_TEXT).decode()
        fields = [
            _text(batch.names, row),
            str(plan.flag[row]),
            contigs[contig] if contig >= 0 else "*",
            str(plan.position[row] + 1),
            str(plan.mapq[row]),
            "*" if plan.flag[row] & layout.UNMAPPED else _text(cigars, row),
            mate_name if mate >= 0 else "*",
            str(plan.mate_position[row] + 1),
            str(plan.template_length[row]),
            bases or "*",
            qualities or "*",
        ]
        fields += [tag.text(row) for tag in batch.tags if tag.present[row]]
        lines.append("\t".join(fields) + "\n")
    return "".join(lines)
