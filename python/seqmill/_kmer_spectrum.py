"""What a k-mer spectrum tells: errors, coverage peak, genome size, heterozygosity."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["Spectrum", "read_spectrum"]

_LEAST_PEAK: Final = 3
_PEAK_SHARE: Final = 0.05
_HALF_TOLERANCE: Final = 0.15
# Errors of reads are a part of what was read. Where what is seen before the valley is most of it,
# it is the genome itself: an assembly, or coverage too low to rise above errors.
_MOST_BEFORE_VALLEY: Final = 0.5
# A peak stands above the valley by more than chance, and by this factor.
_LEAST_RISE: Final = 1.5
_CHANCE: Final = 4.0


@dataclass(frozen=True, slots=True)
class Spectrum:
    """The usual reading of a spectrum.

    Attributes
    ----------
    valley
        Count at which errors end and the genome begins; 1 where there is no error peak.
    peaks
        Counts at which the spectrum is highest, ascending.
    coverage
        Count of k-mers that occur once in each copy of the genome; None without a peak.
    genome_size
        Occurrences behind the valley by coverage; None without a peak.
    heterozygosity
        Share of bases that differ between two copies, from the peak at half the coverage; None
        where there is none.
    """

    valley: int
    peaks: tuple[int, ...]
    coverage: int | None
    genome_size: int | None
    heterozygosity: float | None


def read_spectrum(histogram: Sequence[tuple[int, int]], k: int) -> Spectrum:
    """Find valley and peaks, and what follows from them.

    Parameters
    ----------
    histogram
        Pairs of a count and the number of distinct k-mers, ascending.
    k
        Length of the k-mers.

    Notes
    -----
    An assembled genome has no peak: nearly all of its k-mers are seen once, and the few that are
    seen more often are repeats. The same is true of reads that cover a genome about once.

    Examples
    --------
    >>> spectrum = read_spectrum([(1, 900), (2, 50), (3, 10), (9, 40), (10, 100), (11, 40)], 21)
    >>> spectrum.valley, spectrum.coverage, spectrum.genome_size
    (4, 10, 180)
    """
    most = max((count for count, _ in histogram[:10_000]), default=0)
    most = min(most, 10_000)
    numbers = [0] * (most + 2)
    for count, number in histogram:
        if count <= most:
            numbers[count] = number
    valley = 1
    while valley < most and numbers[valley + 1] < numbers[valley]:
        valley += 1
    highest = max(numbers[valley:], default=0)
    peaks = [
        count
        for count in range(max(valley + 1, _LEAST_PEAK), most + 1)
        if numbers[count] > _PEAK_SHARE * highest
        and numbers[count] == max(numbers[max(count - count // 4 - 1, 1) : count + count // 4 + 2])
    ]
    if not peaks:
        return Spectrum(valley, (), None, None, None)
    tallest = max(peaks, key=lambda count: numbers[count])
    lowest = min(numbers[valley : tallest + 1])
    rises = numbers[tallest] > max(_LEAST_RISE * lowest, lowest + _CHANCE * lowest**0.5)
    occurrences = sum(count * number for count, number in histogram if count >= valley)
    total = sum(count * number for count, number in histogram)
    if not rises or occurrences < (1 - _MOST_BEFORE_VALLEY) * total:
        return Spectrum(valley, (), None, None, None)
    double = [count for count in peaks if abs(count - 2 * tallest) <= _HALF_TOLERANCE * 2 * tallest]
    coverage = double[0] if double else tallest
    half = [c for c in peaks if abs(2 * c - coverage) <= _HALF_TOLERANCE * coverage]
    heterozygosity = None
    if half:
        border = (half[0] + coverage) / 2
        single = sum(numbers[c] for c in range(valley, most + 1) if c < border)
        both = sum(numbers[c] for c in range(valley, most + 1) if border <= c < 1.5 * coverage)
        # A difference makes 2 k k-mers that one copy alone has.
        heterozygosity = single / 2 / (k * (both + single / 2)) if both + single else None
    return Spectrum(valley, tuple(peaks), coverage, round(occurrences / coverage), heterozygosity)
