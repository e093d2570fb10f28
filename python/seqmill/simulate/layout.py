"""Where simulated reads lie: the plan of all alignment records, before any base is made."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from seqmill.errors import InputError
from seqmill.simulate.pieces import Pieces, begin_of, places

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from seqmill.simulate.draws import Draws
    from seqmill.simulate.genome import Genome

# Operation codes of a CIGAR (SAMv1 §4.2).
MATCH, INSERTION, DELETION, SKIP, SOFT_CLIP, HARD_CLIP = range(6)
OPERATIONS = "MIDNSHP=X"

# Bits of the FLAG field (SAMv1 §1.4).
PAIRED, PROPER, UNMAPPED, MATE_UNMAPPED = 0x1, 0x2, 0x4, 0x8
REVERSE, MATE_REVERSE, FIRST, LAST = 0x10, 0x20, 0x40, 0x80
SECONDARY, DUPLICATE, SUPPLEMENTARY = 0x100, 0x400, 0x800

_PLACING_ATTEMPTS = 24
_UNIQUE_MAPQ = 60


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """One row per alignment record.

    Attributes
    ----------
    key
        Identity of the read: its bases, errors and qualities are a function of it.
    name
        Number of the read's name (both mates have the same).
    flag, contig, position, mapq, mate_contig, mate_position, template_length
        As in the record; contigs by number, positions 0-based, -1 where there is none.
    codes, sizes
        CIGAR operations. An unmapped read is held as one soft clip.
    source
        Place in the genome where the bases of the last clip come from, or -1.
    length
        Bases of the whole read.
    group
        Number of the read group.
    partner
        Row of the other part of a split read, or -1.
    """

    key: NDArray[np.int64]
    name: NDArray[np.int64]
    flag: NDArray[np.int64]
    contig: NDArray[np.int64]
    position: NDArray[np.int64]
    mapq: NDArray[np.int64]
    mate_contig: NDArray[np.int64]
    mate_position: NDArray[np.int64]
    template_length: NDArray[np.int64]
    codes: Pieces
    sizes: Pieces
    source: NDArray[np.int64]
    length: NDArray[np.int64]
    group: NDArray[np.int64]
    partner: NDArray[np.int64]

    def __len__(self) -> int:
        """Give the number of records."""
        return len(self.flag)

    def take(self, rows: NDArray[np.int64]) -> Plan:
        """Choose rows by number."""
        columns: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            columns[field.name] = value.take(rows) if isinstance(value, Pieces) else value[rows]
        return Plan(**columns)

    @staticmethod
    def stack(plans: Sequence[Plan]) -> Plan:
        """Put plans one below the other."""
        out: dict[str, Any] = {}
        for field in fields(Plan):
            values = [getattr(plan, field.name) for plan in plans]
            if isinstance(values[0], Pieces):
                flat = np.concatenate([value.values for value in values])
                out[field.name] = Pieces.of(flat, np.concatenate([v.lengths for v in values]))
            else:
                out[field.name] = np.concatenate(values)
        return Plan(**out)

    def reference_span(self) -> NDArray[np.int64]:
        """Give the reference bases that each record covers."""
        covers = np.isin(self.codes.values, (MATCH, DELETION, SKIP))
        return sum_items(np.where(covers, self.sizes.values, 0), self.codes.lengths)

    def in_coordinate_order(self) -> NDArray[np.int64]:
        """Give the rows as a coordinate-sorted file has them, unplaced reads last."""
        contig = np.where(self.contig < 0, np.iinfo(np.int64).max, self.contig)
        return np.lexsort((self.position, contig))

    def reads(self) -> NDArray[np.int64]:
        """Give one row for each read, in the order of names."""
        primary = np.flatnonzero((self.flag & (SECONDARY | SUPPLEMENTARY)) == 0)
        last = (self.flag[primary] & LAST) != 0
        return primary[np.lexsort((last, self.name[primary]))]


def sum_items(values: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Add up the values of each item."""
    edges = np.concatenate([[0], np.cumsum(values)])
    starts = begin_of(lengths)
    return np.asarray(edges[starts + lengths] - edges[starts], dtype=np.int64)


