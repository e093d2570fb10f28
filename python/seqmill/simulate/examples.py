"""Small files for help texts, documentation and tests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from seqmill.simulate.collection import CollectionOptions, simulate_collection
from seqmill.simulate.draws import Draws
from seqmill.simulate.fasta import write_fasta
from seqmill.simulate.files import replaced
from seqmill.simulate.genome import (
    Genome,
    GenomeOptions,
    RepeatFamily,
    random_bases,
    simulate_genome,
)
from seqmill.simulate.long_reads import LongReadOptions, simulate_long_reads
from seqmill.simulate.short_reads import ShortReadOptions, simulate_short_reads

if TYPE_CHECKING:
    from seqmill.simulate.files import PathLike

_SEED = 20_261
_SHORT_BASES = 30_000
_BARCODES = 24
_BARCODE_LENGTH = 16
_LISTED_BARCODES = 8

GENOME = GenomeOptions(
    contigs=(("chr1", 60_000), ("chr2", 30_000), ("HLA-A*01:01", 3_000), ("chrM", 2_000)),
    families=(
        RepeatFamily(name="alpha", length=280, copies=20),
        RepeatFamily(name="beta", length=800, copies=6, divergence=0.04),
    ),
)


def example_barcodes() -> tuple[str, ...]:
    """Give the cell barcodes of the example reads, in sorted order."""
    bases = random_bases(Draws(_SEED, "barcodes"), _BARCODES * _BARCODE_LENGTH)
    text = bases.tobytes().decode()
    starts = range(0, len(text), _BARCODE_LENGTH)
    return tuple(sorted(f"{text[at : at + _BARCODE_LENGTH]}-1" for at in starts))


def write_example_data(folder: PathLike) -> Path:
    """Write small example files, a little more than 1 MB together.

    ``genome.fa`` and ``genome.fa.gz`` with indices, ``reads.fq`` and ``reads.fq.gz`` (paired,
    interleaved), ``small.bam`` (short reads with cell barcodes) with index, ``small.sam`` (the
    same records), ``long.bam`` (long reads with base modifications) with index, ``regions.bed``,
    ``barcodes.txt`` (some of the barcodes of ``small.bam``), similar genomes ``sample1.fa``,
    ``sample2.fa`` and ``sample3.fa.gz``, the same in ``haplotypes.fa`` and ``genomes.agc``, short
    ones in ``viruses.fa``, and as truth ``small.truth.tsv`` and
    ``genome.repeats.tsv``.

    Parameters
    ----------
    folder
        Where to write; made if it is missing. Earlier files of these names are replaced.

    Returns
    -------
    Path
        The folder.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    genome = simulate_genome(GENOME, seed=_SEED)
    write_fasta(target / "genome.fa", genome.contigs)
    write_fasta(target / "genome.fa.gz", genome.contigs)
    genome.write_repeats(target / "genome.repeats.tsv")
    barcodes = example_barcodes()
    options = ShortReadOptions(
        pairs=400,
        read_length=100,
        fragment_mean=260,
        fragment_deviation=40,
        barcodes=barcodes,
        unmapped_fraction=0.03,
        secondary_fraction=0.03,
        supplementary_fraction=0.02,
        event_fraction=0.1,
        all_tag_types=True,
    )
    short = simulate_short_reads(genome, options, seed=_SEED)
    short.write_bam(target / "small.bam")
    short.write_sam(target / "small.sam")
    short.write_truth(target / "small.truth.tsv")
    short.write_fastq(target / "reads.fq")
    short.write_fastq(target / "reads.fq.gz")
    long = LongReadOptions(reads=30, mean_length=1_500, longest=8_000, all_tag_types=True)
    simulate_long_reads(genome, long, seed=_SEED).write_bam(target / "long.bam")
    regions = ("chr1\t1000\t5000\tpeak1", "chr1\t20000\t24000\tpeak2", "chr2\t0\t2000\tpeak3")
    _write_lines(target / "regions.bed", regions)
    _write_lines(target / "barcodes.txt", barcodes[:_LISTED_BARCODES])
    _write_collection(target, genome)
    return target


def _write_collection(target: Path, genome: Genome) -> None:
    """Write genomes that resemble one another, in files of every kind, and an archive of them."""
    from seqmill.archive import ArchiveWriter  # noqa: PLC0415 - brings the engine

    small = Genome(tuple(contig for contig in genome.contigs if len(contig) <= _SHORT_BASES))
    options = CollectionOptions(genomes=3, event_length=500)
    members = simulate_collection(small, options, seed=_SEED)
    names = [f"sample{i}.fa" for i in (1, 2)] + ["sample3.fa.gz"]
    for name, member in zip(names, members, strict=True):
        write_fasta(target / name, member.contigs, index=False)
    lines = [
        f">{sample}#1#{contig.name}\n{contig.sequence.tobytes().decode()}"
        for sample, member in zip(("one", "two", "three"), members, strict=True)
        for contig in member.contigs
    ]
    _write_lines(target / "haplotypes.fa", tuple(lines))
    (virus,) = (contig for contig in genome.contigs if contig.name == "chrM")
    text = virus.sequence.tobytes().decode()
    records = [f">virus{i}\n{text[: 40 * i]}-{text[40 * i :]}" for i in range(1, 9)]
    _write_lines(target / "viruses.fa", tuple(records))
    archive = target / "genomes.agc"
    with ArchiveWriter(archive, force=True, segment_size=5000, threads=1) as writer:
        for name in names:
            writer.add(name.split(".")[0], target / name)


def _write_lines(path: Path, lines: tuple[str, ...]) -> None:
    with replaced(path) as file:
        file.write("".join(f"{line}\n" for line in lines).encode())
