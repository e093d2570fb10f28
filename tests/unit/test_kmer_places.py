"""Batches of a plan read by themselves: the text of each, and counts that do not show it."""

import random
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqmill import FastaStore, simulate
from seqmill._kmer_places import find_part
from seqmill.errors import FormatError, InputError
from seqmill.kmers import count_batch, count_kmers, merge_kmers, plan_chunks, read_plan


def write(path: Path, records: list[tuple[str, str]], *, width: int, end: str = "\n") -> None:
    lines = []
    for name, bases in records:
        lines.append(f">{name} text of the header ACGT")
        lines += [bases[at : at + width] for at in range(0, len(bases), width)]
    path.write_bytes("".join(f"{line}{end}" for line in lines).encode())


def index(path: Path) -> None:
    """Make the side files as `seqmill fetch --index-only` does."""
    FastaStore.open(path)


def merged(path: Path, folder: Path, *, k: int, chunk_size: int, batch_bases: int) -> bytes:
    plan = plan_chunks(path, k=k, chunk_size=chunk_size, batch_bases=batch_bases)
    parts = [
        count_batch(path, plan, batch, output=folder / f"{batch}.skm", threads=1, force=True)
        for batch in range(max(1, plan.batches))
    ]
    merge_kmers(parts, plan=plan, output=folder / "all.skm", threads=1, force=True)
    return (folder / "all.skm").read_bytes()


@settings(max_examples=12, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 90), min_size=1, max_size=4),
    width=st.sampled_from([1, 7, 30, 100]),
    end=st.sampled_from(["\n", "\r\n"]),
    k=st.integers(1, 9),
    more=st.integers(0, 20),
    batch_bases=st.integers(1, 120),
    seed=st.integers(0, 9),
)
def test_batches_are_the_whole(  # noqa: PLR0917 - what is drawn
    tmp_path_factory: pytest.TempPathFactory,
    lengths: list[int],
    width: int,
    end: str,
    k: int,
    more: int,
    batch_bases: int,
    seed: int,
) -> None:
    folder = tmp_path_factory.mktemp("places")
    draw = random.Random(seed)  # noqa: S311 - a seed
    records = [
        (f"r{number}", "".join(draw.choices("ACGTacgtN", k=length)))
        for number, length in enumerate(lengths)
    ]
    path = folder / "x.fa"
    write(path, records, width=width, end=end)
    count_kmers(path, k=k, output=folder / "direct.skm", threads=1)
    index(path)
    found = merged(path, folder, k=k, chunk_size=k + more, batch_bases=batch_bases)
    assert found == (folder / "direct.skm").read_bytes()


def test_blocks_of_a_compressed_genome(tmp_path: Path) -> None:
    genome = simulate.simulate_genome(
        simulate.GenomeOptions(contigs=(("chr1", 300_000), ("chr2", 90_000), ("chrM", 5_000))),
        seed=3,
    )
    path = tmp_path / "genome.fa.gz"
    simulate.write_fasta(path, genome.contigs)
    for name in path.parent.glob("genome.fa.gz.*"):
        name.unlink()
    count_kmers(path, output=tmp_path / "direct.skm", threads=1)
    plan = plan_chunks(path, chunk_size=10_000, batch_bases=60_000)
    assert find_part(path, plan, 0) is None
    index(path)
    parts = [find_part(path, plan, batch) for batch in range(plan.batches)]
    assert all(parts)
    assert parts[0].begin == 0
    assert parts[-1].end is None
    assert [part.end for part in parts[:-1]] == [part.begin for part in parts[1:]]
    assert sum(part.bases for part in parts) == 395_000
    found = merged(path, tmp_path, k=31, chunk_size=10_000, batch_bases=60_000)
    assert found == (tmp_path / "direct.skm").read_bytes()


