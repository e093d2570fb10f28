"""CRAMs that samtools writes, in all its ways, read as samtools reads them; SAM in wrappings."""

import gzip
import hashlib
import itertools
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from shutil import which
from typing import Any

import pyarrow as pa
import pytest

import seqmill
from seqmill import _native, errors
from seqmill.progress import Progress
from tests.conftest import find_shared_data
from tests.oracles.sam_text import sam_lines

SHARED = find_shared_data()
pytestmark = [
    pytest.mark.skipif(SHARED is None, reason="no shared data"),
    pytest.mark.skipif(which("samtools") is None, reason="samtools is not installed"),
    pytest.mark.filterwarnings(
        "ignore:.*(gzip without blocks|flagged as unmapped|occurs more than once)"
    ),
    pytest.mark.filterwarnings("ignore:no index"),
]
BAMS = {
    "pairs": "bam/real/sim_pairs.bam",
    "long reads": "bam/real/sim_ont.bam",
    "read groups": "bam/real/10x_pbmc_tags.bam",
    "no references": "real/bam/ont_mixed_readgroups_ubam.bam",
    "spliced": "real/bam/hcc1395_rnaseq_spliced.bam",
    "methylation": "real/bam/pacbio_hifi_fiberseq_MM_ML.bam",
}
WAYS = {
    "3.0": ["no_ref=1", "version=3.0"],
    "3.1": ["no_ref=1", "version=3.1"],
    "3.1 small": ["no_ref=1", "version=3.1", "small", "seqs_per_slice=500"],
    "3.1 archive": ["no_ref=1", "version=3.1", "archive", "slices_per_container=4"],
    "several references in a slice": ["no_ref=1", "version=3.0", "multi_seq_per_slice=1"],
    "reference made up": ["embed_ref=2", "version=3.0"],
}

# The reads stand all over a chromosome: their made-up reference has 100 MB in one block.
HUGE = ("methylation", "reference made up")
COMBINATIONS = [pair for pair in itertools.product(BAMS, WAYS) if pair != HUGE]


def test_positions_without_a_reference(tmp_path: Path) -> None:
    starts = [5, 5, 17, 90]
    lines = "".join(f"r{pos}\t4\t*\t{pos}\t0\t*\t*\t0\t0\tACGT\tIIII\n" for pos in starts)
    sam, cram = tmp_path / "in.sam", tmp_path / "in.cram"
    for text in (lines, lines[lines.index("r90") :]):
        sam.write_text(text)
        samtools("view", "--no-PG", "-C", "--output-fmt-option", "no_ref=1", "-o", cram, sam)
        table = seqmill.scan_alignments(cram, tags="sam").to_table()
        assert "".join(f"{line}\n" for line in sam_lines(table)) == samtools("view", cram)


@pytest.fixture(autouse=True)
def no_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """References come from where a test puts them, never from the network."""
    monkeypatch.setenv("REF_PATH", str(tmp_path / "nowhere"))
    monkeypatch.setenv("REF_CACHE", str(tmp_path / "cache/%2s/%2s/%s"))


