"""Long reads with base modifications and their alignments."""

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

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from seqmill.simulate.genome import Genome

# Lengths in percent of the mean, at equally spaced quantiles: a long tail.
_LENGTH_QUANTILES = (4, 12, 20, 28, 36, 45, 54, 64, 75, 87, 101, 118, 139, 167, 210, 290, 520)
_BEST_QUALITY, _WORST_QUALITY, _QUALITY_SPREAD = 29, 14, 12


def _quality_weight(quality: int, center: int) -> int:
    """Give the weight of a quality around a center; all of them make 1,024."""
    distance = abs(quality - center)
    return 7 * max(0, _QUALITY_SPREAD - distance) + (16 if distance == 0 else 0)


# Quality, weights (of 1,024) in the best and in the worst read, errors in 65,536 bases.
LONG_QUALITY = QualityModel(
    tuple(
        (
            quality,
            _quality_weight(quality, _BEST_QUALITY),
            _quality_weight(quality, _WORST_QUALITY),
            max(20, 9_000 * (30 - quality) // (10 * quality)),
        )
        for quality in range(3, 41)
    ),
    along_read=False,
)
_INDEL_WEIGHTS = (70, 16, 6, 3, 2, 1, 1, 1)
_LEAST_LENGTH = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class LongReadOptions:
    """How long reads are made.

    Attributes
    ----------
    reads
        Number of reads.
    mean_length, longest
        Length of the reads; no read is longer than `longest`.
    snp_rate
        How the sequenced individual differs from the genome, per base.
    indel_rate
        Insertions and deletions per base.
    clipped_fraction, unmapped_fraction
        Shares of reads with a soft clip, and of unmapped reads.
    secondary_fraction, supplementary_fraction
        Shares of reads with a second record of this kind.
    read_groups
        Names of read groups.
    all_tag_types
        Add tags of every type of the format.
    """

    reads: int = 100
    mean_length: int = 4_000
    longest: int = 30_000
    snp_rate: float = 0.001
    indel_rate: float = 0.015
    clipped_fraction: float = 0.5
    unmapped_fraction: float = 0.03
    secondary_fraction: float = 0.03
    supplementary_fraction: float = 0.03
    read_groups: tuple[str, ...] = ("run1",)
    all_tag_types: bool = False

    def __post_init__(self) -> None:
        """Check the options."""
        if self.reads < 0:
            raise InputError(f"reads {self.reads}: must not be negative")
        if self.longest * self.indel_rate * 3 > 0xFFFF:  # noqa: PLR2004 - SAMv1 §4.2.2
            raise InputError(
                f"longest {self.longest}: a CIGAR would have more operations than a record holds; "
                "use a lower `longest` or `indel_rate`"
            )


def simulate_long_reads(
    genome: Genome, options: LongReadOptions | None = None, *, seed: int = 0
) -> Alignments:
    """Simulate long reads with base modifications (tags MM and ML) and their true alignments.

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
        If no contig is longer than the longest read.

    Examples
    --------
    >>> from seqmill.simulate.genome import simulate_genome
    >>> reads = simulate_long_reads(simulate_genome(seed=7), LongReadOptions(reads=20), seed=7)
    >>> len(reads) >= 20
    True
    """
    options = LongReadOptions() if options is None else options
    draws = Draws(seed, "long reads")
    plan = _plan(genome, options, draws)
    style = ReadStyle(
        quality=LONG_QUALITY,
        snp_rate=options.snp_rate,
        read_groups=options.read_groups,
        all_tag_types=options.all_tag_types,
        platform="ONT",
        modifications=True,
    )
    return Alignments(genome, plan, style, draws.child("content"))


def _lengths(options: LongReadOptions, draws: Draws) -> NDArray[np.int64]:
    scaled = draws.quantiles([share * 256 for share in _LENGTH_QUANTILES], options.reads)
    length = np.maximum(scaled * options.mean_length // 25_600, _LEAST_LENGTH)
    return np.minimum(length, options.longest)


def _plan(genome: Genome, options: LongReadOptions, draws: Draws) -> Plan:
    count = options.reads
    # A deletion makes an alignment longer than its read.
    room = int(genome.lengths.max()) * 4 // 5
    length = np.minimum(_lengths(options, draws), room)
    rows = np.arange(count)
    lost = draws.chance(options.unmapped_fraction, count)
    split = draws.chance(options.supplementary_fraction, count) & ~lost
    clipped = draws.chance(options.clipped_fraction, count)
    first = 1 + draws.below(np.minimum(length // 8, 120), count)
    last = 1 + draws.below(np.minimum(length // 8, 60), count)
    tail = length // 4 + draws.below(length // 4, count)
    mean = (length * round(options.indel_rate * 100_000)) // 100_000
    events = np.maximum(draws.bell(0, 1000, count) * mean // 8000 + mean, 0)
    shape = ShapeOptions(
        events=np.where(lost, 0, events),
        event_weights=(45, 55, 0),
        indel_weights=_INDEL_WEIGHTS,
        intron=(1, 1),
        first_clip=np.where(lost, length, np.where(clipped & ~split, first, 0)),
        last_clip=np.where(lost, 0, np.where(split, tail, np.where(clipped, last, 0))),
        anchor=2,
    )
    codes, sizes = layout.shape_reads(draws, length, shape)
    covers = np.isin(codes.values, (layout.MATCH, layout.DELETION))
    span = layout.sum_items(np.where(covers, sizes.values, 0), codes.lengths)
    contig, position = layout.place_spans(draws, genome, span)
    mapq = layout.mapping_quality(draws, genome, genome.starts[contig] + position, span)
    reverse = draws.below(2, count) == 1
    nowhere = np.full(count, -1, dtype=np.int64)
    plan = Plan(
        key=rows,
        name=rows,
        flag=np.where(lost, layout.UNMAPPED, np.where(reverse, layout.REVERSE, 0)),
        contig=np.where(lost, -1, contig),
        position=np.where(lost, -1, position),
        mapq=np.where(lost, 0, mapq),
        mate_contig=nowhere,
        mate_position=nowhere,
        template_length=np.zeros(count, dtype=np.int64),
        codes=codes,
        sizes=sizes,
        source=nowhere,
        length=length,
        group=rows % max(1, len(options.read_groups)),
        partner=nowhere,
    )
    twice = np.flatnonzero(~split & ~lost & draws.chance(options.secondary_fraction, count))
    plan = second_records.add_split(draws, genome, plan, np.flatnonzero(split))
    return second_records.add_secondary(draws, genome, plan, twice)
