"""The stop of the tour at `pack` and `unpack`."""

import hashlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from seqmill._archive_pack import pack, plan_inputs, sample_name
from seqmill._text_lines import open_bytes
from seqmill._units import format_count, format_size
from seqmill.archive import Archive
from seqmill.errors import InternalError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seqmill._tour import StepResult, Tour

__all__ = ["show_archives"]


def show_archives(tour: "Tour") -> "Iterator[StepResult]":
    """Pack the genomes, take one out again, and check the archive."""
    genomes = tour.genomes
    if not genomes:
        return
    archive = tour.folder / "genomes.agc"
    yield tour.measure("pack the genomes", partial(_pack, tour, genomes, archive))
    if archive.exists():
        work = partial(_unpack, tour, archive, genomes[-1])
        yield tour.measure("unpack one of them", work, source=archive)
        yield tour.measure("verify the archive", partial(_verify, tour, archive), source=archive)


def _pack(tour: "Tour", genomes: list[Path], archive: Path) -> str:
    inputs = plan_inputs([str(path) for path in genomes], "file")
    done = pack(archive, inputs, force=True, **tour.options("threads", "memory", "tmpdir"))
    files = sum(path.stat().st_size for path in genomes)
    text = (
        f"{done.samples} genomes of {format_count(done.bases)} bases in {format_size(done.bytes)}, "
        f"{files / done.bytes:.1f} times smaller than the files"
    )
    tour.archive = {"text": text, "overview": done.overview}
    return text


def _unpack(tour: "Tour", archive: Path, genome: Path) -> str:
    """Write a genome and compare it with the file that went in."""
    name = sample_name(genome)
    output = tour.folder / f"{name}.fa"
    options = tour.options("threads", "memory")
    with Archive(archive) as opened:
        done = opened.unpack(output, samples=[name], force=True, **options)
    if _contigs(output) != _contigs(genome):
        raise InternalError(f"{name} is not what was packed")
    return f"{name}: {format_count(done.records)} contigs, equal to what was packed"


def _contigs(path: Path) -> dict[bytes, str]:
    """Give hashes of the sequences of a file by name; letters count in upper case."""
    found: dict[bytes, hashlib._Hash] = {}
    with open_bytes(path) as text:
        for line in text:
            if line.startswith(b">"):
                sequence = found[line[1:].strip()] = hashlib.sha256()
            else:
                sequence.update(line.strip().upper())
    return {name: sequence.hexdigest() for name, sequence in found.items()}


def _verify(tour: "Tour", archive: Path) -> str:
    with Archive(archive) as opened:
        found = opened.verify(**tour.options("threads", "memory"))
    if not found.ok:
        raise InternalError(str(found.faults[0]))
    return f"{format_count(found.bases)} bases sound, {found.checksums} checksums compared"
