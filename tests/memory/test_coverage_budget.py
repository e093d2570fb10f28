"""Peak memory of `seqmill coverage` in child processes."""

import json
from pathlib import Path

import pytest

BASES = 30_000_000


@pytest.fixture(scope="module")
def genome(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sequence of 30 Mb whose 31-mers take 240 MB."""
    import random  # noqa: PLC0415

    path = tmp_path_factory.mktemp("genome") / "x.fa"
    draw = random.Random(5)  # noqa: S311 - a seed
    with path.open("w") as out:
        out.write(">x\n")
        for _ in range(BASES // 100_000):
            out.write("".join(draw.choices("ACGT", k=100_000)) + "\n")
    return path


@pytest.mark.slow
def test_different_k_mers_keep_to_the_budget(run_seqmill, genome: Path, tmp_path: Path) -> None:
    rows = []
    for memory in ("128M", "1G"):
        metrics = tmp_path / "m.json"
        done = run_seqmill(
            "coverage", genome, "-q", "-m", memory, "--metrics", metrics, timeout=600
        )
        assert done.returncode == 0, done.stderr
        figures = json.loads(metrics.read_text())["memory"]
        assert figures["rss_peak"] <= figures["limit"]
        rows.append(done.stdout)
    assert rows[0] == rows[1]


def test_windows_by_the_hundred_thousand_keep_to_the_budget(run_seqmill, tmp_path: Path) -> None:
    path = tmp_path / "x.sam"
    path.write_text("@SQ\tSN:s\tLN:2000000000\nr\t0\ts\t100\t60\t5M\t*\t0\t0\tACGTA\tIIIII\n")
    metrics = tmp_path / "m.json"
    done = run_seqmill(
        "coverage",
        path,
        "--windows",
        "10000",
        "-o",
        tmp_path / "out",
        "-m",
        "64M",
        "--metrics",
        metrics,
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(metrics.read_text())["memory"]
    assert figures["rss_peak"] <= figures["limit"]
    with (tmp_path / "out/coverage.tsv").open() as lines:
        assert sum(1 for _ in lines) == 200_001