def sum_before(values: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give for each value the sum of those before it in its item."""
    before = np.cumsum(values) - values
    kept = lengths > 0
    return before - np.repeat(before[begin_of(lengths)[kept]], lengths[kept])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ShapeOptions:
    """What the CIGARs look like.

    Attributes
    ----------
    events
        Insertions, deletions and introns of each read.
    event_weights
        How often an event is an insertion, a deletion, an intron.
    indel_weights
        How often an insertion or deletion has 1, 2, 3... bases.
    intron
        Shortest and longest intron.
    first_clip, last_clip
        Soft-clipped bases at the ends of each read.
    anchor
        Fewest matching bases between two events.
    """

    events: NDArray[np.int64]
    event_weights: tuple[int, int, int]
    indel_weights: tuple[int, ...]
    intron: tuple[int, int]
    first_clip: NDArray[np.int64]
    last_clip: NDArray[np.int64]
    anchor: int


def shape_reads(
    draws: Draws, length: NDArray[np.int64], options: ShapeOptions
) -> tuple[Pieces, Pieces]:
    """Draw CIGAR operations for reads of these lengths: codes and sizes."""
    events = options.events
    total = int(events.sum())
    kind = draws.pick(options.event_weights, total)
    size = draws.pick(options.indel_weights, total) + 1
    low, high = options.intron
    size = np.where(kind == SKIP - INSERTION, low + draws.below(high - low + 1, total), size)
    inserted = sum_items(np.where(kind == 0, size, 0), events)
    aligned = length - options.first_clip - options.last_clip - inserted
    # Where the events leave too few bases to anchor them, the read goes without.
    fits = aligned >= (events + 1) * options.anchor
    kept = np.repeat(fits, events)
    kind, size = kind[kept], size[kept]
    events = np.where(fits, events, 0)
    aligned = np.where(fits, aligned, length - options.first_clip - options.last_clip)
    runs = _match_runs(draws, aligned, events, options.anchor)
    slots = 2 * events + 3
    begin = begin_of(slots)
    codes = np.full(int(slots.sum()), MATCH, dtype=np.uint8)
    sizes = np.empty(len(codes), dtype=np.int64)
    codes[begin], sizes[begin] = SOFT_CLIP, options.first_clip
    codes[begin + slots - 1], sizes[begin + slots - 1] = SOFT_CLIP, options.last_clip
    run_number = places(np.zeros_like(events), events + 1)
    sizes[np.repeat(begin + 1, events + 1) + 2 * run_number] = runs
    at = np.repeat(begin + 2, events) + 2 * places(np.zeros_like(events), events)
    codes[at], sizes[at] = INSERTION + kind, size
    return without_empty(codes, sizes, slots)


def _match_runs(
    draws: Draws, aligned: NDArray[np.int64], events: NDArray[np.int64], anchor: int
) -> NDArray[np.int64]:
    """Cut the aligned bases of each read at random into runs of at least `anchor`."""
    free = np.maximum(aligned - (events + 1) * anchor, 0)
    read = np.repeat(np.arange(len(events)), events)
    cuts = draws.below(free[read] + 1, len(read))
    cuts = cuts[np.lexsort((cuts, read))]
    runs = events + 1
    begin = begin_of(runs)
    ends = np.empty(int(runs.sum()), dtype=np.int64)
    ends[begin + events] = free
    ends[places(begin, events)] = cuts
    before = np.concatenate([[0], ends[:-1]])
    before[begin] = 0
    out = ends - before + anchor
    only = begin[events == 0]
    out[only] = aligned[events == 0]
    return np.asarray(out, dtype=np.int64)


def without_empty(
    codes: NDArray[np.uint8], sizes: NDArray[np.int64], slots: NDArray[np.int64]
) -> tuple[Pieces, Pieces]:
    """Drop operations of size 0."""
    kept = sizes > 0
    lengths = sum_items(kept.astype(np.int64), slots)
    return Pieces.of(codes[kept], lengths), Pieces.of(sizes[kept], lengths)


def place_spans(
    draws: Draws, genome: Genome, spans: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw a contig and a 0-based position for each span, inside a contig and off its gaps."""
    largest = int(genome.lengths.max())
    if len(spans) and int(spans.max()) > largest:
        raise InputError(
            f"reads span up to {int(spans.max())} bases: the longest contig has {largest}; "
            "use a longer contig or shorter reads"
        )
    ends = genome.starts + genome.lengths
    total = int(ends[-1])
    unknown = np.concatenate([[0], np.cumsum(genome.codes > len("ACG"))])
    place = np.full(len(spans), int(genome.starts[int(genome.lengths.argmax())]), dtype=np.int64)
    todo = np.arange(len(spans))
    for _ in range(_PLACING_ATTEMPTS):
        begin = draws.below(total, len(todo))
        end = begin + spans[todo]
        inside = end <= ends[np.searchsorted(ends, begin, side="right")]
        stop = np.minimum(end, total)
        good = inside & (unknown[stop] == unknown[begin])
        place[todo[good]] = begin[good]
        todo = todo[~good]
    contig = np.searchsorted(ends, place, side="right").astype(np.int64)
    return contig, place - genome.starts[contig]


def mapping_quality(
    draws: Draws, genome: Genome, place: NDArray[np.int64], span: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Give 60, and less for what lies in masked sequence (repeats)."""
    masked = np.concatenate([[0], np.cumsum(genome.letters > ord("Z"))])
    stop = np.minimum(place + span, len(masked) - 1)
    inside = masked[stop] - masked[place]
    repeated = inside * 4 > span * 3
    weak = draws.chance(0.02, len(place))
    low = draws.below(_UNIQUE_MAPQ, len(place))
    lower = np.minimum(low, draws.below(_UNIQUE_MAPQ, len(place)))
    return np.where(repeated, lower, np.where(weak, low, _UNIQUE_MAPQ))
