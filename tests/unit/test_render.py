import io

import pytest

from seqmill._units import format_seconds, format_size
from seqmill.cli._options import Session
from seqmill.cli._render import print_table, show_metrics
from seqmill.limits import Limit
from seqmill.report import JobReport


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"), (1, "1 B"), (1023, "1023 B"), (1024, "1.00 KiB"), (10 << 10, "10.0 KiB"),
        (1023.6 * 1024, "1.00 MiB"), ((1 << 30) - 1, "1.00 GiB"), (3 << 40, "3.00 TiB"),
        (5 << 50, "5120 TiB"),
    ],
)  # fmt: skip
def test_size_is_written_with_three_digits(size: float, text: str) -> None:
    assert format_size(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.00 s"), (9.99, "9.99 s"), (12.34, "12.3 s"), (59.97, "1 min 00 s"),
        (3599, "59 min 59 s"), (3600, "1 h 00 min"), (90061, "25 h 01 min"),
    ],
)  # fmt: skip
def test_seconds_are_written_in_two_units(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_table_is_never_cut_in_a_file_and_markup_is_text() -> None:
    stream = io.StringIO()
    long = "x" * 120
    print_table(("name", "size"), [(long, "1"), ("[bold]a", "12")], right=("size",), stream=stream)
    lines = [line.rstrip() for line in stream.getvalue().splitlines() if line.strip()]
    assert any(long in line for line in lines)
    assert any("[bold]a" in line and line.endswith("12") for line in lines)
    assert "\x1b" not in stream.getvalue()


def test_metrics_for_people_say_where_time_and_memory_went(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with JobReport("convert", memory=Limit(64 << 20, "option")) as report:
        stage = {"name": "encode", "threads": 2, "busy_s": 1.5, "wait_input_s": 0.25}
        memory = {"reserved_peak": 1 << 20, "consumers": [{"name": "batch", "peak": 5 << 10}]}
        report.add_run({"stages": [stage], "memory": memory})
    show_metrics(report.metrics, Session())
    captured = capsys.readouterr()
    assert captured.out == ""
    for words in ("encode", "1.50 s", "0.25 s", "64.0 MiB", "batch", "5.00 KiB", "CPU-bound"):
        assert words in captured.err
