"""Bases and qualities of planned records, and what follows from them: edit distance and MD."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from seqmill.simulate import layout
from seqmill.simulate.layout import sum_before, sum_items
from seqmill.simulate.pieces import Pieces, begin_of, decimal, join, places

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from seqmill.simulate.draws import Draws
    from seqmill.simulate.layout import Plan

LETTERS = np.frombuffer(b"ACGTN", dtype=np.uint8)
_UNKNOWN = 4
_UNKNOWN_QUALITY = 2
# The random bits of a base: 0-9 its quality, 16-31 whether it is wrong, 32-39 how, 40-41 a base.
_QUALITY_BITS = 10
_ERROR_SHIFT, _CHANGE_SHIFT, _BASE_SHIFT = 16, 32, 40
# Bits of a counter for the place in the read; the rest holds the read.
_PLACE_BITS = 26
_CYCLE_GROUPS = 16


class QualityModel:
    """Binned qualities that get worse along the read, and errors that follow them.

    Parameters
    ----------
    levels
        For each level: quality, its weight of 1,024 at the first and at the last base, and
        the errors in 65,536 bases that have it.
    """

    def __init__(self, levels: tuple[tuple[int, int, int, int], ...]) -> None:
        quality, first, last, errors = np.array(levels, dtype=np.int64).T
        size = 1 << _QUALITY_BITS
        drawn = np.arange(size)
        self.table = np.empty((_CYCLE_GROUPS, size), dtype=np.uint8)
        for group in range(_CYCLE_GROUPS):
            weights = first + (last - first) * group // (_CYCLE_GROUPS - 1)
            edges = np.cumsum(weights)
            level = np.minimum(np.searchsorted(edges, drawn, side="right"), len(quality) - 1)
            self.table[group] = quality[level]
        self.errors = np.zeros(256, dtype=np.int64)
        self.errors[quality] = errors

    def draw(
        self, bits: NDArray[np.uint64], cycle: NDArray[np.int64], length: NDArray[np.int64]
    ) -> NDArray[np.uint8]:
        """Give the qualities of bases at these cycles."""
        group = cycle * _CYCLE_GROUPS // length
        low = (bits & np.uint64((1 << _QUALITY_BITS) - 1)).astype(np.int64)
        out: NDArray[np.uint8] = self.table.reshape(-1)[(group << _QUALITY_BITS) + low]
        return out


@dataclass(frozen=True, slots=True, eq=False)
class Content:
    """What the records of a batch hold, in the orientation of the reference.

    Attributes
    ----------
    bases
        Codes 0 to 4 for A, C, G, T, N.
    qualities
        Phred values.
    edits
        Edit distance to the reference (tag NM), introns not counted.
    difference
        Text of the tag MD.
    aligned
        Bases aligned to a base of the reference.
    """

    bases: Pieces
    qualities: Pieces
    edits: NDArray[np.int64]
    difference: Pieces
    aligned: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """The genome end to end: as published, and as the sequenced individual has it."""

    starts: NDArray[np.int64]
    codes: NDArray[np.uint8]
    letters: NDArray[np.uint8]
    individual: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class _Steps:
    """The CIGAR operations of a batch, all records end to end."""

    row: NDArray[np.int64]
    code: NDArray[np.uint8]
    size: NDArray[np.int64]
    query: NDArray[np.int64]
    reference: NDArray[np.int64]
    per_row: NDArray[np.int64]


def _steps(plan: Plan, reference: Reference) -> _Steps:
    code, size, per_row = plan.codes.values, plan.sizes.values, plan.codes.lengths
    row = np.repeat(np.arange(len(plan)), per_row)
    on_reference = np.isin(code, (layout.MATCH, layout.DELETION, layout.SKIP))
    begin = np.where(plan.contig < 0, 0, reference.starts[plan.contig] + plan.position)
    at = begin[row] + sum_before(np.where(on_reference, size, 0), per_row)
    # A hard clip holds bases of the read that the record leaves out.
    in_read = ~np.isin(code, (layout.DELETION, layout.SKIP))
    query = sum_before(np.where(in_read, size, 0), per_row)
    # The last clip of a split read comes from where its other part lies.
    ends = plan.codes.starts + per_row - 1
    moved = plan.source >= 0
    clip = np.zeros(len(code), dtype=np.bool_)
    clip[ends[moved]] = True
    at = np.where((code == layout.MATCH) | (code == layout.DELETION), at, -1)
    at[clip] = plan.source[moved]
    return _Steps(row, code, size, query, at, per_row)


def make_content(plan: Plan, reference: Reference, quality: QualityModel, draws: Draws) -> Content:
    """Make the bases and qualities of planned records."""
    steps = _steps(plan, reference)
    has_bases = np.isin(steps.code, (layout.MATCH, layout.INSERTION, layout.SOFT_CLIP))
    emitted = np.where(has_bases, steps.size, 0)
    lengths = sum_items(emitted, steps.per_row)
    step = np.repeat(np.arange(len(emitted)), emitted)
    inside = places(np.zeros_like(emitted), emitted)
    row = steps.row[step]
    place = steps.query[step] + inside
    counter = (plan.key[row] << _PLACE_BITS) | place
    bits = draws.at(counter.astype(np.uint64))
    cycle = np.where((plan.flag & layout.REVERSE)[row] != 0, plan.length[row] - 1 - place, place)
    qualities = quality.draw(bits, cycle, plan.length[row])
    known = steps.reference[step] >= 0
    target = np.where(known, steps.reference[step] + inside, 0)
    random_base = ((bits >> np.uint64(_BASE_SHIFT)) & np.uint64(3)).astype(np.uint8)
    bases = np.where(known, reference.individual[target], random_base)
    wrong = ((bits >> np.uint64(_ERROR_SHIFT)) & np.uint64(0xFFFF)).astype(
        np.int64
    ) < quality.errors[qualities]
    change = ((bits >> np.uint64(_CHANGE_SHIFT)) & np.uint64(0xFF)).astype(np.uint8) % 3
    changed = (bases + 1 + change) % _UNKNOWN
    bases = np.where(wrong & (bases < _UNKNOWN), changed, bases).astype(np.uint8)
    qualities[bases == _UNKNOWN] = _UNKNOWN_QUALITY
    matched = steps.code[step] == layout.MATCH
    row, target = row[matched], target[matched]
    # An N of the reference counts as a mismatch also where the read has one (as samtools does).
    differs = (bases[matched] != reference.codes[target]) | (bases[matched] == _UNKNOWN)
    is_gap = np.isin(steps.code, (layout.INSERTION, layout.DELETION))
    gaps = sum_items(np.where(is_gap, steps.size, 0), steps.per_row)
    mismatched = np.bincount(row[differs], minlength=len(plan)).astype(np.int64)
    aligned = sum_items(np.where(steps.code == layout.MATCH, steps.size, 0), steps.per_row)
    wrong_at = np.flatnonzero(differs)
    difference = _difference(
        steps, reference, aligned=aligned, wrong=wrong_at, row=row, target=target
    )
    return Content(
        Pieces.of(bases, lengths),
        Pieces.of(qualities, lengths),
        mismatched + gaps,
        difference,
        aligned,
    )


def _difference(
    steps: _Steps,
    reference: Reference,
    *,
    aligned: NDArray[np.int64],
    wrong: NDArray[np.int64],
    row: NDArray[np.int64],
    target: NDArray[np.int64],
) -> Pieces:
    """Write the text of MD (SAM optional fields, §1.1) of every record."""
    deleted = np.flatnonzero(steps.code == layout.DELETION)
    matches = np.where(steps.code == layout.MATCH, steps.size, 0)
    first = begin_of(aligned)
    token_row = np.concatenate([row[wrong], steps.row[deleted]])
    place = np.concatenate([wrong - first[row[wrong]], sum_before(matches, steps.per_row)[deleted]])
    genome_place = np.concatenate([target[wrong], steps.reference[deleted]])
    size = np.concatenate([np.ones_like(wrong), steps.size[deleted]])
    caret = np.concatenate([np.zeros_like(wrong), np.ones_like(deleted)])
    # At one place the deleted bases come before the mismatch.
    order = np.lexsort((1 - caret, place, token_row))
    token_row, place, genome_place = token_row[order], place[order], genome_place[order]
    size, caret = size[order], caret[order]
    behind = place + 1 - caret
    per_row = np.bincount(token_row, minlength=len(aligned)).astype(np.int64)
    before = np.concatenate([[0], behind[:-1]])[: len(behind)]
    begin = begin_of(per_row)
    before[begin[per_row > 0]] = 0
    letters = reference.letters[places(genome_place, size)]
    tokens = join(
        [
            decimal(place - before),
            Pieces.of(np.full(int(caret.sum()), ord("^"), dtype=np.uint8), caret),
            Pieces.of(letters, size),
        ]
    )
    texts = Pieces.of(tokens.values, sum_items(tokens.lengths, per_row))
    last = np.zeros(len(aligned), dtype=np.int64)
    last[per_row > 0] = behind[(begin + per_row - 1)[per_row > 0]]
    return join([texts, decimal(aligned - last)])
