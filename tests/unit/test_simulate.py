from __future__ import annotations

import gzip
import hashlib
import shutil
import subprocess
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest

from seqmill import simulate
from seqmill.errors import InputError
from seqmill.simulate import bgzf

if TYPE_CHECKING:
    from pathlib import Path

needs_samtools = pytest.mark.skipif(
    shutil.which("samtools") is None, reason="samtools is not on the PATH"
)

# Of the files' content; of compressed files and BAM, what they hold when inflated, since the
# deflated bytes depend on the library at hand.
EXAMPLE_MD5 = {
    "haplotypes.fa": "46f892d3b33e87ca3b2e0c66f7c34a10",
    "sample1.fa": "a3bc0c7eccb142def7c07c465917d671",
    "sample2.fa": "9ce677171220b01c2338eec6d057e869",
    "sample3.fa.gz": "d3cd83b3f6227f5a5e9c183882ae2509",
    "viruses.fa": "5ada61190024cf29b5b548b0e20719c4",
    "barcodes.txt": "9a70a162c79428570642b837a68df14e",
    "genome.fa": "922812d29f9c01b2f763be9d0b3d2881",
    "genome.fa.fai": "9a1d5230e032451fb8963fd6d0b0506a",
    "genome.fa.gz": "922812d29f9c01b2f763be9d0b3d2881",
    "genome.fa.gz.fai": "9a1d5230e032451fb8963fd6d0b0506a",
    "genome.repeats.tsv": "a288a79c0bf7c15191a44704609576c5",
    "long.bam": "482b7b2fb85a39c570d6d193e9080c99",
    "reads.fq": "5061262a2811bead802f08cb25e1e43c",
    "reads.fq.gz": "5061262a2811bead802f08cb25e1e43c",
    "regions.bed": "369af0e8fc2dd99ea054bdddddbdc6c3",
    "small.bam": "9d2f9411531df03b207a22ca58ca1652",
    "small.sam": "013bc4834b88d7348e66622bb5330004",
    "small.truth.tsv": "f106ad9d34cd2f4992ecf63abceb43e8",
}
MOST_BYTES = 1_250_000


def content_of(path: Path) -> bytes:
    if path.suffix in {".gz", ".bam"}:
        return gzip.decompress(path.read_bytes())
    return path.read_bytes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate.write_example_data(tmp_path_factory.mktemp("example"))


@pytest.fixture(scope="module")
def genome() -> simulate.Genome:
    return simulate.simulate_genome(seed=5)


