"""Genomes with repeat families, gaps and masked stretches, and the truth about them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from seqmill.errors import InputError
from seqmill.simulate.draws import Draws
from seqmill.simulate.files import replaced

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from seqmill.simulate.collection import Variant
    from seqmill.simulate.files import PathLike

BASES = np.frombuffer(b"ACGT", dtype=np.uint8)
_LOWER_BIT = 0x20
_COMPLEMENT = np.arange(256, dtype=np.uint8)
for _pair in (b"AT", b"CG", b"at", b"cg"):
    _COMPLEMENT[_pair[0]], _COMPLEMENT[_pair[1]] = _pair[1], _pair[0]
_CODES = np.full(256, 4, dtype=np.uint8)
for _code, _letters in enumerate((b"Aa", b"Cc", b"Gg", b"Tt")):
    _CODES[list(_letters)] = _code
_MILLION = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatFamily:
    """A family of repeats: one consensus, many diverged copies on both strands.

    Attributes
    ----------
    name
        Name in the truth table.
    length
        Length of the consensus.
    copies
        Number of copies in the genome.
    divergence
        Highest share of substituted bases of a copy; each copy draws its own.
    """

    name: str
    length: int
    copies: int
    divergence: float = 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class GenomeOptions:
    """What a simulated genome looks like.

    Attributes
    ----------
    contigs
        Names and lengths; the lengths are exact.
    gc
        Share of G and C.
    families
        Repeat families.
    gaps, gap_length
        Number and length of runs of N.
    masked, masked_length
        Number and length of lower-case stretches (copies of repeats are lower case as well).
    """

    contigs: tuple[tuple[str, int], ...] = (("chr1", 60_000), ("chr2", 40_000), ("chrM", 4_000))
    gc: float = 0.41
    families: tuple[RepeatFamily, ...] = (
        RepeatFamily(name="alpha", length=300, copies=24),
        RepeatFamily(name="beta", length=900, copies=8, divergence=0.05),
    )
    gaps: int = 2
    gap_length: int = 500
    masked: int = 4
    masked_length: int = 300

    def __post_init__(self) -> None:
        """Check the options."""
        if not self.contigs or min(length for _, length in self.contigs) < 1:
            raise InputError("contigs: give at least one, each of length 1 or more")
        if len({name for name, _ in self.contigs}) < len(self.contigs):
            raise InputError("contigs: each name may stand only once")
        if not 0 <= self.gc <= 1:
            raise InputError(f"gc {self.gc}: must be from 0 to 1")


@dataclass(frozen=True, slots=True, eq=False)
class Contig:
    """A sequence with a name (ASCII letters, lower case where masked)."""

    name: str
    sequence: NDArray[np.uint8]

    def __len__(self) -> int:
        """Give the length in bases."""
        return len(self.sequence)


@dataclass(frozen=True, slots=True)
class RepeatCopy:
    """Where a copy of a repeat stands (0-based, half-open) and how far it has diverged."""

    family: str
    contig: str
    begin: int
    end: int
    strand: str
    divergence: float


@dataclass(frozen=True, eq=False)
class Genome:
    """A simulated genome and the truth about it.

    Attributes
    ----------
    contigs
        The sequences.
    repeats
        Copies of repeat families, in order of place.
    variants
        How it differs from the genome it was derived from.
    """

    contigs: tuple[Contig, ...]
    repeats: tuple[RepeatCopy, ...] = ()
    variants: tuple[Variant, ...] = ()

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Lengths of the contigs."""
        return np.array([len(contig) for contig in self.contigs], dtype=np.int64)

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """Where each contig begins when all stand end to end."""
        return np.cumsum(self.lengths) - self.lengths

    @cached_property
    def letters(self) -> NDArray[np.uint8]:
        """All contigs end to end."""
        return np.concatenate([contig.sequence for contig in self.contigs])

    @cached_property
    def codes(self) -> NDArray[np.uint8]:
        """All contigs end to end: 0 to 3 for A, C, G, T, and 4 for anything else."""
        return _CODES[self.letters]

    def write_repeats(self, path: PathLike) -> None:
        """Write the truth about the repeats as a table (0-based, half-open)."""
        lines = ["family\tcontig\tbegin\tend\tstrand\tdivergence\n"]
        lines += [
            f"{copy.family}\t{copy.contig}\t{copy.begin}\t{copy.end}\t{copy.strand}"
            f"\t{copy.divergence:.4f}\n"
            for copy in self.repeats
        ]
        with replaced(path) as file:
            file.write("".join(lines).encode())


