"""Collections of similar genomes, each derived from one ancestor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from seqmill.simulate.draws import Draws
from seqmill.simulate.genome import Contig, Genome, random_bases, reverse_complement, substitute

if TYPE_CHECKING:
    from numpy.typing import NDArray

_INDEL_WEIGHTS = (60, 18, 9, 5, 3, 2, 1, 1, 1)
_PLACING_ATTEMPTS = 100
_STRUCTURAL = ("inversion", "gain", "loss")


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionOptions:
    """How the members of a collection differ from their ancestor.

    Attributes
    ----------
    genomes
        Number of members.
    snp_rate, indel_rate
        Events per base.
    inversions, gains, losses
        Events per member.
    event_length
        Longest of these; the shortest is a tenth of it.
    """

    genomes: int = 4
    snp_rate: float = 0.005
    indel_rate: float = 0.0005
    inversions: int = 1
    gains: int = 1
    losses: int = 1
    event_length: int = 2_000


@dataclass(frozen=True, slots=True)
class Variant:
    """One difference from the ancestor; `position` is 0-based on the ancestor's contig."""

    kind: str
    contig: str
    position: int
    length: int


def _events(
    options: CollectionOptions, contig: Contig, share: dict[str, int], draws: Draws
) -> list[tuple[int, str, int]]:
    """Draw events that do not overlap, the large ones first; a small one in their way is lost."""
    small = int(len(contig) * options.indel_rate)
    sizes = (draws.pick(_INDEL_WEIGHTS, small) + 1).tolist()
    names = [("insertion", "deletion")[kind] for kind in draws.below(2, small).tolist()]
    wanted = []
    for kind, count in share.items():
        largest = min(options.event_length, len(contig) // 4)
        lengths = [draws.one(largest // 10, largest + 1) for _ in range(count)]
        wanted += [(kind, length, _PLACING_ATTEMPTS) for length in lengths]
    wanted += [(kind, size, 1) for kind, size in zip(names, sizes, strict=True)]
    taken = np.zeros(len(contig) + 1, dtype=np.bool_)
    found = []
    for kind, size, attempts in wanted:
        span = 0 if kind in {"insertion", "gain"} else size
        for _ in range(attempts):
            position = draws.one(0, max(1, len(contig) - span))
            if not taken[position : position + span + 1].any():
                taken[position : position + span + 1] = True
                found.append((position, kind, size))
                break
    return sorted(found)


def _derive_contig(
    contig: Contig, share: dict[str, int], options: CollectionOptions, draws: Draws
) -> tuple[Contig, list[Variant]]:
    wanted = draws.chance(options.snp_rate, len(contig))
    sequence = substitute(draws, contig.sequence, wanted)
    places = np.flatnonzero(sequence != contig.sequence).tolist()
    variants = [Variant("snp", contig.name, place, 1) for place in places]
    parts: list[NDArray[np.uint8]] = []
    done = 0
    for position, kind, size in _events(options, contig, share, draws):
        parts.append(sequence[done:position])
        done = position
        if kind in {"insertion", "gain"}:
            parts.append(random_bases(draws, size))
        else:
            done += size
            if kind == "inversion":
                parts.append(reverse_complement(sequence[position:done]))
        variants.append(Variant(kind, contig.name, position, size))
    parts.append(sequence[done:])
    return Contig(contig.name, np.concatenate(parts)), variants


def simulate_collection(
    ancestor: Genome, options: CollectionOptions | None = None, *, seed: int = 0
) -> list[Genome]:
    """Derive similar genomes from one.

    Parameters
    ----------
    ancestor
        The genome that all are derived from.
    options
        How they differ from it.
    seed
        The same seed and options give the same collection.

    Returns
    -------
    list[Genome]
        Each with its `variants`, the truth about how it differs (0-based).

    Examples
    --------
    >>> from seqmill.simulate.genome import simulate_genome
    >>> members = simulate_collection(simulate_genome(seed=7), seed=7)
    >>> len(members), sum(v.kind == "inversion" for v in members[0].variants)
    (4, 1)
    """
    options = CollectionOptions() if options is None else options
    members = []
    counts = (options.inversions, options.gains, options.losses)
    for number in range(options.genomes):
        draws = Draws(seed, f"collection {number}")
        homes = {
            kind: draws.pick(ancestor.lengths.tolist(), count).tolist()
            for kind, count in zip(_STRUCTURAL, counts, strict=True)
        }
        contigs, variants = [], []
        for index, contig in enumerate(ancestor.contigs):
            share = {kind: places.count(index) for kind, places in homes.items()}
            own = draws.child(contig.name)
            derived, found = _derive_contig(contig, share, options, own)
            contigs.append(derived)
            variants += found
        members.append(Genome(tuple(contigs), variants=tuple(variants)))
    return members
