"""One rule for odd FASTA in every command: carriage returns, records without bases."""

import gzip
import shutil
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from seqmill import FastaStore
from tests.conftest import RunCommand

READERS = {
    "fetch": ["fetch", "IN", "--index-only"],
    "convert": ["convert", "IN", "-o", "OUT.parquet", "-q"],
    "count": ["kmers", "count", "IN", "-k", "3", "-o", "OUT", "-q"],
    "profile": ["kmers", "profile", "table.skm", "IN", "-o", "OUT.tsv"],
    "coverage": ["coverage", "IN", "-o", "OUT", "-q"],
    "repeats": ["repeats", "IN", "-o", "OUT", "-q"],
    "pack": ["pack", "IN", "-o", "OUT.agc", "-q"],
}
OLD_MAC = b">a\rACGTACGT\r>b\rACGTTTTT\r"
WITHIN = b">a\nACGTACGT\nACGTACGT\n>b\nACGT\rACG\n"
TEXTS = {"alone": (OLD_MAC, 1), "within": (WITHIN, 5)}
# Records without bases: at the beginning, in the middle, twice at the end.
EMPTIES = b">e0\n>a x\nACGT\nAC\n>e1\n\n>b\nGG\n>e2\n>e3 last"
LENGTHS = {"e0": 0, "a": 6, "e1": 0, "b": 2, "e2": 0, "e3": 0}


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("command", READERS)
def test_a_carriage_return_within_a_line_is_bad_input(
    run_seqmill: RunCommand, tmp_path: Path, command: str, text: str
) -> None:
    content, line = TEXTS[text]
    (tmp_path / "table.fa").write_bytes(b">a\nACGTACGT\n")
    if command == "profile":
        counted = run_seqmill(
            "kmers", "count", "table.fa", "-k", "3", "-o", "table.skm", cwd=tmp_path
        )
        assert counted.returncode == 0, counted.stderr
    for name, data in (("x.fa", content), ("x.fa.gz", gzip.compress(content))):
        if command == "fetch" and name.endswith("gz"):
            continue  # gzip without blocks is refused as such
        (tmp_path / name).write_bytes(data)
        before = sorted(path.name for path in tmp_path.iterdir())
        arguments = [name if word == "IN" else word for word in READERS[command]]
        told = run_seqmill(*arguments, cwd=tmp_path)
        assert told.returncode == 65, told.stderr
        assert f"{name}: line {line}" in told.stderr
        assert "holds a carriage return within a line" in told.stderr
        assert told.stderr.count("\n") == 1, told.stderr
        assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_records_without_bases_are_told_by_every_command(
    run_seqmill: RunCommand, tmp_path: Path
) -> None:
    path = tmp_path / "x.fa"
    path.write_bytes(EMPTIES)
    assert dict(FastaStore.open(path).contigs("x")) == LENGTHS
    (tmp_path / "x.fa.fai").unlink()
    told = run_seqmill("fetch", path, "e0", "e1", "e3", "a:2-3")
    assert (told.returncode, told.stdout) == (0, ">e0\n>e1\n>e3\n>a:2-3\nCG\n"), told.stderr
    listed = (tmp_path / "x.fa.fai").read_text().splitlines()
    assert {line.split("\t")[0]: int(line.split("\t")[1]) for line in listed} == LENGTHS
    # The side files are older than the file: they are looked at.
    path.touch()
    assert run_seqmill("fetch", path, "--check").returncode == 0
    assert run_seqmill("convert", path, "-o", tmp_path / "x.parquet", "-q").returncode == 0
    rows = pq.read_table(tmp_path / "x.parquet").to_pylist()
    assert {row["name"]: len(row["sequence"]) for row in rows} == LENGTHS
    told = run_seqmill("kmers", "count", path, "-k", "2", "-o", tmp_path / "k", "--metrics", "-")
    assert told.returncode == 0, told.stderr
    told = run_seqmill("coverage", path, "-o", tmp_path / "c", "-q")
    assert told.returncode == 0, told.stderr
    text = (tmp_path / "c" / "coverage.tsv").read_text()
    assert all(f"\n{name}:1-{length}\t" in text for name, length in LENGTHS.items())
    told = run_seqmill("pack", path, "-o", tmp_path / "x.agc")
    assert told.returncode == 0
    for name in ("e0", "e1", "e2", "e3"):
        assert f'record "{name}" has no sequence' in told.stderr


def test_an_index_of_samtools_is_taken_as_it_is(run_seqmill: RunCommand, tmp_path: Path) -> None:
    if shutil.which("samtools") is None:
        pytest.skip("samtools is not installed")
    path = tmp_path / "x.fa"
    path.write_bytes(b">e0\n>a x\nACGT\nAC\n>e1\n>b\nGG\n")
    subprocess.run(["samtools", "faidx", path], check=True)
    side = tmp_path / "x.fa.fai"
    theirs = side.read_text()
    assert run_seqmill("fetch", path, "--check").returncode == 0
    assert side.read_text() == theirs
    assert run_seqmill("fetch", path, "e0").returncode == 2
    assert run_seqmill("fetch", path, "b").stdout == ">b\nGG\n"
    # Ours is read by samtools.
    side.unlink()
    (tmp_path / ".seqmill-fasta-index-v1").unlink(missing_ok=True)
    assert run_seqmill("fetch", path, "--index-only").returncode == 0
    assert [line.split("\t")[0] for line in side.read_text().splitlines()] == ["e0", "a", "e1", "b"]
    told = subprocess.run(
        ["samtools", "faidx", path, "e0", "b"], capture_output=True, text=True, check=False
    )
    assert (told.returncode, told.stdout) == (0, ">e0\n>b\nGG\n")
