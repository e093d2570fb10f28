"""What people see on the terminal: messages on stderr, tables; rich is imported by tables alone."""

import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from seqmill.cli._options import ColorChoice, Session
    from seqmill.report import Metrics

__all__ = [
    "open_console",
    "print_table",
    "show_error",
    "show_metrics",
    "show_traceback",
    "show_warnings_in_one_line",
    "use_color",
]

_RED = "\x1b[1;31m"
_YELLOW = "\x1b[1;33m"
_PLAIN = "\x1b[0m"


def use_color(
    stream: IO[str], choice: "ColorChoice" = "auto", environ: Mapping[str, str] = os.environ
) -> bool:
    """Decide on colours: the option, then NO_COLOR, then FORCE_COLOR, then the terminal.

    Examples
    --------
    >>> import io
    >>> use_color(io.StringIO()), use_color(io.StringIO(), "always")
    (False, True)
    """
    if choice != "auto":
        return choice == "always"
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and environ.get("TERM") != "dumb"


def show_error(message: str, hints: Sequence[str], session: "Session") -> None:
    """Write one line for the error and one for each hint."""
    _write("error", message, _RED, session)
    for hint in hints:
        _write("hint", hint, "", session)


def show_traceback(error: BaseException) -> None:
    """Write where an error nobody foresaw comes from."""
    import traceback  # noqa: PLC0415 - almost never needed

    traceback.print_exception(error, file=sys.stderr)


def show_warnings_in_one_line(session: "Session") -> None:
    """Write Python's warnings as the command writes its errors."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        _write("warning", str(message), _YELLOW, session)

    warnings.showwarning = show


def _write(kind: str, message: str, color: str, session: "Session") -> None:
    if sys.stderr is None:
        return
    on, off = (color, _PLAIN) if color and use_color(sys.stderr, session.color) else ("", "")
    text = " ".join(message.split())
    sys.stderr.write(f"seqmill: {on}{kind}:{off} {text}\n")
    sys.stderr.flush()


def open_console(stream: IO[str], choice: "ColorChoice" = "auto") -> "Console":
    """Make a console of rich that obeys the same rules as every other line."""
    from rich.console import Console  # noqa: PLC0415 - only when something is drawn

    color = use_color(stream, choice)
    # A file or a pipe has no width; the widest table of any command must not be cut there.
    width = None if stream.isatty() else 160
    return Console(
        file=stream,
        width=width,
        force_terminal=color or None,
        no_color=not color,
        highlight=False,
        soft_wrap=False,
    )


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    title: str | None = None,
    right: Sequence[str] = (),
    stream: IO[str] | None = None,
    choice: "ColorChoice" = "auto",
) -> None:
    """Write a table.

    Parameters
    ----------
    columns
        Headings; all empty leaves the heading out.
    rows
        Cells as text.
    title
        Line above the table.
    right
        Headings of the columns whose numbers stand at the right edge.
    stream
        Where to; by default stdout.
    choice
        Value of `--color`.
    """
    from rich import box  # noqa: PLC0415 - only when something is drawn
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    stream = stream if stream is not None else sys.stdout
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_header=any(columns),
    )
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    open_console(stream, choice).print(table)


def show_metrics(metrics: "Metrics", session: "Session") -> None:
    """Write on stderr where time and memory of a job went (`-v`)."""
    from seqmill._units import format_seconds, format_size  # noqa: PLC0415 - only with `-v`

    def seconds(value: Any) -> str:
        return "" if value is None else format_seconds(value)

    def size(value: Any) -> str:
        return "" if value is None else format_size(value)

    waits = ("busy_s", "wait_input_s", "wait_output_s", "wait_memory_s")
    headings = ("stage", "threads", "busy", "waits for input", "for output", "for memory")
    stages = [
        [
            stage["name"],
            str(stage.get("threads") or ""),
            *(seconds(stage.get(key)) for key in waits),
        ]
        for stage in metrics.stages
    ]
    if stages:
        print_table(headings, stages, right=headings[1:], stream=sys.stderr, choice=session.color)
    memory = metrics.memory
    rows = [
        [f"limit ({memory['limit_source']})", size(memory["limit"])],
        ["peak of the process", size(memory["rss_peak"])],
        ["peak of private memory", size(memory["anon_peak"])],
        ["peak of reservations", size(memory["reserved_peak"])],
        *([item["name"], size(item.get("peak"))] for item in memory["consumers"]),
    ]
    print_table(
        ("memory", "bytes"),
        [row for row in rows if row[1]],
        right=("bytes",),
        stream=sys.stderr,
        choice=session.color,
    )
    if "bottleneck" in metrics.detail:
        sys.stderr.write(f"{metrics.detail['bottleneck']}\n")
