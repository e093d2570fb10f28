"""AGC archives where FASTA is read: the result is that of the unpacked file."""

import shutil
from pathlib import Path

import pytest

from seqmill import (
    Archive,
    count_kmers,
    errors,
    find_repeats,
    measure_coverage,
    merge_kmers,
)
from seqmill.engine.local import LocalEngine
from seqmill.kmers import count_batch, plan_chunks

# The program that runs the tests is a part of what the budget bounds.
LIMITS = {"threads": 2, "memory": "4GiB"}


@pytest.fixture(scope="module")
def pair(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Give an archive, and a FASTA file of all its samples."""
    folder = tmp_path_factory.mktemp("input")
    archive = folder / "edge.agc"
    shutil.copyfile(shared_data / "agc" / "edge_k21_s1000.agc", archive)
    with Archive(archive) as opened:
        opened.unpack(folder / "edge.fa")
    return archive, folder / "edge.fa"


@pytest.fixture(scope="module")
def sample(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Give a sample of an archive, and its FASTA file."""
    folder = tmp_path_factory.mktemp("sample")
    archive = folder / "lpa:x.agc"
    shutil.copyfile(shared_data / "agc" / "lpa_k21_s5000.agc", archive)
    with Archive(archive) as opened:
        name = list(opened)[1]
        opened.unpack(folder / "one.fa", samples=[name])
    return f"{archive}:{name}", folder / "one.fa"


def test_kmers(pair: tuple[Path, Path], sample: tuple[str, Path], tmp_path: Path) -> None:
    for source, fasta in (pair, sample):
        for number, path in enumerate((source, fasta)):
            count_kmers(path, k=21, output=tmp_path / f"{number}.tsv", force=True, **LIMITS)
        assert (tmp_path / "0.tsv").read_bytes() == (tmp_path / "1.tsv").read_bytes() != b""
    source, fasta = sample
    plans = [plan_chunks(path, k=15, chunk_size=9000, batch_bases=50_000) for path in sample]
    assert plans[0] == plans[1]
    assert plans[0].batches > 1
    parts = []
    for batch in range(plans[0].batches):
        parts.append(tmp_path / f"part{batch}.skm")
        count_batch(source, plans[0], batch=batch, output=parts[-1])
    merge_kmers(parts, plan=plans[0], output=tmp_path / "merged.tsv")
    count_kmers(fasta, k=15, output=tmp_path / "whole.tsv")
    assert (tmp_path / "merged.tsv").read_bytes() == (tmp_path / "whole.tsv").read_bytes()


def test_repeats(sample: tuple[str, Path], tmp_path: Path) -> None:
    for number, path in enumerate(sample):
        find_repeats(
            path,
            output=tmp_path / str(number),
            formats=("library", "bed", "gff3", "softmask"),
            **LIMITS,
        )
    found = sorted(path.name[1:] for path in tmp_path.glob("0.*"))
    assert len(found) == 4
    for name in found:
        first, second = ((tmp_path / f"{i}{name}").read_bytes() for i in "01")
        assert first == second != b""


def test_coverage(pair: tuple[Path, Path], sample: tuple[str, Path], tmp_path: Path) -> None:
    for source, fasta in (pair, sample):
        rows = [list(measure_coverage(path, k=11, **LIMITS)) for path in (source, fasta)]
        assert rows[0] == rows[1] != []
    for number, path in enumerate(sample):
        measure_coverage(path, windows=5000, bins=4, k=7, output=tmp_path / str(number), **LIMITS)
    table, other = ((tmp_path / name / "coverage.tsv").read_text() for name in "01")
    assert table == other


def test_the_command_takes_them(sample: tuple[str, Path], tmp_path: Path, run_seqmill) -> None:
    for number, path in enumerate(sample):
        run = run_seqmill("kmers", "count", path, "-k", "9", "-o", tmp_path / f"{number}.tsv")
        assert run.returncode == 0, run.stderr
    assert (tmp_path / "0.tsv").read_bytes() == (tmp_path / "1.tsv").read_bytes()


def test_what_is_wrong_is_said(pair: tuple[Path, Path], shared_data: Path, tmp_path: Path) -> None:
    output = tmp_path / "x.tsv"
    for job in (
        lambda path: count_kmers(path, k=5, output=output),
        find_repeats,
        lambda path: measure_coverage(path, k=5),
    ):
        with pytest.raises(errors.NotFoundError, match='no sample "nobody"'):
            job(f"{pair[0]}:nobody")
        with pytest.raises(FileNotFoundError):
            job(f"{tmp_path}/absent.agc:nobody")
        for path in sorted((shared_data / "agc" / "invalid").glob("*.agc"))[:6]:
            with pytest.raises(errors.FormatError, match=path.stem):
                job(path)
    assert list(tmp_path.iterdir()) == []


def test_on_an_engine(sample: tuple[str, Path], tmp_path: Path) -> None:
    # The engine by its name would do the whole job at once; this one takes units.
    with LocalEngine(2) as units:
        for number, engine in enumerate((None, units)):
            folder = tmp_path / str(number)
            folder.mkdir()
            given = {"engine": engine, **LIMITS}
            count_kmers(sample[0], k=15, output=folder / "all.skm", **given)
            measure_coverage(sample[0], windows=5000, k=7, output=folder / "coverage", **given)
    for name in ("all.skm", "coverage/coverage.tsv", "coverage/merged_coverage.txt"):
        first, second = ((tmp_path / folder / name).read_bytes() for folder in "01")
        assert first == second != b"", name
