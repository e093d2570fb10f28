"""Paired short reads with their alignments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from seqmill.errors import InputError
from seqmill.simulate import layout, second_records
from seqmill.simulate.alignments import Alignments, ReadStyle
from seqmill.simulate.content import QualityModel
from seqmill.simulate.draws import Draws
from seqmill.simulate.layout import Plan, ShapeOptions
from seqmill.simulate.pieces import Pieces

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from seqmill.simulate.genome import Genome

# Quality, its weight (of 1,024) at the first and at the last cycle, errors in 65,536 bases.
SHORT_QUALITY = QualityModel(
    ((37, 945, 850, 13), (23, 45, 90, 330), (12, 24, 60, 2_600), (2, 10, 24, 13_000))
)
_INDEL_WEIGHTS = (60, 18, 9, 6, 3, 2, 1, 1)
_SPLIT_LEAST = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortReadOptions:
    """How paired short reads are made.

    Attributes
    ----------
    pairs
        Number of pairs.
    read_length
        Bases of each read.
    fragment_mean, fragment_deviation
        Length of the fragments.
    snp_rate
        How the sequenced individual differs from the genome, per base.
    event_fraction
        Share of reads with insertions, deletions or introns.
    spliced_fraction
        Share of these that are introns.
    intron
        Shortest and longest intron.
    clipped_fraction, unmapped_fraction, duplicate_fraction
        Shares of reads with a soft clip, of unmapped reads, of pairs that are duplicates.
    secondary_fraction, supplementary_fraction
        Shares of reads with a second record of this kind.
    read_groups
        Names of read groups.
    barcodes
        Cell barcodes: when given, most reads have ``CB`` and ``UB`` tags.
    all_tag_types
        Add tags of every type of the format.
    """

    pairs: int = 1_000
    read_length: int = 150
    fragment_mean: int = 380
    fragment_deviation: int = 60
    snp_rate: float = 0.001
    event_fraction: float = 0.03
    spliced_fraction: float = 0.2
    intron: tuple[int, int] = (60, 600)
    clipped_fraction: float = 0.03
    unmapped_fraction: float = 0.01
    duplicate_fraction: float = 0.05
    secondary_fraction: float = 0.01
    supplementary_fraction: float = 0.005
    read_groups: tuple[str, ...] = ("rg1", "rg2")
    barcodes: tuple[str, ...] = ()
    all_tag_types: bool = False

    def __post_init__(self) -> None:
        """Check the options."""
        if self.pairs < 0:
            raise InputError(f"pairs {self.pairs}: must not be negative")
        if self.read_length < 2 * _SPLIT_LEAST + 1:
            raise InputError(f"read_length {self.read_length}: must be at least 61")


def simulate_short_reads(
    genome: Genome, options: ShortReadOptions | None = None, *, seed: int = 0
) -> Alignments:
    """Simulate paired short reads and their true alignments.

    Parameters
    ----------
    genome
        What the reads are taken from.
    options
        How they are made.
    seed
        The same seed, genome and options give the same records.

    Returns
    -------
    Alignments
        To be written as BAM, SAM, FASTQ and truth table.

    Raises
    ------
    InputError
        If a fragment does not fit into the longest contig.

    Examples
    --------
    >>> from seqmill.simulate.genome import simulate_genome
    >>> reads = simulate_short_reads(simulate_genome(seed=7), ShortReadOptions(pairs=50), seed=7)
    >>> len(reads) >= 100
    True
    """
    options = ShortReadOptions() if options is None else options
    draws = Draws(seed, "short reads")
    plan = _plan(genome, options, draws)
    style = ReadStyle(
        quality=SHORT_QUALITY,
        snp_rate=options.snp_rate,
        read_groups=options.read_groups,
        barcodes=options.barcodes,
        all_tag_types=options.all_tag_types,
        platform="ILLUMINA",
    )
    return Alignments(genome, plan, style, draws.child("content"))


def _fragments(options: ShortReadOptions, draws: Draws) -> NDArray[np.int64]:
    """Give for each pair the pair that it duplicates (or itself)."""
    number = np.arange(options.pairs)
    copied = draws.chance(options.duplicate_fraction, options.pairs)
    copied[:1] = False
    return np.maximum.accumulate(np.where(copied, 0, number))


def _shapes(
    options: ShortReadOptions, draws: Draws, split: NDArray[np.bool_]
) -> tuple[Pieces, Pieces]:
    count = len(split)
    length = np.full(count, options.read_length, dtype=np.int64)
    event = draws.chance(options.event_fraction, count)
    twice = draws.chance(0.1, count)
    first = draws.chance(options.clipped_fraction / 2, count)
    last = draws.chance(options.clipped_fraction / 2, count)
    longest = options.read_length // 3
    cut = _SPLIT_LEAST + draws.below(options.read_length - 2 * _SPLIT_LEAST, count)
    introns = round(options.spliced_fraction * 1000)
    indels = (1000 - introns) // 2
    shape = ShapeOptions(
        events=np.where(split, 0, event * (1 + twice)).astype(np.int64),
        event_weights=(indels, indels, introns),
        indel_weights=_INDEL_WEIGHTS,
        intron=options.intron,
        first_clip=np.where(first & ~split, 1 + draws.below(longest, count), 0),
        last_clip=np.where(split, cut, np.where(last, 1 + draws.below(longest, count), 0)),
        anchor=8,
    )
    return layout.shape_reads(draws, length, shape)


def _plan(genome: Genome, options: ShortReadOptions, draws: Draws) -> Plan:
    pairs = options.pairs
    origin = _fragments(options, draws)
    copied = np.repeat(origin != np.arange(pairs), 2)
    split = draws.chance(options.supplementary_fraction, 2 * pairs)
    codes, sizes = _shapes(options, draws, split)
    # Row 2i is the left read of pair i and row 2i + 1 the right one.
    twin = np.stack([2 * origin, 2 * origin + 1], axis=1).reshape(-1)
    codes, sizes = codes.take(twin), sizes.take(twin)
    covers = np.isin(codes.values, (layout.MATCH, layout.DELETION, layout.SKIP))
    span = layout.sum_items(np.where(covers, sizes.values, 0), codes.lengths)
    left_span, right_span = span[0::2], span[1::2]
    fragment = draws.bell(options.fragment_mean, options.fragment_deviation, pairs)[origin]
    right = np.maximum(fragment - right_span, 0)
    outer = np.maximum(left_span, right + right_span)
    contig, begin = layout.place_spans(draws, genome, outer)
    contig, begin = np.repeat(contig[origin], 2), begin[origin]
    position = np.stack([begin, begin + right], axis=1).reshape(-1)
    mapq = layout.mapping_quality(draws, genome, genome.starts[contig] + position, span)
    lost = _lost(options, draws)[twin]
    swapped = np.repeat((draws.below(2, pairs) == 1)[origin], 2)
    reads = _Reads(contig, position, span, mapq, codes, sizes, lost, copied, swapped)
    plan = _pair_up(reads, options)
    return _with_second_records(genome, options, draws, plan, split & ~copied & ~lost)


@dataclass(frozen=True, slots=True, eq=False)
class _Reads:
    """Reads of all pairs, left and right in turn, before they know of each other."""

    contig: NDArray[np.int64]
    position: NDArray[np.int64]
    span: NDArray[np.int64]
    mapq: NDArray[np.int64]
    codes: Pieces
    sizes: Pieces
    lost: NDArray[np.bool_]
    copied: NDArray[np.bool_]
    swapped: NDArray[np.bool_]


def _lost(options: ShortReadOptions, draws: Draws) -> NDArray[np.bool_]:
    """Choose unmapped reads: half of them with their mates, half alone."""
    pairs = options.pairs
    both = draws.chance(options.unmapped_fraction / 2, pairs)
    alone = draws.chance(options.unmapped_fraction, pairs)
    right = draws.below(2, pairs) == 1
    return np.stack([both | (alone & ~right), both | (alone & right)], axis=1).reshape(-1)


def _pair_up(reads: _Reads, options: ShortReadOptions) -> Plan:
    """Fill in what mates tell about each other."""
    lost = reads.lost
    rows = np.arange(len(lost))
    mate = rows ^ 1
    is_right = (rows & 1) == 1
    both_lost = lost & lost[mate]
    # An unmapped read stands where its mate is (SAMv1 §2, recommended practice).
    place = np.where(lost & ~both_lost, reads.position[mate], reads.position)
    place = np.where(both_lost, -1, place)
    contig = np.where(both_lost, -1, reads.contig)
    end = place + reads.span
    outer = np.maximum(end, end[mate]) - np.minimum(place, place[mate])
    template = np.where(lost | lost[mate], 0, np.where(is_right, -outer, outer))
    # An unmapped read is held as a single clip: it has bases but no place.
    sizes = _lost_as_clip(reads.sizes, lost, options.read_length)
    slots = reads.codes.lengths
    codes = np.where(np.repeat(lost, slots), layout.SOFT_CLIP, reads.codes.values)
    kept_codes, kept_sizes = layout.without_empty(codes.astype(np.uint8), sizes.values, slots)
    return Plan(
        key=rows,
        name=rows >> 1,
        flag=_flags(reads, mate, is_right),
        contig=contig,
        position=place,
        mapq=np.where(lost, 0, reads.mapq),
        mate_contig=contig[mate],
        mate_position=place[mate],
        template_length=template,
        codes=kept_codes,
        sizes=kept_sizes,
        source=np.full(len(lost), -1, dtype=np.int64),
        length=np.full(len(lost), options.read_length, dtype=np.int64),
        group=(rows >> 1) % max(1, len(options.read_groups)),
        partner=np.full(len(lost), -1, dtype=np.int64),
    )


def _flags(
    reads: _Reads, mate: NDArray[np.int64], is_right: NDArray[np.bool_]
) -> NDArray[np.int64]:
    lost = reads.lost
    reverse = is_right & ~lost
    flag = np.full(len(lost), layout.PAIRED, dtype=np.int64)
    flag |= np.where(lost | lost[mate], 0, layout.PROPER)
    flag |= np.where(lost, layout.UNMAPPED, 0) | np.where(lost[mate], layout.MATE_UNMAPPED, 0)
    flag |= np.where(reverse, layout.REVERSE, 0)
    flag |= np.where(reverse[mate], layout.MATE_REVERSE, 0)
    flag |= np.where(is_right ^ reads.swapped, layout.LAST, layout.FIRST)
    return np.asarray(flag | np.where(reads.copied & ~lost, layout.DUPLICATE, 0), dtype=np.int64)


def _lost_as_clip(sizes: Pieces, lost: NDArray[np.bool_], length: int) -> Pieces:
    values = np.where(np.repeat(lost, sizes.lengths), 0, sizes.values)
    values[sizes.starts[lost]] = length
    return Pieces.of(values, sizes.lengths)


def _with_second_records(
    genome: Genome, options: ShortReadOptions, draws: Draws, plan: Plan, split: NDArray[np.bool_]
) -> Plan:
    simple = ~split & ((plan.flag & (layout.UNMAPPED | layout.DUPLICATE)) == 0)
    twice = np.flatnonzero(simple & draws.chance(options.secondary_fraction, len(plan)))
    plan = second_records.add_split(draws, genome, plan, np.flatnonzero(split))
    return second_records.add_secondary(draws, genome, plan, twice)