def reverse_complement(sequence: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Give the other strand of ASCII letters."""
    return _COMPLEMENT[sequence[::-1]]


def random_bases(draws: Draws, count: int, gc: float = 0.5) -> NDArray[np.uint8]:
    """Draw upper-case bases."""
    strong = round(gc * _MILLION)
    weak = _MILLION - strong
    return BASES[draws.pick((weak, strong, strong, weak), count)]


def substitute(
    draws: Draws, sequence: NDArray[np.uint8], wanted: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """Change the wanted bases to another one, keeping their case and leaving N alone."""
    out = sequence.copy()
    at = np.flatnonzero(wanted & (_CODES[sequence] < len(BASES)))
    old = sequence[at]
    shifted = (_CODES[old] + 1 + draws.below(3, len(at))) % len(BASES)
    out[at] = BASES[shifted] | (old & _LOWER_BIT)
    return out


def _diverge(
    draws: Draws, consensus: NDArray[np.uint8], divergence: float
) -> tuple[NDArray[np.uint8], float]:
    """Substitute at `divergence`, insert and delete single bases at a tenth of it."""
    hit = draws.chance(divergence, len(consensus))
    changed = substitute(draws, consensus, hit)
    times = np.ones(len(changed), dtype=np.int64)
    times[draws.chance(divergence / 20, len(changed))] = 0
    doubled = draws.chance(divergence / 20, len(changed)) & (times > 0)
    times[doubled] = 2
    out = np.repeat(changed, times)
    inserted = np.cumsum(times)[doubled] - 1
    out[inserted] = random_bases(draws, len(inserted))
    return out, float(hit.mean())


@dataclass(frozen=True, slots=True, eq=False)
class _Feature:
    sequence: NDArray[np.uint8]
    family: str | None = None
    strand: str = "+"
    divergence: float = 0.0


def _features(options: GenomeOptions, draws: Draws) -> list[_Feature]:
    features = []
    for family in options.families:
        own = draws.child(f"family {family.name}")
        consensus = random_bases(own, family.length, options.gc)
        for _ in range(family.copies):
            limit = family.divergence * own.one(0, 1001) / 1000
            copy, divergence = _diverge(own, consensus, limit)
            forward = own.one(0, 2) == 0
            copy = copy if forward else reverse_complement(copy)
            strand = "+" if forward else "-"
            features.append(_Feature(copy | np.uint8(_LOWER_BIT), family.name, strand, divergence))
    gap = np.full(options.gap_length, ord("N"), dtype=np.uint8)
    features += [_Feature(gap)] * options.gaps
    return features


def _build_contig(
    name: str, length: int, features: list[_Feature], options: GenomeOptions, draws: Draws
) -> tuple[Contig, list[RepeatCopy]]:
    """Set features into random sequence, so that they never overlap and the length is exact."""
    background = length - sum(len(feature.sequence) for feature in features)
    if background < 0:
        raise InputError(
            f"contig {name}: {length} bases are too few for the repeats and gaps that fall on it; "
            f"use at least {length - background}"
        )
    bases = random_bases(draws, background, options.gc)
    cuts = np.sort(draws.below(background + 1, len(features)))
    parts, copies, at, done = [], [], 0, 0
    for cut, feature in zip(cuts.tolist(), features, strict=True):
        parts += [bases[done:cut], feature.sequence]
        at += cut - done
        end = at + len(feature.sequence)
        if feature.family is not None:
            place = (name, at, end, feature.strand, feature.divergence)
            copies.append(RepeatCopy(feature.family, *place))
        at, done = end, cut
    parts.append(bases[done:])
    return Contig(name, np.concatenate(parts)), copies


def simulate_genome(options: GenomeOptions | None = None, *, seed: int = 0) -> Genome:
    """Simulate a genome.

    Parameters
    ----------
    options
        What it looks like.
    seed
        The same seed and options give the same genome.

    Returns
    -------
    Genome
        Sequences and the table of repeat copies (0-based, half-open).

    Raises
    ------
    InputError
        If the repeats and gaps do not fit into the contigs.

    Examples
    --------
    >>> genome = simulate_genome(GenomeOptions(contigs=(("one", 30_000),)), seed=7)
    >>> genome.contigs[0].sequence[:12].tobytes()
    b'GACACGGTAATA'
    >>> len(genome.repeats)
    32
    """
    options = GenomeOptions() if options is None else options
    draws = Draws(seed, "genome")
    features = _features(options, draws)
    lengths = [length for _, length in options.contigs]
    home = draws.pick(lengths, len(features))
    order = np.argsort(draws.bits(len(features)), kind="stable")
    contigs, repeats = [], []
    for number, (name, length) in enumerate(options.contigs):
        mine = [features[i] for i in order.tolist() if home[i] == number]
        contig, copies = _build_contig(name, length, mine, options, draws.child(f"contig {name}"))
        contigs.append(contig)
        repeats += copies
    for number in draws.pick(lengths, options.masked).tolist():
        sequence = contigs[number].sequence
        begin = draws.one(0, max(1, len(sequence) - options.masked_length))
        stretch = sequence[begin : begin + options.masked_length]
        stretch[_CODES[stretch] < len(BASES)] |= np.uint8(_LOWER_BIT)
    return Genome(tuple(contigs), tuple(repeats))
