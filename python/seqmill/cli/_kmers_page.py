"""Pictures of `seqmill kmers`: the spectrum and what it tells."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from seqmill._kmer_spectrum import read_spectrum
from seqmill._outputs import refuse_existing
from seqmill._units import format_count
from seqmill.cli._html import Figure, Section, Table, write_page
from seqmill.cli._pictures import draw_bars, draw_line

if TYPE_CHECKING:
    from pathlib import Path

    from seqmill._kmer_jobs import KmerJob

__all__ = ["spectrum_section", "tour_section", "write_spectrum"]

_MOST_COUNTS: Final = 300
_READING: Final = (
    "Genome size is the occurrences behind the valley divided by the coverage of the main peak; it "
    "means something for reads of one genome only."
)
_NO_PEAK: Final = (
    "There is no peak, so nothing is said of coverage and genome size: most of what was read is "
    "seen once, as in an assembled genome, or in reads that cover their genome about once."
)


def write_spectrum(path: "Path", job: "KmerJob", *, k: int, force: bool) -> None:
    """Write the page of a count."""
    refuse_existing(path, force=force)
    document: Mapping[str, Any] = job.metrics.to_dict()
    write_page(path, title="K-mers", document=document, sections=[spectrum_section(job, k)])


def spectrum_section(job: "KmerJob", k: int) -> Section:
    """Draw the spectrum of a job, and say what it tells."""
    spectrum = read_spectrum(job.histogram, k)
    rows = [
        ("k", str(k)),
        ("k-mers", format_count(job.total)),
        ("distinct", format_count(job.distinct)),
        ("seen once", format_count(dict(job.histogram).get(1, 0))),
        ("valley", str(spectrum.valley)),
        ("peaks", ", ".join(map(str, spectrum.peaks[:8])) or "no peak"),
    ]
    if spectrum.coverage is not None and spectrum.genome_size is not None:
        rows += [
            ("k-mer coverage", str(spectrum.coverage)),
            ("genome size", format_count(spectrum.genome_size)),
        ]
    if spectrum.heterozygosity is not None:
        rows.append(("heterozygosity", f"{spectrum.heterozygosity:.3%}"))
    table = Table(("what", "how much"), rows, right=("how much",))
    return Section(
        title="Spectrum",
        text=_READING if spectrum.peaks else _NO_PEAK,
        table=table,
        figures=_picture(job.histogram, spectrum.coverage),
    )


def _picture(histogram: Sequence[tuple[int, int]], coverage: int | None) -> list[Figure]:
    most = min(max(4 * (coverage or 10), 50), _MOST_COUNTS)
    shown = [(count, number) for count, number in histogram if count <= most]
    if not shown:
        return []
    # Errors would press everything else to the ground.
    behind = [number for count, number in shown if count > 1]
    top = 1.2 * max(behind) if behind and coverage is not None else None
    values = [number if top is None else min(number, top) for _, number in shown]
    svg = draw_line(
        [count for count, _ in shown],
        values,
        label="Distinct k-mers by count",
        x_label="count",
        y_label="distinct k-mers",
    )
    rows = [(str(count), format_count(number)) for count, number in shown[:20]]
    table = Table(("count", "distinct k-mers"), rows, right=("count", "distinct k-mers"))
    note = "The first counts are cut off where errors are many." if top is not None else ""
    return [Figure(caption="Distinct k-mers by count", note=note, svg=svg, wide=True, table=table)]


def tour_section(found: Mapping[str, Any]) -> Section:
    """Draw how often the k-mers of several files occur.

    Parameters
    ----------
    found
        `k`, number of `files`, `total`, `distinct`, and the first pairs of the `histogram`.
    """
    pairs = found["histogram"]
    texts = [format_count(number) for _, number in pairs]
    svg = draw_bars(
        [str(count) for count, _ in pairs],
        [("distinct k-mers", [number for _, number in pairs], texts)],
        label="Distinct k-mers by count",
        wide=True,
    )
    figure = Figure(
        caption=f"Distinct {found['k']}-mers by how often they occur",
        note=f"{found['files']} genomes were counted as one: what all of them share occurs "
        f"{found['files']} times, what only one of them has occurs once.",
        svg=svg,
        wide=True,
    )
    return Section(
        title="K-mers",
        text=f"{format_count(found['total'])} {found['k']}-mers, {format_count(found['distinct'])} "
        "of them distinct",
        figures=[figure],
    )
