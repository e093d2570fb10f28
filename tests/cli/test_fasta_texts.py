"""One rule for odd FASTA in every command: carriage returns, records without bases."""

import gzip
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
WITHIN = b">a\nACGTACGT\nACGTACGT\n>b\rx\nACGTACG\n"
TEXTS = {"alone": (OLD_MAC, 1), "within": (WITHIN, 4)}
# Records without bases: at the beginning, in the middle, twice at the end.
EMPTIES = b">e0\n>a x\nACGT\nAC\n>e1\n\n>b\nGG\n>e2\n>e3 last\n"
LENGTHS = {"e0": 0, "a": 6, "e1": 0, "b": 2, "e2": 0, "e3": 0}


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("command", READERS)
def test_a_carriage_return_within_a_header_is_bad_input(
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


def test_records_without_bases_are_told_by_commands_that_read_sequence(
    run_seqmill: RunCommand, tmp_path: Path
) -> None:
    """An index leaves them out, as that of samtools."""
    path = tmp_path / "x.fa"
    path.write_bytes(EMPTIES)
    assert dict(FastaStore.open(path).contigs("x")) == {"a": 6, "b": 2}
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
