import json
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
import pytest

from seqmill._export import to_json
from seqmill.errors import CancelledError, InputError, RecordError
from seqmill.limits import Limit
from seqmill.progress import Progress
from seqmill.report import JobReport, Metrics, command_line, load_schema

STAGE = {
    "name": "encode", "threads": 2, "items": 3, "busy_s": 0.5, "wait_input_s": 0.1,
    "wait_output_s": 0.0, "wait_memory_s": 0.0, "bytes_in": 10, "bytes_out": 5,
    "queue_bytes_peak": 4,
}  # fmt: skip
CONSUMER = {"name": "batch", "peak": 100, "waits": 1, "wait_s": 0.25}


def engine_run(path: Path, output: str) -> dict[str, Any]:
    """What one run of the engine returns."""
    return {
        "inputs": [{"path": str(path), "kind": "bam", "fingerprint": "abc"}],
        "outputs": [{"path": output, "bytes": 50, "records": 7}],
        "totals": {"bytes_in": 100, "bytes_out": 50, "records_in": 10, "records_out": 7,
                   "records_filtered": 3, "wall_s": 99.0},
        "stages": [STAGE],
        "memory": {"overhead": 5, "reserved_peak": 1000, "consumers": [CONSUMER]},
        "io": {"read_calls": 2, "read_bytes": 100},
        "detail": {"blocks": 4, "simd": "avx2", "tags_other": {"XX": {"type": 2}},
                   "batches": {"rows_min": 3, "rows_mean": 4.5, "rows_max": 6}},
    }  # fmt: skip


def tell(report: JobReport, **values: Any) -> bool:
    """Do what the engine does while it runs."""
    return report.feed({"phase": "convert", "records": 10, "input_bytes": 90, **values})


def check(document: dict[str, Any]) -> None:
    """Compare a document, as it is exported, with the schema that ships."""
    jsonschema.Draft202012Validator(load_schema()).validate(json.loads(to_json(document)))


@pytest.fixture
def bam(tmp_path: Path) -> Path:
    path = tmp_path / "x.bam"
    path.write_bytes(b"x" * 100)
    return path


def test_schema_is_a_schema_and_refuses_what_it_should(bam: Path) -> None:
    jsonschema.Draft202012Validator.check_schema(load_schema())
    with JobReport("convert", inputs=[bam]) as report:
        pass
    document = json.loads(to_json(report.metrics.to_dict()))
    check(document)
    for section, key, value in (
        ("totals", "records_in", -1),
        ("totals", "surprise", 1),
        ("job", "status", "fine"),
        ("memory", "rss_peak", 1.5),
    ):
        wrong = json.loads(json.dumps(document))
        wrong[section][key] = value
        with pytest.raises(jsonschema.ValidationError):
            check(wrong)
    del document["engine"]
    with pytest.raises(jsonschema.ValidationError):
        check(document)


def test_document_of_a_job_that_went_well(bam: Path, tmp_path: Path) -> None:
    target = tmp_path / "m.json"
    with JobReport(
        "convert",
        options={"format": "parquet"},
        inputs=[bam],
        threads=Limit(2, "option"),
        memory=Limit(1 << 29, "all that the command has use for"),
        metrics=target,
    ) as report:
        tell(report)
        report.add_run(engine_run(bam, "x.parquet"))
    document = json.loads(target.read_text())
    check(document)
    assert document["job"]["status"] == "ok"
    assert document["job"]["exit_code"] == 0
    assert document["job"]["error"] is None
    assert document["job"]["argv"] is None
    assert document["inputs"] == [
        {
            "path": str(bam),
            "bytes": 100,
            "mtime_ns": str(bam.stat().st_mtime_ns),
            "kind": "bam",
            "fingerprint": "abc",
        }
    ]
    assert document["outputs"] == [{"path": "x.parquet", "bytes": 50, "records": 7, "xxh3": None}]
    assert document["options"] == {
        "format": "parquet",
        "threads": 2,
        "threads_source": "option",
        "memory": 1 << 29,
        "memory_source": "all that the command has use for",
    }
    totals = document["totals"]
    assert (totals["records_in"], totals["records_out"], totals["records_filtered"]) == (10, 7, 3)
    assert totals["bases"] is None
    assert 0 < totals["wall_s"] < 60
    assert totals["compression_ratio"] == 2.0
    assert totals["records_per_s"] == pytest.approx(10 / totals["wall_s"])
    assert document["memory"]["limit"] == 1 << 29
    assert document["memory"]["reserved_peak"] == 1000
    assert document["memory"]["rss_peak"] > 1 << 20
    assert document["memory"]["heap_peak"] is None
    assert document["detail"]["bottleneck"].startswith("encode limits the job: CPU-bound")
    assert report.metrics.to_dict()["inputs"][0]["mtime_ns"] == bam.stat().st_mtime_ns


