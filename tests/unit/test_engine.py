"""The journal, the failure rules and the parts of jobs that divide into units."""

import errno
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import seqmill
from seqmill.engine import LocalEngine, Unit, UnitResult, list_engines, open_engine, run_unit
from seqmill.engine import registry as registry_module
from seqmill.engine import stage as stage_module
from seqmill.engine.failures import describe_error, rebuild_error
from seqmill.engine.job import EngineJob, RunningJob
from seqmill.engine.journal import Journal
from seqmill.engine.parts import publish
from seqmill.engine.protocol import DESCRIPTOR_BYTES_MAX, Engine, EngineInfo, WorkerInfo
from seqmill.errors import (
    BudgetError,
    CancelledError,
    ChangedError,
    EngineError,
    InputError,
    InternalError,
    OutputExistsError,
    SeqmillError,
    TruncatedError,
    exit_code,
)
from seqmill.kmers import run_count
from seqmill.report import JobReport
from tests.engine_units import KIND

FACTS = {"command": "test", "options": {"a": 1}, "inputs": ["x"]}


@pytest.fixture
def engine() -> Iterator[LocalEngine]:
    with LocalEngine(2) as opened:
        yield opened


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_module, "BACKOFF_SECONDS", (0.01, 0.02, 0.03))
    monkeypatch.setattr(stage_module, "_POLL_SECONDS", 0.02)


def run_job(
    engine: Engine, state: Path, works: list[dict[str, Any]], **options: Any
) -> tuple[list[str], Any, JobReport]:
    """Run a job of one stage; gives the texts of its parts, its outcome and its report."""
    keep_going = options.pop("keep_going", False)
    complete = options.pop("complete", True)
    facts = options.pop("facts", FACTS)
    with JobReport("test") as report:
        job = EngineJob(engine=engine, report=report, state=state, **options)
        with job.open(facts) as running:
            units = [running.make_unit("s", KIND, str(i), w) for i, w in enumerate(works)]

            def repair(names: Any) -> None:
                mend(running, units, names)

            outcome = running.run_stage("s", units, keep_going=keep_going, repair=repair)
            parts = [running.journal.parts / unit.name for unit in units]
            texts = [part.read_text() for part in parts if part.is_file()]
            if complete:
                running.complete()
    return texts, outcome, report


def mend(running: RunningJob, units: list[Unit], names: list[str]) -> None:
    for unit in units:
        if unit.name in names:
            running.journal.void(unit)
            running.run_stage("s", [unit])


def test_parts_of_all_units_and_no_state_behind(engine: LocalEngine, tmp_path: Path) -> None:
    works = [{"text": str(number)} for number in range(20)]
    texts, outcome, report = run_job(engine, tmp_path / "x.seqmill", works)
    assert texts == [str(number) for number in range(20)]
    assert len(outcome.results) == 20
    assert list(tmp_path.iterdir()) == []
    metrics = report.metrics
    assert metrics.engine["name"] == "local"
    assert metrics.engine["tasks"] == 20
    assert metrics.totals["units_run"] == 20


def test_resumed_job_runs_only_what_is_missing(engine: LocalEngine, tmp_path: Path) -> None:
    state = tmp_path / "x.seqmill"
    works = [{"text": str(number), "log": str(tmp_path / f"log{number}")} for number in range(5)]
    run_job(engine, state, works, complete=False)
    parts = sorted((state / "parts").glob("*.part"))
    parts[0].write_text("damaged")
    parts[1].unlink()
    texts, outcome, _ = run_job(engine, state, works, resume=True)
    assert sorted(texts) == ["0", "1", "2", "3", "4"]
    assert len(outcome.skipped) == 3
    assert sum(len(path.read_bytes()) for path in tmp_path.glob("log*")) == 7