def test_index_that_cannot_be_trusted(tmp_path: Path) -> None:
    path = tmp_path / "x.fa"
    draw = random.Random(1)  # noqa: S311 - a seed
    records = [(f"r{n}", "".join(draw.choices("ACGT", k=500))) for n in range(3)]
    write(path, records, width=60)
    index(path)
    plan = plan_chunks(path, k=5, chunk_size=100, batch_bases=400)
    assert find_part(path, plan, 1) is not None
    # Of another file: the lengths differ.
    other = tmp_path / "y.fa"
    write(other, records[:2], width=60)
    shutil.copy(f"{path}.fai", f"{other}.fai")
    assert find_part(other, plan_chunks(other, k=5, chunk_size=100, batch_bases=400), 1) is None
    # Older than the file.
    subprocess.run(["touch", "-d", "2001-01-01", f"{path}.fai"], check=True)
    assert find_part(path, plan, 1) is None
    # It fits by names and lengths, but lines have another width.
    wrong = Path(f"{path}.fai").read_text().replace("\t60\t61", "\t50\t51")
    Path(f"{path}.fai").write_text(wrong)
    assert find_part(path, plan, 1) is not None
    with pytest.raises(FormatError, match="make the index anew"):
        count_batch(path, plan, 0, output=tmp_path / "part.skm", threads=1)
    assert not (tmp_path / "part.skm").exists()
    # FASTQ has one more column, a damaged line fewer.
    for text in ("r0\t500\t30\t60\n", "r0\t1\t2\t3\t4\t5\n", "r0\t500\tx\t60\t61\n"):
        Path(f"{path}.fai").write_text(text)
        assert find_part(path, plan, 1) is None


def test_batches_of_one_chunk_need_the_k_of_their_plan(tmp_path: Path) -> None:
    path = tmp_path / "x.fa"
    write(path, [("a", "ACGT" * 30)], width=60)
    plan = plan_chunks(path, k=21, chunk_size=50, batch_bases=1)
    for k in (11, 31):
        with pytest.raises(InputError, match=f"overlap by 20 bases; k = {k} needs {k - 1}"):
            count_batch(path, plan, 0, k=k, output=tmp_path / "part.skm")
    assert not list(tmp_path.glob("*.skm*"))


@pytest.mark.parametrize("change", ["longer", "shorter", "another"])
def test_a_plan_of_another_file_is_refused(tmp_path: Path, change: str) -> None:
    path = tmp_path / "x.fa"
    write(path, [("a", "ACGT" * 30), ("b", "GGCA")], width=60)
    plan = plan_chunks(path, k=5, chunk_size=50, batch_bases=1)
    records = {
        "longer": [("a", "ACGT" * 31), ("b", "GGCA")],
        "shorter": [("a", "ACGT" * 29), ("b", "GGCA")],
        "another": [("a", "ACGT" * 30), ("b", "GGCA"), ("c", "T")],
    }
    write(path, records[change], width=60)
    for batch in (0, plan.batches - 1):
        with pytest.raises(FormatError, match="the plan is of a file of 124 bases, but there are"):
            count_batch(path, plan, batch, output=tmp_path / "part.skm")
    assert not list(tmp_path.glob("*.skm*"))


@pytest.mark.parametrize(
    ("lines", "match"),
    [
        ([], "is empty and no plan"),
        (["0\ta\t5\t9\t4\t0"], "line 2: the first chunk of a record begins at 0"),
        (["0\ta\t0\t9\t9\t1"], "line 2: batches are numbered from 0"),
        (["0\ta\t0\t9\t9\t0", "1\tb\t0\t9\t9\t2"], "line 3: batches are numbered from 0"),
    ],
)
def test_damaged_plans(tmp_path: Path, lines: list[str], match: str) -> None:
    path = tmp_path / "plan.tsv"
    header = ["chunk_id\trecord\tstart\tend\tbases\tbatch"] if lines else []
    path.write_text("".join(f"{line}\n" for line in header + lines))
    with pytest.raises(FormatError, match=match):
        read_plan(path)