def test_runs_add_up_and_peaks_do_not(bam: Path) -> None:
    with JobReport("convert", inputs=[bam]) as report:
        report.add_run(engine_run(bam, "x"))
        second = engine_run(bam, "y")
        second["memory"]["reserved_peak"] = 900
        second["detail"]["batches"] = {"rows_min": 2, "rows_mean": 5.0, "rows_max": 5}
        second["stages"] = [{**STAGE, "queue_bytes_peak": 9}]
        report.add_run(second)
    metrics = report.metrics
    assert metrics.totals["records_in"] == 20
    assert metrics.io["read_calls"] == 4
    assert metrics.memory["reserved_peak"] == 1000
    (stage,) = metrics.stages
    assert (stage["busy_s"], stage["threads"], stage["queue_bytes_peak"]) == (1.0, 2, 9)
    (consumer,) = metrics.memory["consumers"]
    assert (consumer["peak"], consumer["waits"], consumer["wait_s"]) == (100, 2, 0.5)
    assert metrics.detail["blocks"] == 8
    assert metrics.detail["simd"] == "avx2"
    assert metrics.detail["tags_other"] == {"XX": {"type": 4}}
    assert metrics.detail["batches"] == {"rows_min": 2, "rows_mean": None, "rows_max": 6}
    assert len(metrics.inputs) == 1
    assert [item["path"] for item in metrics.outputs] == ["x", "y"]
    check(metrics.to_dict())


class Ending(NamedTuple):
    error: BaseException
    status: str
    code: int


def run_to(ending: Ending, report: JobReport) -> None:
    with report:
        tell(report)
        raise ending.error


@pytest.mark.parametrize(
    "ending",
    [
        Ending(RecordError("x.bam: broken"), "failed", 65),
        Ending(FileNotFoundError(2, "no", "x"), "failed", 74),
        Ending(KeyboardInterrupt(), "cancelled", 130),
        Ending(CancelledError("stopped"), "cancelled", 130),
        Ending(SystemExit(143), "cancelled", 143),
        Ending(ZeroDivisionError("callback"), "failed", 1),
    ],
)
@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".prom"])
def test_job_that_did_not_end_well_writes_its_metrics_all_the_same(
    tmp_path: Path, bam: Path, suffix: str, ending: Ending
) -> None:
    target = tmp_path / f"m{suffix}"
    report = JobReport("convert", inputs=[bam], metrics=target)
    with pytest.raises(type(ending.error)):
        run_to(ending, report)
    _, status, code = ending
    document = report.metrics.to_dict()
    check(document)
    assert document["job"]["status"] == status
    assert document["job"]["exit_code"] == code
    assert document["job"]["error"].startswith(type(ending.error).__name__)
    # What the engine told last is all that is known of a job that returned nothing.
    assert document["totals"]["records_in"] == 10
    assert document["totals"]["bytes_in"] == 90
    text = target.read_text()
    if suffix == ".json":
        assert json.loads(text)["job"]["status"] == status
    elif suffix == ".jsonl":
        last = json.loads(text.splitlines()[-1])
        assert (last["kind"], last["metrics"]["job"]["status"]) == ("job_end", status)
    else:
        assert "seqmill_bytes_read_total 90\n" in text


def test_inputs_that_fail_alone_make_exit_code_1(bam: Path) -> None:
    with JobReport("convert", inputs=[bam, bam]) as report:
        report.plan(2)
        report.count_unit("run", "a.bam", seconds=1.0)
        report.fail_unit("b.bam", RecordError("b.bam: broken"))
        report.count_unit("skipped", "c.bam")
    metrics = report.metrics
    assert (metrics.job["status"], metrics.job["exit_code"]) == ("failed", 1)
    assert metrics.detail["failures"] == [
        {"input": "b.bam", "error": "RecordError: b.bam: broken", "exit_code": 65}
    ]
    assert (metrics.totals["units_total"], metrics.totals["units_run"]) == (2, 1)
    assert (metrics.totals["units_skipped"], metrics.totals["units_retried"]) == (1, None)
    assert metrics.warnings == ["b.bam: failed: RecordError: b.bam: broken"]
    check(metrics.to_dict())


def test_events_are_one_a_line_complete_and_in_order(bam: Path, tmp_path: Path) -> None:
    target = tmp_path / "m.jsonl"
    with JobReport("convert", inputs=[bam], metrics=target) as report:
        first = target.read_text().splitlines()
        assert [json.loads(line)["kind"] for line in first] == ["job_start"]
        tell(report)
        # Flushed at each event: a reader sees it at once.
        assert json.loads(target.read_text().splitlines()[-1])["kind"] == "sample"
        report.warn("odd header")
        tell(report, phase="write")
    events = [json.loads(line) for line in target.read_text().splitlines()]
    assert [event["kind"] for event in events] == [
        "job_start", "stage_start", "sample", "warning", "stage_end", "stage_start", "sample",
        "sample", "stage_end", "job_end",
    ]  # fmt: skip
    common = ["v", "t", "ts", "job", "kind", "host", "pid", "worker", "stage"]
    for event in events:
        assert list(event)[: len(common)] == common
        assert event["v"] == 1
        assert event["pid"] == os.getpid()
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", event["ts"])
    assert len({event["job"] for event in events}) == 1
    times = [event["t"] for event in events]
    assert times == sorted(times)
    assert events[2]["stage"] == "convert"
    assert events[-2]["stage"] == "write"


