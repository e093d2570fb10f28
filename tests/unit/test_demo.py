from __future__ import annotations

import json
import shutil
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

import seqmill
from seqmill import demo, simulate
from seqmill.errors import BgzfError, OutputExistsError
from seqmill.report import JobReport

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FEW_RECORDS = 7


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "_GENOME", simulate.GenomeOptions())
    monkeypatch.setattr(demo, "_PAIRS", 200)
    monkeypatch.setattr(demo, "_LONG_READS", 10)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], None]:
    """Put an engine in place that copies, and says how many records it saw."""

    def install(records: int | None) -> None:
        seen = {"short.bam": 400, "long.bam": 10}

        def convert(path: Path, output: Path, **options: Any) -> SimpleNamespace:
            assert options["force"]
            if path.name == "bad.bam":
                raise BgzfError("bad.bam: bad block")
            shutil.copy(path, output)
            with JobReport("convert", inputs=[path]) as report:
                report.add_run({"detail": {"overview": {"mapq": [0] * 60 + [5]}}})
            return SimpleNamespace(
                records=records or seen.get(path.name, 1), metrics=report.metrics
            )

        monkeypatch.setattr(seqmill, "convert", convert, raising=False)
        monkeypatch.setattr(seqmill, "scan_alignments", None, raising=False)
        monkeypatch.setattr(seqmill, "FastaStore", None, raising=False)
        monkeypatch.setattr(seqmill, "measure_coverage", None, raising=False)

    return install


@pytest.fixture
def without_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (one for one in seqmill.__all__ if one != "__version__"):
        monkeypatch.setattr(seqmill, name, None, raising=False)


@pytest.mark.usefixtures("without_engine")
def test_tour_shows_only_what_exists(tmp_path: Path) -> None:
    done = demo.run_demo(tmp_path / "tour")
    assert done.ok
    assert [result.what.split()[0] for result in done.results] == ["simulate"] * 3
    assert (tmp_path / "tour" / "short.bam.bai").exists()
    assert json.loads(json.dumps(done.metrics.to_dict()))["detail"]["steps"][0]["ok"]


@pytest.mark.usefixtures("without_engine")
def test_second_tour_replaces_the_first(tmp_path: Path) -> None:
    first = demo.run_demo(tmp_path)
    again = demo.run_demo(tmp_path)
    assert [r.result for r in first.results] == [r.result for r in again.results]


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(OutputExistsError, match="--force"):
        demo.run_demo(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_missing_input_is_told_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        demo.run_demo(tmp_path / "tour", inputs=[tmp_path / "absent.bam"])
    assert list(tmp_path.iterdir()) == []


def test_counts_are_compared_with_the_truth(
    tmp_path: Path, engine: Callable[[int | None], None]
) -> None:
    engine(FEW_RECORDS)
    done = demo.run_demo(tmp_path)
    assert not done.ok
    failed = [result for result in done.results if not result.ok]
    assert {result.what for result in failed} == {
        "convert short.bam to Parquet",
        "convert short.bam to Arrow",
        "convert long.bam to Parquet",
    }
    assert failed[0].result.startswith("7 records instead of the ")
    assert done.metrics.job["exit_code"] == 1


def test_bad_input_is_reported_and_the_others_go_on(
    tmp_path: Path, engine: Callable[[int | None], None]
) -> None:
    engine(None)
    for name in ("bad.bam", "good.bam"):
        (tmp_path / name).write_bytes(b"x")
    inputs = [tmp_path / "bad.bam", tmp_path / "good.bam"]
    done = demo.run_demo(tmp_path / "tour", inputs=inputs)
    assert [(result.ok, result.input_bytes) for result in done.results] == [
        (False, 1),
        (False, 1),
        (True, 1),
    ]
    assert done.results[0].cells()[4] == "FAILED: bad.bam: bad block"
    assert done.results[2].result == "good.parquet: 1 records, 1 B"
    assert list(done.pictured) == ["good.bam"]


def test_page_shows_the_table_and_the_pictures(
    tmp_path: Path, engine: Callable[[int | None], None]
) -> None:
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    from seqmill.cli.demo import _write_page  # noqa: PLC0415 - brings matplotlib

    engine(None)
    (tmp_path / "good.bam").write_bytes(b"x")
    done = demo.run_demo(tmp_path / "tour", inputs=[tmp_path / "good.bam"])
    _write_page(done, quiet=True)
    page = (tmp_path / "tour" / "index.html").read_text()
    assert "convert good.bam to Parquet" in page
    assert "good.bam: quality and length" in page


def test_windows_are_fetched_with_some_numbers_of_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("convert", "scan_alignments", "count_kmers"):
        monkeypatch.setattr(seqmill, name, None, raising=False)
    shown = demo.run_demo(tmp_path, threads=2)
    assert shown.ok
    assert [point["workers"] for point in shown.throughput] == [1, 2]
    assert all(point["windows_per_s"] > 0 for point in shown.throughput)
    words = [result.what for result in shown.results]
    fetched = [word for word in words if word.startswith("fetch windows")]
    assert fetched == ["fetch windows with 1 worker", "fetch windows with 2 workers"]
