"""Jobs on two worker processes of Dask: the same bytes, whatever happens to workers and client."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import seqmill
from seqmill.engine.dask import DaskEngine
from seqmill.engine.job import EngineJob
from seqmill.errors import EngineError, exit_code
from seqmill.report import JobReport
from tests.conftest import RunCommand
from tests.engine_jobs import hunting
from tests.engine_units import KIND

distributed = pytest.importorskip("distributed", reason="Dask is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(scope="module")
def many(example_data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Twelve small BAM files."""
    folder = tmp_path_factory.mktemp("many")
    return [shutil.copy(example_data / "small.bam", folder / f"{n}.bam") for n in range(12)]


@pytest.fixture(scope="module")
def whole(many: list[Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What they are converted to without an engine."""
    folder = tmp_path_factory.mktemp("whole")
    seqmill.convert(many, out_dir=folder)
    return contents(folder)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def run_units(engine: DaskEngine, state: Path, works: list[dict[str, Any]], **options: Any) -> Any:
    with JobReport("test") as report:
        job = EngineJob(engine=engine, report=report, state=state, **options)
        with job.open({"command": "test"}) as running:
            units = [running.make_unit("s", KIND, str(i), w) for i, w in enumerate(works)]
            outcome = running.run_stage("s", units)
            texts = [(running.journal.parts / unit.name).read_text() for unit in units]
            running.complete()
    return texts, outcome, report


def scheduler_of(engine: DaskEngine) -> str:
    return str(engine._client.scheduler.address)


def test_files_shards_and_one_output(
    engine: DaskEngine, many: list[Path], whole: dict[str, bytes], tmp_path: Path
) -> None:
    done = seqmill.convert(many, out_dir=tmp_path / "a", engine=engine)
    assert contents(tmp_path / "a") == whole
    assert done.metrics.engine["name"] == "dask"
    assert done.metrics.engine["workers"] == 2
    assert done.metrics.totals["units_run"] == 12
    assert done.metrics.detail["worker_cpu_s"] > 0
    seqmill.convert(many[0], index_only=True)
    seqmill.convert(many[0], out_dir=tmp_path / "b", shards=5)
    # A client object of Dask will do as well.
    seqmill.convert(many[0], out_dir=tmp_path / "c", shards=5, engine=engine._client)
    assert contents(tmp_path / "b") == contents(tmp_path / "c")
    seqmill.convert(many, tmp_path / "d.parquet")
    seqmill.convert(many, tmp_path / "e.parquet", scheduler=scheduler_of(engine))
    assert (tmp_path / "d.parquet").read_bytes() == (tmp_path / "e.parquet").read_bytes()
    assert not list(tmp_path.glob("*.seqmill"))


def test_command_takes_address_and_scheduler_file(
    engine: DaskEngine,
    many: list[Path],
    whole: dict[str, bytes],
    tmp_path: Path,
    run_seqmill: RunCommand,
) -> None:
    file = tmp_path / "scheduler.json"
    file.write_text(json.dumps({"type": "Scheduler", "address": scheduler_of(engine)}))
    metrics = tmp_path / "m.json"
    done = run_seqmill(
        *["convert", *many, "--out-dir", tmp_path / "a", "--engine", "dask"],
        *["--scheduler", file, "--metrics", metrics],
    )
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "a") == whole
    assert '"name": "dask"' in metrics.read_text()
    done = run_seqmill("convert", many[0], "-o", tmp_path / "x.parquet", "--engine", "strange")
    assert done.returncode == 2
    assert "takes dask, local" in done.stderr


def test_relative_tmpdir_is_that_of_the_client(
    engine: DaskEngine,
    many: list[Path],
    whole: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "room").mkdir()
    monkeypatch.chdir(tmp_path)
    seqmill.convert(many, out_dir="a", tmpdir="room", engine=engine)
    assert contents(tmp_path / "a") == whole
    assert not list((tmp_path / "room").iterdir())


def test_killed_worker_costs_only_its_unit(engine: DaskEngine, tmp_path: Path) -> None:
    works = [{"text": str(n), "log": str(tmp_path / f"log{n}")} for n in range(6)]
    works[2]["deaths"] = 2
    texts, _, _ = run_units(engine, tmp_path / "x.seqmill", works)
    assert texts == [str(n) for n in range(6)]
    assert (tmp_path / "log2").read_bytes() == b"..."
    assert not (tmp_path / "x.seqmill").exists()


def test_killed_worker_of_convert(
    engine: DaskEngine, many: list[Path], whole: dict[str, bytes], tmp_path: Path
) -> None:
    with hunting(tmp_path / "a.seqmill") as killed:
        seqmill.convert(many, out_dir=tmp_path / "a", engine=engine)
    assert contents(tmp_path / "a") == whole
    assert killed


def test_poisonous_unit_is_reported_with_its_descriptor(engine: DaskEngine, tmp_path: Path) -> None:
    works = [{"text": "a"}, {"text": "b", "deaths": 99, "log": str(tmp_path / "log")}]
    with pytest.raises(EngineError, match="not tried again") as caught:
        run_units(engine, tmp_path / "x.seqmill", works)
    # A worker that dies while it starts, on a busy machine, counts as well.
    assert 1 <= len((tmp_path / "log").read_bytes()) <= 3
    assert KIND in str(caught.value)
    assert exit_code(caught.value) == 1
    works[1]["deaths"] = 0
    texts, _, _ = run_units(engine, tmp_path / "x.seqmill", works, resume=True)
    assert texts == ["a", "b"]


def test_worker_of_another_version_is_refused(
    engine: DaskEngine, many: list[Path], tmp_path: Path
) -> None:
    address = next(iter(engine._client.nthreads()))
    engine._client.run(_pretend, "0.0.7", workers=[address])
    try:
        with pytest.raises(EngineError, match=r"has seqmill 0\.0\.7") as caught:
            seqmill.convert(many, out_dir=tmp_path / "a", engine=engine)
        assert caught.value.worker == address
    finally:
        engine._client.run(_pretend, None, workers=[address])
    assert not list((tmp_path / "a").iterdir())
    assert not (tmp_path / "a.seqmill").exists()


def _pretend(version: str | None) -> None:
    from types import SimpleNamespace  # noqa: PLC0415 - runs on a worker

    import seqmill.engine.dask as module  # noqa: PLC0415
    from seqmill import _native  # noqa: PLC0415

    module._native = SimpleNamespace(version=lambda: version) if version else _native


def test_nobody_answers(tmp_path: Path, many: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqmill.engine.dask._CONNECT_SECONDS", 1)
    with pytest.raises(EngineError, match="no scheduler answers") as caught:
        seqmill.convert(many, out_dir=tmp_path / "a", scheduler="tcp://127.0.0.1:9")
    assert exit_code(caught.value) == 75


def test_killed_client_is_resumed(engine: DaskEngine, tmp_path: Path) -> None:
    """A client that is killed leaves its units to nobody; the next one does what is missing."""
    logs = [tmp_path / f"log{n}" for n in range(16)]
    program = tmp_path / "client.py"
    program.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "from seqmill.engine.dask import connect\n"
        "from tests.interop.test_engine_dask import run_units\n"
        "if __name__ == '__main__':\n"
        "    with connect(sys.argv[1]) as engine:\n"
        "        works = [{'text': str(n), 'seconds': 0.2, 'log': log}\n"
        "                 for n, log in enumerate(sys.argv[3:])]\n"
        "        run_units(engine, Path(sys.argv[2]), works)\n"
    )
    state = tmp_path / "x.seqmill"
    arguments = [scheduler_of(engine), str(state), *map(str, logs)]
    root = str(Path(__file__).resolve().parents[2])
    client = subprocess.Popen(
        [sys.executable, str(program), *arguments],
        env={**os.environ, "PYTHONPATH": root},
    )
    journal = state / "units.jsonl"
    wait_for(lambda: journal.exists() and journal.read_bytes().count(b"\n") >= 3)
    client.send_signal(signal.SIGKILL)
    client.wait()
    works = [{"text": str(n), "seconds": 0.2, "log": str(log)} for n, log in enumerate(logs)]
    texts, outcome, _ = run_units(engine, state, works, resume=True)
    assert texts == [str(n) for n in range(16)]
    assert len(outcome.skipped) >= 3
    # What was in flight may have been done twice: at most the window of eight units that the
    # client had handed over when it was killed.
    assert sum(len(log.read_bytes()) for log in logs) <= 16 + 8


def wait_for(condition: Any, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def test_full_disk(
    engine: DaskEngine,
    many: list[Path],
    whole: dict[str, bytes],
    small_disk: Path,
) -> None:
    with pytest.raises(OSError, match="No space left") as caught:
        seqmill.convert(many, out_dir=small_disk / "a", engine=engine, fail_fast=True)
    assert exit_code(caught.value) == 74
    assert any("--resume" in note for note in caught.value.__notes__)
    assert not list((small_disk / "a").iterdir())
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    done = seqmill.convert(many, out_dir=small_disk / "a", engine=engine, resume=True)
    assert contents(small_disk / "a") == whole
    assert any(file.status == "skipped" for file in done.files)


def test_worker_that_does_not_share_the_storage(
    engine: DaskEngine, many: list[Path], tmp_path: Path
) -> None:
    """One more worker, in a mount namespace where another file system hides the folder."""
    place = tmp_path / "shared"
    place.mkdir()
    hide = f'mount -t tmpfs none "{place}" && exec "$@"'
    probe = ["unshare", "-m", "sh", "-c", hide, "sh", "true"]
    if subprocess.run(probe, capture_output=True, check=False).returncode != 0:
        pytest.skip("no mount namespaces here")
    python = sys.executable
    command = ["unshare", "-m", "sh", "-c", hide, "sh", python, "-m", "distributed.cli.dask_worker"]
    command += [scheduler_of(engine), "--no-nanny", "--nthreads", "1", "--no-dashboard"]
    worker = subprocess.Popen(
        [*command, "--local-directory", str(tmp_path)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: len(engine._client.nthreads()) == 3)
        with pytest.raises(EngineError, match="storage that they share") as caught:
            seqmill.convert(many, out_dir=place / "a", engine=engine)
        assert str(place) in str(caught.value)
        assert not list((place / "a").iterdir())
    finally:
        worker.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.wait(20)
        worker.kill()
        wait_for(lambda: len(engine._client.nthreads()) == 2)
