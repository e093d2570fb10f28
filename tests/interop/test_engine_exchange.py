"""`kmers` and `coverage` on two worker processes of Dask: the bytes of the undivided jobs."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seqmill.engine.dask import DaskEngine
from seqmill.errors import EngineError, exit_code
from tests.conftest import RunCommand
from tests.engine_jobs import contents, count, hunting, measure, write_genome
from tests.interop.test_engine_dask import _pretend, scheduler_of

pytest.importorskip("distributed", reason="Dask is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

Job = Callable[..., dict[str, bytes]]


@pytest.fixture(scope="module")
def genome(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_genome(tmp_path_factory.mktemp("genome") / "g.fa", bases=300_000)


@pytest.fixture(scope="module")
def counted(genome: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return count(genome, tmp_path_factory.mktemp("counted"))


@pytest.fixture(scope="module")
def measured(genome: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return measure(genome, tmp_path_factory.mktemp("measured") / "out")


def test_commands_take_an_engine(
    *,
    engine: DaskEngine,
    genome: Path,
    counted: dict[str, bytes],
    measured: dict[str, bytes],
    tmp_path: Path,
    run_seqmill: RunCommand,
) -> None:
    scheduler = ["--scheduler", scheduler_of(engine), "-q"]
    metrics = tmp_path / "m.json"
    command = ["kmers", "count", genome, "-k", "21", "--canonical", "--format", "skm,json,hist"]
    command += ["-o", tmp_path / "o", "--unit-bases", "50000", "--metrics", metrics]
    done = run_seqmill(*command, *scheduler)
    assert (done.returncode, done.stderr) == (0, "")
    assert {name: (tmp_path / f"o.{name}").read_bytes() for name in counted} == counted
    document = json.loads(metrics.read_text())
    assert document["engine"]["workers"] == 2
    assert document["engine"]["exchange_bytes"] > 0
    assert document["totals"]["units_run"] > 6
    done = run_seqmill("kmers", "index", genome, "-o", tmp_path / "a.json", "-q")
    done = run_seqmill("kmers", "index", genome, "-o", tmp_path / "b.json", *scheduler)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    command = ["coverage", genome, "--windows", "2000", "--region-files"]
    command += ["-o", tmp_path / "c", "--unit-bases", "200000"]
    done = run_seqmill(*command, *scheduler)
    assert (done.returncode, done.stderr) == (0, "")
    assert contents(tmp_path / "c") == measured
    assert not list(tmp_path.glob("*.seqmill"))
    done = run_seqmill("kmers", "count", genome, "-o", "-", *scheduler)
    assert done.returncode == 2
    assert "standard input and output" in done.stderr


@pytest.mark.parametrize("stage", ["map", "reduce"])
def test_killed_worker_of_a_count(
    engine: DaskEngine, genome: Path, counted: dict[str, bytes], tmp_path: Path, stage: str
) -> None:
    state = tmp_path / "a" / "o.skm.seqmill"
    (tmp_path / "a").mkdir()
    with hunting(state, after=None if stage == "map" else "merge.json") as killed:
        made = count(genome, tmp_path / "a", engine=engine, unit_bases=50_000)
    assert made == counted
    assert killed


def test_killed_worker_of_coverage(
    engine: DaskEngine, genome: Path, measured: dict[str, bytes], tmp_path: Path
) -> None:
    with hunting(tmp_path / "a.seqmill") as killed:
        made = measure(genome, tmp_path / "a", engine=engine, unit_bases=100_000)
    assert made == measured
    assert killed


@pytest.mark.parametrize("job", [count, measure])
def test_worker_of_another_version(
    engine: DaskEngine, genome: Path, tmp_path: Path, job: Job
) -> None:
    address = next(iter(engine._client.nthreads()))
    engine._client.run(_pretend, "0.0.7", workers=[address])
    try:
        with pytest.raises(EngineError, match=r"has seqmill 0\.0\.7") as caught:
            job(genome, tmp_path / "a", engine=engine)
    finally:
        engine._client.run(_pretend, None, workers=[address])
    assert exit_code(caught.value) == 1
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("job", [count, measure])
def test_full_disk(engine: DaskEngine, small_disk: Path, tmp_path: Path, job: Job) -> None:
    # The first parts find room, all of them do not.
    is_count = job is count
    source = write_genome(tmp_path / "g.fa", bases=20_000 if is_count else 150_000)
    whole = job(source, tmp_path / "whole")
    options: dict[str, Any] = {"engine": engine, "unit_bases": 5_000 if is_count else 100_000}
    with pytest.raises(OSError, match="No space left") as caught:
        job(source, small_disk / "a", **options)
    assert exit_code(caught.value) == 74
    assert any("--resume" in note for note in caught.value.__notes__)
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    assert job(source, small_disk / "a", resume=True, **options) == whole
