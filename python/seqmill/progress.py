"""Progress of a job: one stream of samples, and those who listen to it.

The engine calls the feed on the thread that called the job, never from a worker. Displays write
to stderr alone, as stdout belongs to data.
"""

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING, Any, Final, Literal, Protocol

from seqmill._units import format_count, format_seconds, format_size
from seqmill.errors import InputError

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

__all__ = [
    "Progress",
    "ProgressArg",
    "ProgressCallback",
    "ProgressFeed",
    "ProgressMode",
    "open_display",
]

SAMPLE_SECONDS: Final = 0.25
"""Shortest time between two samples, stage edges and the end apart."""
PLAIN_SECONDS: Final = 30.0
"""Time between two lines of the plain display."""
_BAR_WIDTH: Final = 16
_NAME_WIDTH: Final = 20
_LONG_RECORD_BYTES: Final = 1 << 16
"""From here on the number of records says little of how fast a job is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a job is.

    Attributes
    ----------
    phase
        What it does now, such as ``"convert"``.
    file
        The input that is read now, None if there is none.
    file_index, files
        Its place among the inputs, from 0, and the number of inputs.
    records, records_total
        Records read, and their number in all if known.
    fraction
        Part of the work that is done, 0 to 1; None if it cannot be told.
    input_bytes, input_total
        Bytes of input consumed (compressed bytes for BGZF), and their number in all if known.
    output_bytes
        Bytes written.
    rate
        Records a second since the start; None at the very start.
    eta
        Seconds left; None if they cannot be told.
    rss
        Resident memory of the process in bytes, None where the system does not say.
    done
        Whether this is the last sample.
    """

    phase: str
    file: str | None = None
    file_index: int = 0
    files: int = 0
    records: int = 0
    records_total: int | None = None
    fraction: float | None = None
    input_bytes: int = 0
    input_total: int | None = None
    output_bytes: int = 0
    rate: float | None = None
    eta: float | None = None
    rss: int | None = None
    done: bool = False


ProgressCallback = Callable[[Progress], bool | None]
ProgressMode = Literal["auto", "bar", "plain", "json", "none"]
ProgressArg = bool | ProgressMode | ProgressCallback


class Display(Protocol):
    """Shows samples to a person."""

    def update(self, progress: Progress) -> None:
        """Show a sample."""

    def close(self) -> None:
        """Leave the terminal as it was."""


