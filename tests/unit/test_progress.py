import dataclasses
import io
from typing import Any

import pytest

from seqmill.errors import InputError
from seqmill.progress import (
    BarDisplay,
    PlainDisplay,
    Progress,
    ProgressFeed,
    describe,
    open_display,
)


class Clock:
    """Time that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def raw(**values: Any) -> dict[str, Any]:
    """What the engine tells."""
    return {
        "phase": "convert",
        "file_index": 0,
        "files": 1,
        "records": 0,
        "records_total": None,
        "input_bytes": 0,
        "input_total": 100,
        "output_bytes": 0,
        "rss": 1 << 20,
        "done": False,
        **values,
    }


def test_progress_has_the_fields_of_the_specification_and_is_frozen() -> None:
    names = [field.name for field in dataclasses.fields(Progress)]
    assert names == [
        "phase", "file", "file_index", "files", "records", "records_total", "fraction",
        "input_bytes", "input_total", "output_bytes", "rate", "eta", "rss", "done",
    ]  # fmt: skip
    with pytest.raises(dataclasses.FrozenInstanceError):
        Progress(phase="x").records = 1  # type: ignore[misc]


def test_sample_is_derived_from_what_the_engine_tells() -> None:
    clock, seen = Clock(), list[Progress]()
    feed = ProgressFeed([seen.append], files=["a.bam", "b.bam"], clock=clock)
    clock.now += 10
    assert feed(raw(file_index=1, records=500, input_bytes=25, output_bytes=7))
    assert seen == [
        Progress(
            phase="convert",
            file="b.bam",
            file_index=1,
            files=2,
            records=500,
            fraction=0.25,
            input_bytes=25,
            input_total=100,
            output_bytes=7,
            rate=50.0,
            eta=30.0,
            rss=1 << 20,
        )
    ]


def test_unknown_totals_are_none_and_records_serve_where_bytes_are_unknown() -> None:
    clock, seen = Clock(), list[Progress]()
    feed = ProgressFeed([seen.append], clock=clock)
    clock.now += 1
    feed(raw(phase="a", input_total=None, records=5))
    feed(raw(phase="b", input_total=None, records=5, records_total=10))
    assert (seen[0].fraction, seen[0].eta, seen[0].file) == (None, None, None)
    assert (seen[1].fraction, seen[1].eta) == (0.5, 1.0)


def test_samples_come_at_most_each_quarter_second_but_at_every_stage_edge() -> None:
    clock, seen = Clock(), list[Progress]()
    feed = ProgressFeed([seen.append], clock=clock)
    for number in range(100):
        feed(raw(records=number))
        clock.now += 0.01
    assert [progress.records for progress in seen] == [0, 25, 50, 75]
    feed(raw(phase="write", records=100))
    assert (seen[-1].phase, seen[-1].records) == ("write", 100)


def test_last_sample_is_done_and_complete_although_nothing_was_told_for_a_while() -> None:
    clock, seen = Clock(), list[Progress]()
    feed = ProgressFeed([seen.append], clock=clock)
    feed(raw(records=1))
    feed(raw(records=2, input_bytes=99))
    feed.finish()
    assert [(p.records, p.done, p.fraction) for p in seen] == [(1, False, 0.0), (2, True, 1.0)]


def test_job_that_told_nothing_still_ends_with_a_sample() -> None:
    seen = list[Progress]()
    ProgressFeed([seen.append], files=["a"]).finish()
    assert [(p.done, p.files) for p in seen] == [(True, 1)]


@pytest.mark.parametrize(
    ("answer", "goes_on"), [(None, True), (True, True), (0, True), (False, False)]
)
def test_only_false_cancels(answer: object, goes_on: bool) -> None:  # noqa: FBT001
    assert ProgressFeed([lambda _: answer])(raw()) is goes_on


def test_every_listener_hears_a_sample_that_one_of_them_cancels() -> None:
    seen = list[Progress]()
    assert ProgressFeed([lambda _: False, seen.append])(raw()) is False
    assert len(seen) == 1


def test_exception_of_a_callback_is_left_to_the_engine() -> None:
    def fail(_: Progress) -> None:
        message = "stop it"
        raise ZeroDivisionError(message)

    with pytest.raises(ZeroDivisionError, match="stop it"):
        ProgressFeed([fail])(raw())


def test_several_runs_count_on() -> None:
    clock, seen = Clock(), list[Progress]()
    feed = ProgressFeed([seen.append], files=["a", "b"], input_total=300, clock=clock)
    feed(raw(records=10, input_bytes=100, output_bytes=5))
    feed.end_run()
    clock.now += 1
    feed(raw(records=4, input_bytes=50, output_bytes=1))
    last = seen[-1]
    assert (last.file, last.file_index, last.files) == ("b", 1, 2)
    assert (last.records, last.input_bytes, last.output_bytes) == (14, 150, 6)
    assert last.fraction == 0.5


def test_plain_display_writes_at_stage_edges_each_30_s_and_at_the_end() -> None:
    clock, stream = Clock(), io.StringIO()
    display = PlainDisplay(stream, clock)
    for second in range(70):
        display.update(Progress(phase="convert", records=second))
        clock.now += 1
    display.update(Progress(phase="write", records=70))
    display.update(Progress(phase="write", records=70, done=True))
    display.close()
    assert stream.getvalue().splitlines() == [
        "convert: 0 records",
        "convert: 30 records",
        "convert: 60 records",
        "write: 70 records",
        "write: done, 70 records",
    ]


def test_description_says_what_is_known() -> None:
    progress = Progress(
        phase="convert",
        file="/data/b.bam",
        file_index=1,
        files=3,
        records=1234567,
        fraction=0.456,
        input_bytes=12 << 20,
        input_total=27 << 20,
        rate=350000.4,
        eta=12.34,
    )
    assert describe(progress) == (
        "convert: b.bam (2 of 3), 46 %, 1,234,567 records, 12.0 MiB of 27.0 MiB, "
        "350,000 records/s, 12.3 s left"
    )


def test_bar_draws_and_leaves_nothing_behind() -> None:
    stream = Terminal()
    display = BarDisplay(stream)
    display.update(Progress(phase="convert", records=5, input_bytes=50, input_total=100))
    display.update(Progress(phase="convert", records=9, input_bytes=90, input_total=100))
    display.close()
    display.close()
    text = stream.getvalue()
    assert "convert" in text
    assert "9 records" in text
    # The last thing done to the bar's line is to erase it.
    assert text.endswith("\x1b[2K")


def test_bar_without_any_total_still_draws() -> None:
    stream = Terminal()
    display = BarDisplay(stream)
    display.update(Progress(phase="convert", records=5))
    display.close()
    assert "5 records" in stream.getvalue()


def test_display_is_chosen_by_value_and_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    pipe, terminal = io.StringIO(), Terminal()
    for nothing in (False, "none", "json"):
        assert open_display(nothing, terminal) is None  # type: ignore[arg-type]
    assert open_display(True, pipe) is None
    assert isinstance(open_display(True, terminal), BarDisplay)
    assert isinstance(open_display("auto", pipe), PlainDisplay)
    assert isinstance(open_display("auto", terminal), BarDisplay)
    assert isinstance(open_display("plain", terminal), PlainDisplay)
    assert isinstance(open_display("bar", pipe), BarDisplay)
    with pytest.raises(InputError, match="'dots' is no way to show progress"):
        open_display("dots", pipe)  # type: ignore[arg-type]


def test_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(open_display("auto", Terminal()), PlainDisplay)
    assert open_display(True, Terminal()) is None