def samtools(*arguments: str | Path) -> str:
    command = ["samtools", *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout


def test_example_data_are_the_same_everywhere(folder: Path) -> None:
    sums = {
        path.name: hashlib.md5(content_of(path), usedforsecurity=False).hexdigest()
        for path in sorted(folder.iterdir())
        if path.suffix not in {".agc", ".bai", ".gzi"}
    }
    assert sums == EXAMPLE_MD5


def test_example_data_are_small(folder: Path) -> None:
    assert sum(path.stat().st_size for path in folder.iterdir()) < MOST_BYTES


def test_compressed_files_hold_the_plain_ones(folder: Path) -> None:
    for name in ("genome.fa", "reads.fq"):
        assert content_of(folder / f"{name}.gz") == (folder / name).read_bytes()


def test_contigs_have_exact_lengths_and_gaps(genome: simulate.Genome) -> None:
    options = simulate.GenomeOptions()
    assert [(c.name, len(c)) for c in genome.contigs] == list(options.contigs)
    unknown = int((genome.letters == ord("N")).sum())
    assert unknown == options.gaps * options.gap_length
    lower = int((genome.letters > ord("Z")).sum())
    assert lower > options.masked_length


def test_repeat_table_tells_the_truth(genome: simulate.Genome) -> None:
    sequences = {contig.name: contig.sequence for contig in genome.contigs}
    assert Counter(copy.family for copy in genome.repeats) == {"alpha": 24, "beta": 8}
    assert {copy.strand for copy in genome.repeats} == {"+", "-"}
    closest = sorted(
        (copy for copy in genome.repeats if copy.family == "beta"), key=lambda c: c.divergence
    )
    oriented = []
    for copy in closest:
        stretch = sequences[copy.contig][copy.begin : copy.end]
        assert (stretch > ord("Z")).all()
        forward = stretch if copy.strand == "+" else simulate.genome.reverse_complement(stretch)
        oriented.append(forward.tobytes())
    # Two copies share most of their 12-mers only if place and strand are right.
    words = [{text[i : i + 12] for i in range(len(text) - 11)} for text in oriented]
    assert all(len(words[0] & other) > len(words[0]) // 4 for other in words[1:])


def test_repeats_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="contig one: 100 bases are too few"):
        simulate.simulate_genome(simulate.GenomeOptions(contigs=(("one", 100),)))


def test_collection_members_are_what_their_variants_say(genome: simulate.Genome) -> None:
    members = simulate.simulate_collection(genome, seed=5)
    assert len({member.letters.tobytes() for member in members}) == len(members)
    for member in members:
        kinds = Counter(variant.kind for variant in member.variants)
        assert kinds["snp"] > 100
        assert kinds["inversion"] == kinds["gain"] == kinds["loss"] == 1
        for before, after in zip(genome.contigs, member.contigs, strict=True):
            own = [v for v in member.variants if v.contig == before.name]
            added = sum(v.length for v in own if v.kind in {"insertion", "gain"})
            removed = sum(v.length for v in own if v.kind in {"deletion", "loss"})
            assert len(after) == len(before) + added - removed


def test_reads_do_not_depend_on_the_order_of_writing(
    genome: simulate.Genome, tmp_path: Path
) -> None:
    options = simulate.ShortReadOptions(pairs=300, secondary_fraction=0.05)
    reads = simulate.simulate_short_reads(genome, options, seed=5)
    for order in ("coordinate", "query"):
        reads.write_sam(tmp_path / f"{order}.sam", order=order)
    lines = [
        sorted(line for line in path.read_text().splitlines() if line[0] != "@")
        for path in (tmp_path / "coordinate.sam", tmp_path / "query.sam")
    ]
    assert lines[0] == lines[1]


def test_fastq_holds_the_reads_of_the_alignments(genome: simulate.Genome, tmp_path: Path) -> None:
    reads = simulate.simulate_long_reads(genome, simulate.LongReadOptions(reads=25), seed=5)
    reads.write_fastq(tmp_path / "reads.fq")
    reads.write_sam(tmp_path / "reads.sam")
    rows = (tmp_path / "reads.fq").read_text().splitlines()
    sequenced = {
        name.split("\t")[0][1:]: (bases, qualities)
        for name, bases, qualities in zip(rows[::4], rows[1::4], rows[3::4], strict=True)
    }
    other_strand = str.maketrans("ACGTN", "TGCAN")
    seen = 0
    for line in (tmp_path / "reads.sam").read_text().splitlines():
        fields = line.split("\t")
        if line[0] == "@" or int(fields[1]) & 0x900:
            continue
        bases, qualities = fields[9], fields[10]
        if int(fields[1]) & 0x10:
            bases, qualities = bases[::-1].translate(other_strand), qualities[::-1]
        assert sequenced[fields[0]] == (bases, qualities)
        seen += 1
    assert seen == len(sequenced) == 25


def test_modifications_fit_the_bases(folder: Path) -> None:
    records = 0
    for line in _records_of(folder / "long.bam"):
        tags = dict(field.split(":", 2)[::2] for field in line[11:])
        if "MM" not in tags:
            continue
        records += 1
        skipped = [int(n) for n in tags["MM"].rstrip(";").split(",")[1:]]
        base = "G" if int(line[1]) & 0x10 else "C"
        assert len(skipped) + sum(skipped) <= line[9].count(base)
        assert tags["ML"].count(",") == len(skipped)
    assert records == 30


def _records_of(path: Path) -> list[list[str]]:
    pysam = pytest.importorskip("pysam")
    with pysam.AlignmentFile(str(path)) as file:
        return [record.to_string().split("\t") for record in file]


def test_truth_agrees_with_the_records(folder: Path) -> None:
    truth = [row.split("\t") for row in (folder / "small.truth.tsv").read_text().splitlines()[1:]]
    lines = [
        line.split("\t")
        for line in (folder / "small.sam").read_text().splitlines()
        if line[0] != "@"
    ]
    mapped = [line for line in lines if not int(line[1]) & 4]
    assert len(truth) == len(mapped) > 750
    for row, line in zip(truth, mapped, strict=True):
        name, _, flag, contig, begin, _, strand, cigar = row
        assert [name, flag, contig, str(int(begin) + 1), cigar] == [*line[:4], line[5]]
        assert strand == ("-" if int(flag) & 0x10 else "+")


def test_reads_show_every_kind_of_record_and_tag(folder: Path) -> None:
    lines = [
        line.split("\t")
        for line in (folder / "small.sam").read_text().splitlines()
        if line[0] != "@"
    ]
    flags = np.array([int(line[1]) for line in lines])
    for bit in (0x1, 0x2, 0x4, 0x8, 0x10, 0x20, 0x40, 0x80, 0x100, 0x400, 0x800):
        assert ((flags & bit) != 0).any(), hex(bit)
    operations = {letter for line in lines for letter in line[5] if letter.isalpha()}
    assert operations == set("MIDNSH")
    kinds = {":".join(tag.split(":")[1:2]) for line in lines for tag in line[11:]}
    assert kinds == set("iZAfHB")


@needs_samtools
@pytest.mark.parametrize("name", ["small.bam", "long.bam"])
def test_samtools_accepts_the_bam(folder: Path, name: str) -> None:
    path = folder / name
    samtools("quickcheck", path)
    statistics = samtools("stats", path)
    assert "SN\tis sorted:\t1\n" in statistics
    reads = {"small.bam": 800, "long.bam": 30}[name]
    assert f"SN\traw total sequences:\t{reads}\t" in statistics


@needs_samtools
def test_samtools_finds_the_same_text_in_bam_and_sam(folder: Path) -> None:
    text = (folder / "small.sam").read_text()
    assert samtools("view", "-h", "--no-PG", folder / "small.bam") == text
    assert samtools("view", "-h", "--no-PG", folder / "small.sam") == text


@needs_samtools
@pytest.mark.parametrize("name", ["small.bam", "long.bam"])
def test_samtools_computes_the_same_differences(folder: Path, name: str, tmp_path: Path) -> None:
    command = ["samtools", "calmd", "-b", str(folder / name), str(folder / "genome.fa")]
    with (tmp_path / "md.bam").open("wb") as file:
        subprocess.run(command, check=True, stdout=file, stderr=subprocess.PIPE)

    def differences(path: Path) -> list[list[str]]:
        text = samtools("view", "-F", "0x104", path)
        return [
            [field for field in line.split("\t") if field.startswith(("NM:", "MD:"))]
            for line in text.splitlines()
        ]

    assert differences(folder / name) == differences(tmp_path / "md.bam")


@needs_samtools
def test_samtools_uses_our_index_as_its_own(genome: simulate.Genome, tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours.bam", tmp_path / "theirs.bam"
    options = simulate.ShortReadOptions(pairs=4_000)
    simulate.simulate_short_reads(genome, options, seed=5).write_bam(ours)
    theirs.write_bytes(ours.read_bytes())
    samtools("index", theirs)
    assert samtools("idxstats", ours) == samtools("idxstats", theirs)
    regions = ("chr1:1-1", "chr1:16384-16385", "chr1:30000-45000", "chr2", "chrM:3999-4000", "*")
    for region in regions:
        assert samtools("view", ours, region) == samtools("view", theirs, region)


@needs_samtools
@pytest.mark.parametrize("name", ["genome.fa", "genome.fa.gz"])
def test_samtools_uses_our_sequence_index(folder: Path, name: str, tmp_path: Path) -> None:
    copy = tmp_path / name
    copy.write_bytes((folder / name).read_bytes())
    samtools("faidx", copy)
    for suffix in (".fai", ".gzi"):
        theirs = copy.with_name(name + suffix)
        if theirs.exists():
            assert theirs.read_bytes() == (folder / f"{name}{suffix}").read_bytes()


def test_blocks_are_of_the_stated_size(tmp_path: Path) -> None:
    data = np.arange(200_000, dtype="<u4").tobytes()
    with bgzf.BgzfWriter(tmp_path / "x.gz") as file:
        file.write(data)
    raw = (tmp_path / "x.gz").read_bytes()
    assert raw.endswith(bgzf.END_MARKER)
    assert gzip.decompress(raw) == data
    first = int.from_bytes(raw[16:18], "little") + 1
    assert len(gzip.decompress(raw[:first])) == bgzf.BLOCK_BYTES
    offsets = file.virtual_offsets(np.array([0, bgzf.BLOCK_BYTES + 5, len(data)]))
    assert offsets.tolist()[:2] == [0, first << 16 | 5]
    assert offsets.tolist()[2] == (len(raw) - len(bgzf.END_MARKER)) << 16


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    def write_and_fail() -> None:
        with bgzf.BgzfWriter(tmp_path / "x.gz") as file:
            file.write(b"abc")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_and_fail()
    assert list(tmp_path.iterdir()) == []


def test_no_reads_make_an_empty_file(genome: simulate.Genome, tmp_path: Path) -> None:
    reads = simulate.simulate_short_reads(genome, simulate.ShortReadOptions(pairs=0))
    reads.write_bam(tmp_path / "none.bam")
    assert len(reads) == 0
    assert gzip.decompress((tmp_path / "none.bam").read_bytes())[:4] == b"BAM\1"


def test_reads_longer_than_the_genome_are_refused() -> None:
    options = simulate.GenomeOptions(contigs=(("one", 200),), families=(), gaps=0, masked=0)
    genome = simulate.simulate_genome(options)
    with pytest.raises(InputError, match="the longest contig has 200"):
        simulate.simulate_short_reads(genome)