def test_events_on_stderr_with_progress_json(capsys: pytest.CaptureFixture[str]) -> None:
    with JobReport("convert", progress="json") as report:
        tell(report)
    captured = capsys.readouterr()
    assert captured.out == ""
    kinds = [json.loads(line)["kind"] for line in captured.err.splitlines()]
    assert kinds[0] == "job_start"
    assert kinds[-1] == "job_end"


PROMETHEUS_LINE = re.compile(
    r"# (HELP|TYPE) [a-z_]+ .+|[a-z_]+(\{[a-z_]+=\"[^\"]*\"(,[a-z_]+=\"[^\"]*\")*\})? [0-9.e+-]+"
)


def test_prometheus_text_is_replaced_at_every_sample(bam: Path, tmp_path: Path) -> None:
    target = tmp_path / "m.prom"
    with JobReport("convert", memory=Limit(512, "option"), metrics=target) as report:
        tell(report, rss=4096)
        running = target.read_text()
        reader = target.open()
        report.add_run(engine_run(bam, "x"))
    # Who reads while the file is replaced still has the old one, whole.
    with reader:
        assert reader.read() == running
    assert target.read_text() != running
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []
    assert 'seqmill_memory_bytes{kind="rss"} 4096\n' in running
    assert "seqmill_memory_limit_bytes 512\n" in running
    text = target.read_text()
    for line in (running + text).splitlines():
        assert PROMETHEUS_LINE.fullmatch(line), line
    assert "seqmill_bytes_read_total 100\n" in text
    assert 'seqmill_records_total{direction="filtered"} 3\n' in text
    assert 'seqmill_stage_seconds_total{stage="encode",state="busy"} 0.5\n' in text
    assert re.search(r'seqmill_job_info\{job="[0-9a-f]+",command="convert",version="', text)
    assert "None" not in text


def test_document_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    with JobReport("convert", metrics="-"):
        pass
    check(json.loads(capsys.readouterr().out))


def test_callback_hears_the_job_and_can_stop_it(bam: Path) -> None:
    seen = list[Progress]()
    with JobReport("convert", inputs=[bam], progress=seen.append) as report:
        assert tell(report)
    assert [progress.done for progress in seen] == [False, True]
    with JobReport("convert", progress=lambda _: False) as report:
        assert tell(report) is False


def test_exception_of_the_callback_at_the_end_is_the_job_s() -> None:
    def fail(progress: Progress) -> None:
        if progress.done:
            message = "late"
            raise ZeroDivisionError(message)

    report = JobReport("convert", progress=fail)
    with pytest.raises(ZeroDivisionError, match="late"), report:
        tell(report)
    assert report.metrics.job["status"] == "failed"


def test_wrong_suffix_and_missing_folder_are_told_before_the_job(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a metrics file") as caught:
        JobReport("convert", metrics=tmp_path / "m.txt")
    assert caught.value.option == "metrics"
    with pytest.raises(FileNotFoundError):
        JobReport("convert", metrics=tmp_path / "no" / "m.json")


def test_metrics_that_cannot_be_written_warn_and_do_not_stop_the_job(tmp_path: Path) -> None:
    folder = tmp_path / "goes"
    folder.mkdir()
    report = JobReport("convert", metrics=folder / "m.json")
    (folder / "m.json").unlink()
    folder.rmdir()
    with pytest.warns(UserWarning, match="metrics are not written any more"), report:
        pass
    assert report.metrics.job["status"] == "ok"


def test_arguments_of_the_command_are_kept() -> None:
    token = command_line.set(("seqmill", "convert", "x.bam"))
    try:
        with JobReport("convert") as report:
            pass
    finally:
        command_line.reset(token)
    assert report.metrics.job["argv"] == ["seqmill", "convert", "x.bam"]


def test_metrics_are_asked_for_too_early() -> None:
    with pytest.raises(RuntimeError, match="has not ended"):
        _ = JobReport("convert").metrics


def test_dictionary_is_a_copy() -> None:
    with JobReport("convert") as report:
        report.detail["blocks"] = 3
    metrics: Metrics = report.metrics
    metrics.to_dict()["detail"]["blocks"] = 4
    assert metrics.detail["blocks"] == 3


def test_integers_that_some_readers_would_round_are_strings() -> None:
    text = to_json({"a": 2**53 - 1, "b": 2**53, "c": -(2**53), "d": float("inf"), "e": True})
    assert json.loads(text) == {
        "a": 2**53 - 1,
        "b": "9007199254740992",
        "c": "-9007199254740992",
        "d": None,
        "e": True,
    }