def test_job_killed_while_its_state_goes_leaves_nothing_that_looks_like_parts(
    engine: LocalEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "x.seqmill"
    works = [{"text": str(number), "files": 2} for number in range(3)]

    def tear(path: Path, **_: Any) -> None:
        for file in list(path.rglob("*"))[::2]:
            if file.is_file():
                file.unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("seqmill.engine.parts.shutil.rmtree", tear)
        with pytest.raises(KeyboardInterrupt):
            run_job(engine, state, works)
    assert not state.exists()
    _, outcome, _ = run_job(engine, state, works, resume=True)
    assert len(outcome.skipped) == 0
    assert list(tmp_path.iterdir()) == []


def test_part_that_was_half_removed_is_made_anew(
    engine: LocalEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "x.seqmill"
    works = [{"text": "a", "files": 2}]
    run_job(engine, state, works, complete=False)
    part = next((state / "parts").glob("*.part"))
    next(part.iterdir()).unlink()

    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("seqmill.engine.parts.shutil.rmtree", fail)
        with pytest.raises(KeyboardInterrupt):
            run_job(engine, state, works, resume=True)
    run_job(engine, state, works, resume=True, complete=False)
    assert len(list(part.iterdir())) == 2


def test_torn_and_damaged_lines_of_the_journal_do_not_count(
    engine: LocalEngine, tmp_path: Path
) -> None:
    state = tmp_path / "x.seqmill"
    works = [{"text": str(number)} for number in range(4)]
    run_job(engine, state, works, complete=False)
    lines = (state / "units.jsonl").read_bytes().splitlines(keepends=True)
    third = lines[2].replace(b'"bytes":1', b'"bytes":2')
    (state / "units.jsonl").write_bytes(b"".join([*lines[:2], third, lines[3][:-9]]))
    _, outcome, _ = run_job(engine, state, works, resume=True, complete=False)
    assert len(outcome.skipped) == 2
    _, outcome, _ = run_job(engine, state, works, resume=True)
    assert len(outcome.skipped) == 4


def test_state_of_another_job_is_refused_by_what_differs(
    engine: LocalEngine, tmp_path: Path
) -> None:
    state = tmp_path / "x.seqmill"
    run_job(engine, state, [{"text": "a"}], complete=False)
    with pytest.raises(OutputExistsError, match="--resume goes on"):
        run_job(engine, state, [{"text": "a"}])
    other = {**FACTS, "options": {"a": 2}}
    with pytest.raises(InputError, match="other options"):
        run_job(engine, state, [{"text": "a"}], resume=True, facts=other)
    texts, outcome, _ = run_job(engine, state, [{"text": "b"}], force=True, facts=other)
    assert texts == ["b"]
    assert not outcome.skipped
    state.mkdir()
    (state / "checkpoint.json").write_text("{}")
    with pytest.raises(InputError, match="without an engine"):
        run_job(engine, state, [{"text": "a"}], resume=True)


def test_two_processes_do_not_work_on_one_job(tmp_path: Path) -> None:
    state = tmp_path / "x.seqmill"
    with Journal(state, FACTS), pytest.raises(BlockingIOError) as caught:
        Journal(state, FACTS, resume=True).__enter__()
    assert exit_code(caught.value) == 75
    with Journal(state, FACTS, resume=True) as again:
        again.remove()


def test_passing_errors_are_tried_again(engine: LocalEngine, tmp_path: Path) -> None:
    work = {"text": "a", "refusals": 3, "log": str(tmp_path / "log")}
    texts, _, report = run_job(engine, tmp_path / "x.seqmill", [work])
    assert texts == ["a"]
    assert report.metrics.totals["units_retried"] == 3
    work["log"] = str(tmp_path / "log2")
    with pytest.raises(ConnectionResetError) as caught:
        run_job(engine, tmp_path / "x.seqmill", [{**work, "refusals": 4}])
    assert exit_code(caught.value) == 75
    assert any("in unit '0'" in note for note in caught.value.__notes__)


def test_same_error_twice_ends_the_job(engine: LocalEngine, tmp_path: Path) -> None:
    log = tmp_path / "log"
    work = {"text": "a", "failures": 9, "log": str(log)}
    with pytest.raises(InternalError, match="failure again"):
        run_job(engine, tmp_path / "x.seqmill", [work])
    assert len(log.read_bytes()) == 2
    # Numbers of processes and bytes in a message are no other failure.
    log.unlink()
    with pytest.raises(InternalError, match="failure 1"):
        run_job(engine, tmp_path / "y.seqmill", [{**work, "words": "numbered"}])
    assert len(log.read_bytes()) == 2
    log.unlink()
    texts, _, _ = run_job(engine, tmp_path / "z.seqmill", [{**work, "failures": 2, "words": "new"}])
    assert texts == ["a"]


def test_failures_that_never_repeat_end_the_job_too(engine: LocalEngine, tmp_path: Path) -> None:
    log = tmp_path / "log"
    work = {"text": "a", "failures": 99, "words": "new", "log": str(log)}
    with pytest.raises(InternalError, match="failure"):
        run_job(engine, tmp_path / "x.seqmill", [work])
    assert len(log.read_bytes()) == 3


def test_others_go_on_when_one_fails(engine: LocalEngine, tmp_path: Path) -> None:
    works = [{"text": "a"}, {"text": "b", "failures": 9, "log": str(tmp_path / "log")}]
    texts, outcome, _ = run_job(engine, tmp_path / "x.seqmill", works, keep_going=True)
    assert texts == ["a"]
    assert len(outcome.failures) == 1


def test_full_disk_keeps_the_state(engine: LocalEngine, tmp_path: Path) -> None:
    state, room = tmp_path / "x.seqmill", tmp_path / "room"
    # State is kept for what is done: the first unit must be noted before the second fails.
    works = [{"text": "a"}, {"text": "b", "full": str(room), "seconds": 0.5}]
    with pytest.raises(OSError, match="No space left") as caught:
        run_job(engine, state, works)
    assert exit_code(caught.value) == 74
    assert any("--resume" in note for note in caught.value.__notes__)
    assert not list((state / "parts").glob("*.tmp.*"))
    room.touch()
    texts, outcome, _ = run_job(engine, state, works, resume=True)
    assert texts == ["a", "b"]
    assert len(outcome.skipped) <= 1


def test_damaged_part_that_another_unit_needs_is_made_anew(
    engine: LocalEngine, tmp_path: Path
) -> None:
    state = tmp_path / "x.seqmill"
    works = [{"text": "whole"}]
    run_job(engine, state, works, complete=False)
    (part,) = (state / "parts").glob("*.part")
    with JobReport("test") as report:
        job = EngineJob(engine=engine, report=report, state=state, resume=True)
        with job.open(FACTS) as running:
            first = running.make_unit("s", KIND, "0", works[0])
            running.run_stage("s", [first])
            part.write_text("damaged")
            second = running.make_unit("t", KIND, "1", {"text": "b", "needs": part.name})
            running.run_stage("t", [second], repair=lambda names: mend(running, [first], names))
            running.complete()
            assert part.read_text() == "whole"
    assert report.metrics.totals["units_retried"] == 1


def test_damaged_part_that_many_units_need_is_made_anew_once(
    engine: LocalEngine, tmp_path: Path
) -> None:
    """Those that found it damaged before do not take it away from those that read it since."""
    state = tmp_path / "x.seqmill"
    mended: list[str] = []
    with JobReport("test") as report:
        job = EngineJob(engine=engine, report=report, state=state)
        with job.open(FACTS) as running:
            first = running.make_unit("s", KIND, "0", {"text": "whole"})
            running.run_stage("s", [first])
            part = state / "parts" / first.name
            part.write_text("damaged")

            def repair(names: Sequence[str]) -> None:
                mended.extend(names)
                mend(running, [first], list(names))

            units = [
                running.make_unit("t", KIND, str(n), {"text": str(n), "needs": part.name})
                for n in range(12)
            ]
            running.run_stage("t", units, repair=repair)
            running.complete()
    assert mended == [first.name]


def test_unit_that_ended_three_workers_is_not_tried_again(tmp_path: Path) -> None:
    unit = make_unit(tmp_path, {"text": "a"})
    attempts = tmp_path / f"{unit.key}.attempts"
    attempts.write_text("begin h:1:a\nend h:1:a\nbegin h:2:b\nbegin h:3:c\n")
    assert run_unit(unit.to_dict())["error"] is None
    attempts.write_text("begin h:1:a\nbegin h:2:b\nbegin h:3:c\n")
    told = run_unit(unit.to_dict())["error"]
    assert told["class"] == "EngineError"
    assert "ended 3 workers" in told["message"]
    assert '"text": "a"' in told["message"]


def make_unit(folder: Path, work: dict[str, Any], **changes: Any) -> Unit:
    values: dict[str, Any] = {
        "key": "k",
        "stage": "s",
        "kind": KIND,
        "description": "d",
        "work": work,
        "folder": str(folder),
        "name": "k.part",
        "version": seqmill.__version__,
        **changes,
    }
    return Unit(**values)


def test_worker_refuses_other_versions_and_folders_it_does_not_see(tmp_path: Path) -> None:
    told = run_unit(make_unit(tmp_path, {}, version="0.0.1").to_dict())["error"]
    assert "the client 0.0.1" in told["message"]
    told = run_unit(make_unit(tmp_path / "absent", {}).to_dict())["error"]
    assert "storage that they share" in told["message"]
    told = run_unit(make_unit(tmp_path, {}, kind="strange").to_dict())["error"]
    assert "no units of kind 'strange'" in told["message"]


@pytest.mark.parametrize(
    ("change", "text"), [({"version": "9.9"}, "has seqmill 9.9"), ({"sees_probe": False}, "share")]
)
def test_wrong_workers_are_told_before_the_first_unit(
    tmp_path: Path, change: dict[str, Any], text: str
) -> None:
    class Wrong(LocalEngine):
        def info(self, probe: str, token: str) -> EngineInfo:
            (worker,) = super().info(probe, token).workers
            kept = {name: getattr(worker, name) for name in WorkerInfo.__slots__}
            return EngineInfo(name="x", address=None, workers=[WorkerInfo(**{**kept, **change})])

    with Wrong() as engine, pytest.raises(EngineError, match=text) as caught:
        run_job(engine, tmp_path / "x.seqmill", [{"text": "a"}])
    assert exit_code(caught.value) == 1
    assert list(tmp_path.iterdir()) == []


def test_late_run_of_a_unit_is_harmless_unless_its_bytes_differ(tmp_path: Path) -> None:
    target = tmp_path / "p"
    (tmp_path / "one").write_text("same")
    first = publish(tmp_path / "one", target)
    (tmp_path / "two").write_text("same")
    assert publish(tmp_path / "two", target) == first
    (tmp_path / "three").write_text("other")
    with pytest.raises(InternalError, match="different bytes"):
        publish(tmp_path / "three", target)
    assert target.read_text() == "same"


def test_parts_may_be_folders(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "in").mkdir(parents=True)
        (tmp_path / name / "in" / "file").write_text("x")
    files = publish(tmp_path / "one", tmp_path / "p")
    assert [(item["name"], item["bytes"]) for item in files] == [("p/in/file", 1)]
    assert publish(tmp_path / "two", tmp_path / "p") == files


def test_descriptors_stay_small(tmp_path: Path) -> None:
    with Journal(tmp_path / "x.seqmill", FACTS) as journal:
        work = {"names": [f"barcode{number}" for number in range(10_000)], "text": "a"}
        unit = journal.make_unit("s", KIND, "d" * 5000, work)
        assert len(json.dumps(unit.to_dict())) < DESCRIPTOR_BYTES_MAX
        assert run_unit(unit.to_dict())["error"] is None
        again = journal.make_unit("s", KIND, "d" * 5000, work)
        assert again.key == unit.key
        assert journal.make_unit("s", KIND, "d" * 5001, work).key != unit.key
        journal.remove()


@pytest.mark.parametrize(
    "error",
    [
        TruncatedError("x: cut", path="x", offset=3, record=7),
        FileNotFoundError(errno.ENOENT, "No such file or directory", "/x"),
        BudgetError("too small", needed=5, limit=3, account="a"),
        MemoryError("much"),
    ],
)
def test_errors_survive_the_way_back(error: BaseException) -> None:
    again = rebuild_error(json.loads(json.dumps(describe_error(error))))
    assert type(again) is type(error)
    assert exit_code(again) == exit_code(error)
    if isinstance(error, SeqmillError | OSError):
        assert vars(again) == vars(error)
        assert str(again) == str(error)


def test_engines_are_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with open_engine(None) as none, open_engine("local") as local:
        assert (none, local) == (None, None)
    with pytest.raises(InputError, match="takes dask, local"), open_engine("strange"):
        pass
    with pytest.raises(InputError, match="has no scheduler"), open_engine("local", "tcp://x:1"):
        pass
    made: list[str | None] = []

    def make(scheduler: str | None) -> LocalEngine:
        made.append(scheduler)
        return LocalEngine()

    point = SimpleNamespace(name="mine", load=lambda: make)
    monkeypatch.setattr(registry_module, "entry_points", lambda group: [point])  # noqa: ARG005
    assert "mine" in list_engines()
    with open_engine("mine", "there") as engine:
        assert isinstance(engine, Engine)
    assert made == ["there"]


def test_dask_says_what_it_needs() -> None:
    pytest.importorskip("distributed")
    with pytest.raises(InputError, match="needs a scheduler"), open_engine("dask"):
        pass
    with pytest.raises(InputError, match="local:2"), open_engine("dask", "local:many"):
        pass
    with pytest.raises(InputError, match="no cluster and no client"), open_engine(7):
        pass


@pytest.mark.parametrize(
    ("scheduler", "told"),
    [
        ("nosuch.json", "'nosuch.json' is no scheduler"),
        ("", "'' is no scheduler"),
        ("foo://host:1", "neither a file"),
        ("tcp://127.0.0.1:99999", "neither a file"),
        ("tcp://me:secret@127.0.0.1:8786", "'127.0.0.1:8786' is no scheduler"),
        ("tls://127.0.0.1:8786", "no certificates"),
        ("{}", "no scheduler file"),
        ("[", "no scheduler file"),
    ],
)
def test_what_is_no_scheduler_is_told_at_once(scheduler: str, told: str, tmp_path: Path) -> None:
    """Dask itself waits for a minute, and again when the process ends."""
    pytest.importorskip("distributed")
    if scheduler in ("{}", "["):
        (tmp_path / "s.json").write_text(scheduler)
        scheduler = str(tmp_path / "s.json")
    with pytest.raises(InputError, match=told) as caught, open_engine("dask", scheduler):
        pass
    assert caught.value.option == "scheduler"
    assert "secret" not in str(caught.value)


def test_convert_is_the_same_on_units(
    engine: LocalEngine, tmp_path: Path, example_data: Path
) -> None:
    inputs = [str(example_data / name) for name in ("small.bam", "long.bam")]
    whole = seqmill.convert(inputs, out_dir=tmp_path / "a")
    done = seqmill.convert(inputs, out_dir=tmp_path / "b", engine=engine)
    assert done.records == whole.records
    assert done.metrics.totals["records_in"] == whole.metrics.totals["records_in"]
    for path in (tmp_path / "a").iterdir():
        assert (tmp_path / "b" / path.name).read_bytes() == path.read_bytes()
    again = seqmill.convert(inputs, out_dir=tmp_path / "b", engine=engine, resume=True)
    assert [file.status for file in again.files] == ["skipped", "skipped"]
    with pytest.raises(OutputExistsError):
        seqmill.convert(inputs, out_dir=tmp_path / "b", engine=engine)
    one = tmp_path / "one.arrow"
    seqmill.convert(inputs, one, engine=engine)
    seqmill.convert(inputs, tmp_path / "two.arrow")
    assert one.read_bytes() == (tmp_path / "two.arrow").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "one.arrow", "two.arrow"]


def test_shards_and_partitions_are_the_same_on_units(
    engine: LocalEngine, tmp_path: Path, example_data: Path
) -> None:
    source = tmp_path / "small.bam"
    shutil.copy(example_data / "small.bam", source)
    with pytest.raises(InputError, match="needs a chunk index"):
        seqmill.convert(source, out_dir=tmp_path / "a", shards=1)
    seqmill.convert(source, index_only=True)
    for options in ({"shards": 3}, {"partition_by": "rname"}):
        shutil.rmtree(tmp_path / "a", ignore_errors=True)
        shutil.rmtree(tmp_path / "b", ignore_errors=True)
        whole = seqmill.convert(source, out_dir=tmp_path / "a", **options)
        done = seqmill.convert(source, out_dir=tmp_path / "b", engine=engine, **options)
        assert done.records == whole.records == 835
        paths = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.parquet"))
        made = sorted(p.relative_to(tmp_path / "b") for p in (tmp_path / "b").rglob("*.parquet"))
        assert paths == made
        for path in paths:
            assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes()


def test_bad_input_on_units_fails_as_it_does_alone(
    engine: LocalEngine, tmp_path: Path, example_data: Path
) -> None:
    bad = tmp_path / "bad.bam"
    bad.write_bytes((example_data / "small.bam").read_bytes()[:5000])
    with pytest.raises(TruncatedError) as alone:
        seqmill.convert(bad, tmp_path / "x.parquet")
    with pytest.raises(TruncatedError) as divided:
        seqmill.convert(bad, tmp_path / "x.parquet", engine=engine)
    assert str(divided.value) == str(alone.value)
    assert vars(divided.value).items() >= {"path": alone.value.path}.items()
    good = str(example_data / "small.bam")
    done = seqmill.convert([good, bad], out_dir=tmp_path / "out", engine=engine)
    assert [file.status for file in done.files] == ["done", "failed"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.bam", "out"]
    with pytest.raises(InputError, match="not standard input"):
        seqmill.convert("-", tmp_path / "x.parquet", engine=engine)
    with pytest.raises(InputError, match="absolute path"):
        seqmill.convert(good, tmp_path / "x.parquet", engine=engine, reference="ref.fa")


def test_one_of_several_inputs_may_be_missing(
    engine: LocalEngine, tmp_path: Path, example_data: Path
) -> None:
    inputs = [example_data / "small.bam", tmp_path / "none.bam"]
    done = seqmill.convert(inputs, out_dir=tmp_path / "out", engine=engine)
    assert [file.status for file in done.files] == ["done", "failed"]
    assert isinstance(done.files[1].error, FileNotFoundError)
    with pytest.raises(FileNotFoundError):
        seqmill.convert(tmp_path / "none.bam", tmp_path / "x.parquet", engine=engine)
    # What is wrong for every output is told as such, as it is without an engine.
    shutil.copy(example_data / "small.bam", tmp_path / "a.bam")
    with pytest.raises(InputError, match="chunk index"):
        seqmill.convert(tmp_path / "a.bam", out_dir=tmp_path / "s", shards=2, engine=engine)


def test_finished_outputs_outlive_the_input_that_ends_the_job(
    tmp_path: Path, example_data: Path
) -> None:
    bad = tmp_path / "bad.bam"
    bad.write_bytes((example_data / "small.bam").read_bytes()[:5000])
    inputs = [example_data / "small.bam", bad]
    with LocalEngine(1) as engine, pytest.raises(TruncatedError):
        seqmill.convert(inputs, out_dir=tmp_path / "out", engine=engine, fail_fast=True)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["small.parquet"]


def test_progress_callback_can_stop_a_job(tmp_path: Path, example_data: Path) -> None:
    inputs = [example_data / "small.bam", example_data / "long.bam"]
    with LocalEngine(1) as engine, pytest.raises(CancelledError, match="asked to stop"):
        seqmill.convert(inputs, out_dir=tmp_path / "out", engine=engine, progress=lambda _: False)
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("job", ["convert", "kmers", "coverage"])
def test_input_that_is_replaced_meanwhile_gives_no_mixture(
    job: str, tmp_path: Path, example_data: Path
) -> None:
    source = tmp_path / ("genome.fa" if job == "kmers" else "small.bam")
    shutil.copy(example_data / source.name, source)

    def replace(_: object) -> None:
        if (tmp_path / "new").exists():
            return
        shutil.copy(source, tmp_path / "new")
        shutil.copy(tmp_path / "new", source)

    output = tmp_path / "out"
    jobs = {
        "convert": lambda **how: seqmill.convert(source, output, format="arrow", **how),
        "kmers": lambda **how: run_count(source, [("skm", str(output))], unit_bases=9000, **how),
        "coverage": lambda **how: seqmill.measure_coverage(
            source, windows=1000, output=output, unit_bases=9000, **how
        ),
    }
    with LocalEngine(1) as engine, pytest.raises(ChangedError, match="while the job ran"):
        jobs[job](engine=engine, progress=replace)
    left = {path.name for path in tmp_path.iterdir() if path.is_file()}
    assert left <= {source.name, "new"}
    assert not output.exists()
    assert not (tmp_path / "out.seqmill").exists()


def test_results_are_plain_records() -> None:
    result = UnitResult(key="k", files=({"name": "a", "bytes": 1, "xxh3": "0"},))
    assert UnitResult(**json.loads(json.dumps(result.to_dict()))).files[0]["name"] == "a"
