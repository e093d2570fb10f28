"""Secondary and supplementary records of reads that have a primary one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from seqmill.simulate import layout
from seqmill.simulate.layout import Plan
from seqmill.simulate.pieces import Pieces

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from seqmill.simulate.draws import Draws
    from seqmill.simulate.genome import Genome


def add_secondary(draws: Draws, genome: Genome, plan: Plan, rows: NDArray[np.int64]) -> Plan:
    """Give these reads a second, worse place; it is written without bases."""
    second = plan.take(rows)
    contig, position = layout.place_spans(draws, genome, second.reference_span())
    second = replace(
        second,
        flag=second.flag & ~layout.PROPER | layout.SECONDARY,
        contig=contig,
        position=position,
        mapq=np.zeros_like(second.mapq),
        template_length=np.zeros_like(second.template_length),
        partner=np.full(len(rows), -1, dtype=np.int64),
    )
    return Plan.stack([plan, second])


def add_split(draws: Draws, genome: Genome, plan: Plan, rows: NDArray[np.int64]) -> Plan:
    """Let the clipped ends of these reads come from another place, and add the records there."""
    part = plan.take(rows)
    ends = part.sizes.starts + part.sizes.lengths - 1
    clipped = part.sizes.values[ends]
    contig, position = layout.place_spans(draws, genome, clipped)
    codes = np.tile(np.array([layout.HARD_CLIP, layout.MATCH], dtype=np.uint8), (len(rows), 1))
    sizes = np.stack([part.length - clipped, clipped], axis=1)
    place = genome.starts[contig] + position
    other = replace(
        part,
        flag=part.flag & ~layout.PROPER | layout.SUPPLEMENTARY,
        contig=contig,
        position=position,
        mapq=layout.mapping_quality(draws, genome, place, clipped),
        template_length=np.zeros_like(part.template_length),
        codes=Pieces.rows(codes),
        sizes=Pieces.rows(sizes),
        source=np.full(len(rows), -1, dtype=np.int64),
        partner=rows,
    )
    source, partner = plan.source.copy(), plan.partner.copy()
    source[rows] = place
    partner[rows] = len(plan) + np.arange(len(rows))
    return Plan.stack([replace(plan, source=source, partner=partner), other])