def samtools(*arguments: str | os.PathLike[str]) -> str:
    command = ["samtools", *map(os.fspath, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def write_cram(source: Path, target: Path, *options: str, reference: Path | None = None) -> None:
    words = [word for option in options for word in ("--output-fmt-option", option)]
    known = [] if reference is None else ["-T", os.fspath(reference)]
    try:
        samtools("view", "-C", "--no-PG", *known, *words, "-o", target, source)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"this samtools does not write it: {error.stderr.strip()}")


def lines_of(path: Path, **options: Any) -> list[str]:
    with seqmill.scan_alignments(path, tags="sam", memory="1GiB", **options) as scan:
        return [line for batch in scan for line in sam_lines(batch)]


def shared(name: str) -> Path:
    assert SHARED is not None
    return SHARED / name


@pytest.mark.parametrize(("name", "way"), COMBINATIONS)
def test_every_way_to_write_a_cram(name: str, way: str, tmp_path: Path) -> None:
    path = tmp_path / "x.cram"
    write_cram(shared(BAMS[name]), path, *WAYS[way])
    expected = samtools("view", path).splitlines()
    assert lines_of(path, threads=1) == expected
    with seqmill.scan_alignments(path, threads=1, memory="1GiB") as scan:
        table = scan.to_table()
    for threads in (2, 8):
        with seqmill.scan_alignments(path, threads=threads, memory="1GiB") as scan:
            assert scan.to_table() == table


@pytest.fixture(scope="module")
def genome(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Indexed FASTA with the references of `range.bam`."""
    path = tmp_path_factory.mktemp("genome") / "ce.fa"
    path.write_bytes(gzip.decompress(shared("real/fasta_oddities/htslib_ce.fa.gz").read_bytes()))
    samtools("faidx", path)
    return path


@pytest.fixture
def external(genome: Path, tmp_path: Path) -> Path:
    """CRAM whose bases are differences to a reference outside, of which it does not know where."""
    named, path = tmp_path / "named.cram", tmp_path / "x.cram"
    write_cram(shared("bam/real/range.bam"), named, "version=3.0", reference=genome)
    header = samtools("view", "-H", "--no-PG", named).replace(f"UR:{genome}", "UR:/nowhere")
    (tmp_path / "header.sam").write_text(header)
    path.write_bytes(
        subprocess.run(
            ["samtools", "reheader", "--no-PG", tmp_path / "header.sam", named],
            check=True,
            capture_output=True,
        ).stdout
    )
    return path


def test_reference_that_is_given(external: Path, genome: Path) -> None:
    expected = samtools("view", "-T", genome, external).splitlines()
    for threads in (1, 2, 8):
        assert lines_of(external, reference=genome, threads=threads) == expected


def sequences_of(genome: Path) -> Iterator[bytes]:
    for record in genome.read_bytes().split(b">")[1:]:
        yield b"".join(record.split(b"\n")[1:]).upper()


def test_reference_in_the_local_cache(external: Path, genome: Path, tmp_path: Path) -> None:
    for sequence in sequences_of(genome):
        sum_ = hashlib.md5(sequence, usedforsecurity=False).hexdigest()
        cached = tmp_path / "cache" / sum_[:2] / sum_[2:4] / sum_[4:]
        cached.parent.mkdir(parents=True, exist_ok=True)
        cached.write_bytes(sequence)
    assert lines_of(external) == samtools("view", "-T", genome, external).splitlines()


def test_missing_and_wrong_references(external: Path, genome: Path, tmp_path: Path) -> None:
    with pytest.raises(errors.SequenceReferenceError, match=r"M5 .* is needed"):
        lines_of(external)
    wrong = tmp_path / "wrong.fa"
    name, _, lines = genome.read_text().partition("\n")
    wrong.write_text(name + "\n" + lines.replace("GCCTAA", "GCCTAC"))
    samtools("faidx", wrong)
    with pytest.raises(errors.SequenceReferenceError, match="its MD5 differs"):
        lines_of(external, reference=wrong)
    wrong.with_name("wrong.fa.fai").unlink()
    with pytest.raises(errors.NotFoundError, match="samtools faidx"):
        lines_of(external, reference=wrong)
    with pytest.raises(FileNotFoundError):
        lines_of(external, reference=tmp_path / "absent.fa")


@pytest.mark.parametrize("version", [b"\x02\x01", b"\x04\x00"])
def test_other_versions_are_named(version: bytes, tmp_path: Path) -> None:
    data = shared("bam/real/multi_chrom.cram").read_bytes()
    path = tmp_path / "x.cram"
    path.write_bytes(data[:4] + version + data[6:])
    with pytest.raises(errors.HeaderError, match=f"version {version[0]}.{version[1]}"):
        lines_of(path)


def test_cut_crams(tmp_path: Path) -> None:
    data = shared("bam/real/range_noref.cram").read_bytes()
    path = tmp_path / "x.cram"
    for cut in (5, 20, 30, 500, len(data) - 39, len(data) - 1):
        path.write_bytes(data[:cut])
        with pytest.raises(errors.TruncatedError):
            lines_of(path)
    path.write_bytes(data[:-38])
    with pytest.warns(UserWarning, match="missing_eof"):
        assert len(lines_of(path)) == 112
    with pytest.raises(errors.TruncatedError):
        lines_of(path, strict=True)


def test_damaged_crams(tmp_path: Path) -> None:
    data = shared("bam/real/range_noref.cram").read_bytes()
    path = tmp_path / "x.cram"
    path.write_bytes(data)
    expected = lines_of(path)
    # What samtools leaves free for a longer header holds nothing; nobody looks at it.
    header_bytes = int.from_bytes(data[26:30], "little")
    for at in range(30, len(data) - 38, 97):
        damaged = bytearray(data)
        damaged[at] ^= 0x10
        path.write_bytes(damaged)
        try:
            assert lines_of(path) == expected
        except errors.FormatError:
            continue
        assert at < 60 + header_bytes


def test_regions_of_a_cram() -> None:
    path = shared("bam/real/sim_pairs_embed.cram")
    expected = samtools("view", path, "scI:51000-52000").splitlines()
    assert lines_of(path, regions="scI:51000-52000") == expected
    assert expected


def rounded(tags: pa.ChunkedArray) -> list[Any]:
    """Tags with the digits of floats that SAM text has."""

    def shorten(value: Any) -> Any:
        if isinstance(value, list):
            return [shorten(item) for item in value]
        return f"{value:.6g}" if isinstance(value, float) else value

    return [{name: shorten(tag) for name, tag in row.items()} for row in tags.to_pylist()]


SAM_FORMS = {
    "plain": lambda text: text,
    "crlf": lambda text: text.replace(b"\n", b"\r\n"),
    "no end of the last line": lambda text: text.removesuffix(b"\n"),
    "gzip": gzip.compress,
    "bgzf": lambda text: _native.bgzf_compress(text) + _native.BGZF_EOF,
}


@pytest.mark.parametrize("form", SAM_FORMS)
@pytest.mark.parametrize("name", BAMS)
def test_sam_is_read_as_bam_is(name: str, form: str, tmp_path: Path) -> None:
    source = shared(BAMS[name])
    text = samtools("view", "-h", "--no-PG", source).encode()
    path = tmp_path / "x.sam"
    path.write_bytes(SAM_FORMS[form](text))
    with seqmill.scan_alignments(source, tags="struct") as scan:
        expected = scan.to_table()
    for threads in (1, 2, 8):
        with seqmill.scan_alignments(path, threads=threads) as scan:
            table = scan.to_table()
            assert scan.header == samtools("view", "-H", "--no-PG", source)
        # Which array subtypes and floats a tag has is decided by the sample in both.
        assert table.drop_columns(["tags"]) == expected.drop_columns(["tags"])
        assert rounded(table["tags"]) == rounded(expected["tags"])


@pytest.mark.parametrize("form", ["plain", "gzip", "bgzf", "cram"])
def test_interrupted_runs_go_on(form: str, tmp_path: Path) -> None:
    source = shared("real/bam/HG002_illumina_wgs_10regions.merged.bam")
    path = tmp_path / "x"
    if form == "cram":
        write_cram(source, path, "no_ref=1")
    else:
        text = samtools("view", "-h", "--no-PG", source).encode()
        path.write_bytes(gzip.compress(text, 1) if form == "gzip" else SAM_FORMS[form](text))
    whole, output = tmp_path / "whole.parquet", tmp_path / "out.parquet"
    # A slow compression, so that there is something to interrupt.
    options: dict[str, Any] = {"row_group_bytes": "1MiB", "threads": 2, "compression": "zstd:9"}
    seqmill.convert(path, whole, **options)

    def stop(info: Progress) -> bool:
        return info.output_bytes < 1 << 20

    with pytest.raises(errors.CancelledError):
        seqmill.convert(path, output, checkpoint_every="64KiB", progress=stop, **options)
    done = seqmill.convert(path, output, resume=True, checkpoint_every="64KiB", **options)
    assert done.metrics.detail["resumed_from"]
    assert output.read_bytes() == whole.read_bytes()