class ProgressFeed:
    """Turns what the engine tells into samples and passes them to the listeners.

    Calling it gives True to go on and False to cancel. An exception of a listener is left alone:
    the engine cancels the job and raises it again. A job of several engine runs calls
    :meth:`end_run` after each, so that counters go on from where the last run ended.

    Parameters
    ----------
    listeners
        Called with each sample; one that returns False (not merely nothing) cancels the job.
    files
        Names of all inputs in the order in which runs take them.
    input_total
        Bytes of all inputs; None leaves it to the engine, which knows one run.
    clock
        Seconds that never run backwards.

    Examples
    --------
    >>> seen = []
    >>> feed = ProgressFeed([seen.append], files=["x.bam"])
    >>> feed({"phase": "convert", "records": 5, "input_bytes": 25, "input_total": 100})
    True
    >>> seen[0].file, seen[0].records, seen[0].fraction
    ('x.bam', 5, 0.25)
    """

    def __init__(
        self,
        listeners: Sequence[Callable[[Progress], object]],
        *,
        files: Sequence[str] = (),
        input_total: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._listeners = listeners
        self._files = files
        self._input_total = input_total
        self._clock = clock
        self._started = clock()
        self._next_sample = self._started
        self._base = Progress(phase="")
        self._last: Progress | None = None

    @property
    def last(self) -> Progress | None:
        """The latest state, whether or not it was passed on."""
        return self._last

    def __call__(self, raw: Mapping[str, Any]) -> bool:
        """Take the engine's counters; give False to cancel."""
        progress = self._sample(raw)
        edge = self._last is None or progress.phase != self._last.phase
        self._last = progress
        now = self._clock()
        if not edge and now < self._next_sample:
            return True
        self._next_sample = now + SAMPLE_SECONDS
        return self._emit(progress)

    def end_run(self) -> None:
        """Let the next run of the engine count on from here."""
        if self._last is not None:
            self._base = replace(self._last, file_index=self._last.file_index + 1)

    def finish(self) -> None:
        """Pass on the last sample; asking to cancel has no effect any more."""
        last = self._last or Progress(phase="done", files=len(self._files))
        self._last = replace(last, done=True, fraction=1.0, eta=0.0)
        self._emit(self._last)

    def _emit(self, progress: Progress) -> bool:
        # Every listener hears every sample, also when one before it asks to cancel.
        answers = [listener(progress) for listener in self._listeners]
        return all(answer is not False for answer in answers)

    def _sample(self, raw: Mapping[str, Any]) -> Progress:
        base = self._base
        index = base.file_index + int(raw.get("file_index", 0))
        records = base.records + int(raw.get("records", 0))
        input_bytes = base.input_bytes + int(raw.get("input_bytes", 0))
        input_total = self._input_total
        if input_total is None and raw.get("input_total") is not None:
            input_total = base.input_bytes + int(raw["input_total"])
        records_total = raw.get("records_total")
        if records_total is not None:
            records_total = base.records + int(records_total)
        elapsed = self._clock() - self._started
        fraction = _fraction(input_bytes, input_total)
        if fraction is None:
            fraction = _fraction(records, records_total)
        return Progress(
            phase=str(raw.get("phase", "")),
            file=self._files[index] if index < len(self._files) else None,
            file_index=index,
            files=len(self._files) or int(raw.get("files", 0)),
            records=records,
            records_total=records_total,
            fraction=fraction,
            input_bytes=input_bytes,
            input_total=input_total,
            output_bytes=base.output_bytes + int(raw.get("output_bytes", 0)),
            rate=records / elapsed if elapsed > 0 else None,
            eta=elapsed * (1 - fraction) / fraction if fraction and elapsed > 0 else None,
            rss=raw.get("rss"),
        )


def _fraction(part: int, whole: int | None) -> float | None:
    return min(1.0, part / whole) if whole else None


def describe(progress: Progress) -> str:
    """Say in one line how far a job is.

    Examples
    --------
    >>> describe(Progress(phase="convert", file="x.bam", files=1, records=1200, fraction=0.5))
    'convert: x.bam, 50 %, 1,200 records'
    """
    parts = []
    if progress.file is not None:
        place = f" ({progress.file_index + 1} of {progress.files})" if progress.files > 1 else ""
        parts.append(f"{os.path.basename(progress.file)}{place}")  # noqa: PTH119 - also `-`
    if progress.done:
        parts.append("done")
    elif progress.fraction is not None:
        parts.append(f"{progress.fraction * 100:.0f} %")
    if progress.records or progress.done or not parts:
        one = "record" if progress.records == 1 else "records"
        parts.append(f"{format_count(progress.records)} {one}")
    if progress.input_total:
        parts.append(f"{format_size(progress.input_bytes)} of {format_size(progress.input_total)}")
    if progress.rate:
        parts.append(_speed(progress, progress.rate))
    if progress.eta and not progress.done:
        parts.append(f"{format_seconds(progress.eta)} left")
    return f"{progress.phase}: {', '.join(parts)}"


def _speed(progress: Progress, rate: float) -> str:
    """Say how fast it goes: in bytes of input where a record is a whole sequence.

    Examples
    --------
    >>> _speed(Progress(phase="convert", records=1000, input_bytes=100_000), 500.0)
    '500 records/s'
    >>> _speed(Progress(phase="count", records=16, input_bytes=32 << 20), 8.0)
    '16.0 MiB/s'
    """
    record_bytes = progress.input_bytes / progress.records if progress.records else 0
    if record_bytes < _LONG_RECORD_BYTES:
        return f"{format_count(rate)} records/s"
    return f"{format_size(rate * record_bytes)}/s"


def _shorten(path: str | None) -> str | None:
    """Cut the middle out of a long name, so that a bar fits beside it.

    Examples
    --------
    >>> _shorten("runs/HG002_illumina_wgs_10regions.merged.bam")
    'HG002_ill…merged.bam'
    """
    name = None if path is None else os.path.basename(path)  # noqa: PTH119 - also `-`
    if name is None or len(name) <= _NAME_WIDTH:
        return name
    return f"{name[: _NAME_WIDTH // 2 - 1]}…{name[-_NAME_WIDTH // 2 :]}"


class PlainDisplay:
    """Writes one line at each stage edge and every 30 seconds."""

    def __init__(self, stream: IO[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._phase: str | None = None
        self._next_line = 0.0

    def update(self, progress: Progress) -> None:
        """Write a line if it is time for one."""
        now = self._clock()
        if progress.phase == self._phase and not progress.done and now < self._next_line:
            return
        self._phase, self._next_line = progress.phase, now + PLAIN_SECONDS
        self._stream.write(f"{describe(progress)}\n")
        self._stream.flush()

    def close(self) -> None:
        """Do nothing: every line is complete."""


class BarDisplay:
    """Draws a bar with rich, which is imported at the first sample."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None

    def update(self, progress: Progress) -> None:
        """Draw the bar anew."""
        bar, task = self._open(progress)
        known = progress.input_total is not None
        line = describe(replace(progress, file=_shorten(progress.file))).partition(": ")[2]
        # On a narrow terminal the end of the line goes, not the bar.
        room = bar.console.width - len(progress.phase) - _BAR_WIDTH - 3
        bar.update(
            task,
            description=progress.phase,
            total=progress.input_total if known else progress.records_total,
            completed=progress.input_bytes if known else progress.records,
            line=line if len(line) <= room else f"{line[: max(0, room - 1)]}…",
        )
        bar.refresh()

    def close(self) -> None:
        """Stop drawing and take the bar away, so that it hides no message."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _open(self, progress: Progress) -> "tuple[RichProgress, TaskID]":
        if self._bar is None or self._task is None:
            from rich.console import Console  # noqa: PLC0415 - only when a bar is drawn
            from rich.progress import BarColumn, TextColumn  # noqa: PLC0415
            from rich.progress import Progress as Bar  # noqa: PLC0415

            # No refresh thread: a job's process may fork, and the feed redraws often enough.
            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(_BAR_WIDTH),
                TextColumn("{task.fields[line]}"),
                console=Console(file=self._stream),
                auto_refresh=False,
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task(progress.phase, line="")
        return self._bar, self._task


def open_display(
    progress: bool | ProgressMode,  # noqa: FBT001 - the public keyword is a bool or a word
    stream: IO[str] | None = None,
) -> Display | None:
    """Choose the display for a value of `progress`.

    Parameters
    ----------
    progress
        True shows a bar, but only on a terminal. ``"auto"`` is a bar on a terminal and plain
        lines elsewhere. ``"json"`` is no display: the report writes its events to the stream.
    stream
        Where to; by default stderr. A bar obeys NO_COLOR.

    Returns
    -------
    Display or None
        None if nothing is to be shown.

    Raises
    ------
    InputError
        If `progress` is none of these words.

    Examples
    --------
    >>> open_display("none") is None
    True
    """
    stream = stream if stream is not None else sys.stderr
    drawable = stream.isatty() and os.environ.get("TERM") != "dumb"
    if progress is False or progress in ("none", "json"):
        return None
    if progress is True:
        return BarDisplay(stream) if drawable else None
    if progress == "plain" or (progress == "auto" and not drawable):
        return PlainDisplay(stream)
    if progress in ("auto", "bar"):
        return BarDisplay(stream)
    allowed = "True, False, a callable, or auto, bar, plain, json, none"
    raise InputError(
        f"{progress!r} is no way to show progress; progress takes {allowed}",
        option="progress",
        value=progress,
        allowed=allowed,
    )
