"""Counts against the golden tables: threads, budgets, packings and chunks do not show."""

import csv
import gzip
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import seqmill
from seqmill import _native
from seqmill.kmers import count_batch, plan_chunks

SETTINGS = [(1, "256M"), (2, "512M"), (4, "1G")]


@pytest.fixture(autouse=True, scope="module")
def room_for_the_tests() -> Iterator[None]:
    """What the process of the tests holds counts too: give jobs room beside it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQMILL_MEMORY", "8G")
        yield


COUNT = """
import hashlib, json, pathlib, sys
import seqmill
settings = json.loads(sys.argv[1])
found = []
for path, k, canonical, threads in settings["jobs"]:
    table = seqmill.count_kmers(
        path, k=k, canonical=canonical, threads=threads, memory=settings["memory"],
        tmpdir=settings["tmp"],
    )
    table.dump(settings["tmp"] + "/o.tsv", force=True)
    text = pathlib.Path(settings["tmp"] + "/o.tsv").read_bytes()
    found.append([table.distinct, table.total, hashlib.sha256(text).hexdigest()])
    del table
status = pathlib.Path("/proc/self/status").read_text().split("VmHWM:")[1]
print(json.dumps([found, int(status.split()[0]) * 1024]))
"""


def expected_rows(data: Path) -> list[dict[str, str]]:
    with (data / "expected" / "summary.tsv").open() as file:
        return list(csv.DictReader(file, delimiter="\t"))


def input_path(data: Path, name: str) -> Path:
    path = data / name
    return path if path.exists() else data / f"{name}.gz"


def count_in_child(
    data: Path, rows: list[dict[str, str]], tmp: Path, *, threads: int, memory: str
) -> int:
    """Count in a process of its own, compare, and give its peak."""
    jobs = [
        (str(input_path(data, row["input"])), int(row["k"]), row["strand"] == "canonical", threads)
        for row in rows
    ]
    settings = {"jobs": jobs, "memory": memory, "tmp": str(tmp)}
    done = subprocess.run(
        [sys.executable, "-c", COUNT, json.dumps(settings)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found, peak = json.loads(done.stdout)
    for row, (distinct, total, digest) in zip(rows, found, strict=True):
        told = (str(distinct), str(total), digest)
        assert told == (row["distinct"], row["total"], row["sha256_of_sorted_tsv"]), row
    return int(peak)


@pytest.mark.parametrize(("threads", "memory"), SETTINGS)
def test_all_tables_are_exact(shared_data: Path, tmp_path: Path, threads: int, memory: str) -> None:
    data = shared_data / "kmers"
    count_in_child(data, expected_rows(data), tmp_path, threads=threads, memory=memory)


def test_the_least_budget_is_kept(shared_data: Path, tmp_path: Path) -> None:
    data = shared_data / "kmers"
    for row in expected_rows(data)[::4]:
        peak = count_in_child(data, [row], tmp_path, threads=4, memory="64M")
        assert peak <= 64 << 20


def test_packings_do_not_show(shared_data: Path, tmp_path: Path) -> None:
    data = shared_data / "kmers"
    for name in ("edge.fa", "reads.fq.gz", "boundary.fa"):
        text = (data / name).read_bytes()
        text = gzip.decompress(text) if name.endswith(".gz") else text
        halves = text[: len(text) // 2], text[len(text) // 2 :]
        packed = {
            "plain": text,
            "gzip": b"".join(map(gzip.compress, halves)),
            "bgzf": _native.bgzf_compress(text) + _native.BGZF_EOF,
        }
        tables = set()
        for kind, content in packed.items():
            folder = tmp_path / kind
            folder.mkdir(exist_ok=True)
            path = folder / "input"
            path.write_bytes(content)
            table = seqmill.count_kmers(path, k=21, canonical=True)
            keys, counts = table.to_numpy()
            tables.add((keys.tobytes(), counts.tobytes(), table.total))
        assert len(tables) == 1


@pytest.mark.parametrize("chunk_size", [100, 1000, 1_000_000])
@pytest.mark.parametrize("k", [5, 21, 31])
def test_chunks_make_up_the_whole(
    shared_data: Path, tmp_path: Path, chunk_size: int, k: int
) -> None:
    data = shared_data / "kmers"
    for name in ("boundary.fa", "edge_crlf.fa"):
        reference = data / name
        whole = seqmill.count_kmers(reference, k=k, output=tmp_path / f"{name}.skm")
        try:
            plan = plan_chunks(reference, k=k, chunk_size=chunk_size, batch_bases=3 * chunk_size)
        except seqmill.errors.FormatError:
            assert name == "edge_crlf.fa"  # has records of one name
            continue
        parts = [
            count_batch(reference, plan, batch, output=tmp_path / f"{name}.{batch}.part.skm")
            for batch in range(min(plan.batches, 60))
        ]
        if plan.batches > len(parts):
            continue
        merged = seqmill.merge_kmers(parts, plan=plan, output=tmp_path / f"{name}.merged.skm")
        assert merged.total == whole.total
        for first, second in zip(merged.to_numpy(), whole.to_numpy(), strict=True):
            assert first.tobytes() == second.tobytes()
        if len(parts) > 1:
            with pytest.raises(seqmill.errors.FormatError, match="missing"):
                seqmill.merge_kmers(parts[1:], plan=plan)
            with pytest.raises(seqmill.errors.FormatError, match="twice"):
                seqmill.merge_kmers([*parts, parts[0]], plan=plan)


def test_histograms_are_exact(shared_data: Path) -> None:
    data = shared_data / "kmers"
    for row in expected_rows(data):
        if row["input"] != "reads.fq.gz":
            continue
        name = f"reads.k{row['k']}.{row['strand']}.hist.tsv"
        expected = [
            tuple(map(int, line.split("\t")))
            for line in (data / "expected" / name).read_text().splitlines()
        ]
        table = seqmill.count_kmers(
            data / row["input"], k=int(row["k"]), canonical=row["strand"] == "canonical"
        )
        counts, numbers = table.histogram()
        assert list(zip(counts.tolist(), numbers.tolist(), strict=True)) == expected
