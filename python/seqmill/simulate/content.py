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
_SCALE_BITS = 20
_HIGH_SHIFT, _LOW = 4, 15


class QualityModel:
    """Binned qualities that get worse along the read or from read to read, and their errors.

    Parameters
    ----------
    levels
        For each level: quality, its weight of 1,024 at the first and at the last base (or in the
        best and in the worst read), and the errors in 65,536 bases that have it.
    along_read
        Whether bases get worse along the read; otherwise each read draws how bad it is.
    """

    def __init__(
        self, levels: tuple[tuple[int, int, int, int], ...], *, along_read: bool = True
    ) -> None:
        self.along_read = along_read
        quality, first, last, errors = np.array(levels, dtype=np.int64).T
        size = 1 << _QUALITY_BITS
        drawn = np.arange(size)
        self.table = np.empty((_CYCLE_GROUPS, size), dtype=np.uint8)
        for group in range(_CYCLE_GROUPS):
            weights = first + (last - first) * group // (_CYCLE_GROUPS - 1)
            edges = np.cumsum(weights)
            level = np.minimum(np.searchsorted(edges, drawn, side="right"), len(quality) - 1)
            self.table[group] = quality[level]
        self.errors = np.zeros(256, dtype=np.uint16)
        self.errors[quality] = errors

    def draw(self, bits: NDArray[np.uint64], group: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Give the qualities of bases of these groups of cycles."""
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
    """The genome end to end.

    Attributes
    ----------
    starts
        Where the contigs begin.
    letters
        Upper-case letters as published.
    both
        Codes as published in the high half of the byte, and as the sequenced individual has them
        in the low half.
    """

    starts: NDArray[np.int64]
    letters: NDArray[np.uint8]
    both: NDArray[np.uint8]


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
    inside = places(np.zeros_like(emitted), emitted)
    first_counter = (plan.key[steps.row] << _PLACE_BITS) + steps.query
    bits = draws.at((np.repeat(first_counter, emitted) + inside).astype(np.uint64))
    if quality.along_read:
        groups = _cycle_groups(plan, steps, emitted, inside)
    else:
        counter = ((plan.key + 1) << _PLACE_BITS) - 1
        share = draws.at(counter.astype(np.uint64)) >> np.uint64(60)
        groups = np.repeat(share.astype(np.int64), lengths)
    qualities = quality.draw(bits, groups)
    known = np.repeat(steps.reference >= 0, emitted)
    target = np.repeat(steps.reference, emitted) + inside
    pair = reference.both[np.where(known, target, 0)]
    bases = pair & _LOW
    free = np.flatnonzero(~known)
    bases[free] = (bits[free] >> np.uint64(_BASE_SHIFT)) & np.uint64(3)
    drawn = ((bits >> np.uint64(_ERROR_SHIFT)) & np.uint64(0xFFFF)).astype(np.uint16)
    wrong = np.flatnonzero((drawn < quality.errors[qualities]) & (bases < _UNKNOWN))
    change = (bits[wrong] >> np.uint64(_CHANGE_SHIFT) & np.uint64(0xFF)) * np.uint64(3)
    bases[wrong] = (bases[wrong] + np.uint8(1) + (change >> np.uint64(8)).astype(np.uint8)) & 3
    qualities[bases == _UNKNOWN] = _UNKNOWN_QUALITY
    # An N of the reference counts as a mismatch also where the read has one (as samtools does).
    differs = (bases != pair >> _HIGH_SHIFT) | (bases == _UNKNOWN)
    differs &= np.repeat(steps.code == layout.MATCH, emitted)
    found = np.flatnonzero(differs)
    step = np.searchsorted(np.cumsum(emitted), found, side="right")
    is_gap = np.isin(steps.code, (layout.INSERTION, layout.DELETION))
    gaps = sum_items(np.where(is_gap, steps.size, 0), steps.per_row)
    mismatched = np.bincount(steps.row[step], minlength=len(plan)).astype(np.int64)
    aligned = sum_items(np.where(steps.code == layout.MATCH, steps.size, 0), steps.per_row)
    difference = _difference(
        steps, reference, aligned=aligned, step=step, inside=inside[found], target=target[found]
    )
    return Content(
        Pieces.of(bases, lengths),
        Pieces.of(qualities, lengths),
        mismatched + gaps,
        difference,
        aligned,
    )


def _cycle_groups(
    plan: Plan, steps: _Steps, emitted: NDArray[np.int64], inside: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Give for each base how far along the read it was sequenced, in groups of cycles."""
    reverse = ((plan.flag & layout.REVERSE) != 0)[steps.row]
    length = plan.length[steps.row]
    # A product and a shift: a division for each base would take as long as all the rest.
    scale = np.asarray((_CYCLE_GROUPS << _SCALE_BITS) // length, dtype=np.int64)
    begin = np.where(reverse, length - 1 - steps.query, steps.query) * scale
    along = np.where(reverse, -scale, scale)
    scaled = np.repeat(begin, emitted) + np.repeat(along, emitted) * inside
    return np.asarray(scaled, dtype=np.int64) >> _SCALE_BITS


def _difference(
    steps: _Steps,
    reference: Reference,
    *,
    aligned: NDArray[np.int64],
    step: NDArray[np.int64],
    inside: NDArray[np.int64],
    target: NDArray[np.int64],
) -> Pieces:
    """Write the text of MD (SAM optional fields, §1.1) of every record.

    The mismatches are told by their operation, their place in it, and their place in the genome.
    """
    deleted = np.flatnonzero(steps.code == layout.DELETION)
    before_step = sum_before(np.where(steps.code == layout.MATCH, steps.size, 0), steps.per_row)
    token_row = np.concatenate([steps.row[step], steps.row[deleted]])
    place = np.concatenate([before_step[step] + inside, before_step[deleted]])
    genome_place = np.concatenate([target, steps.reference[deleted]])
    size = np.concatenate([np.ones_like(step), steps.size[deleted]])
    caret = np.concatenate([np.zeros_like(step), np.ones_like(deleted)])
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
