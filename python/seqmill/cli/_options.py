"""Options that several commands share, each spelled once, and the help page they make.

A command is made so::

    @click.command("convert", cls=JobCommand, examples=[Example("…", "seqmill convert …")])
    @click.argument("inputs", nargs=-1, required=True)
    @output_option("File to write; - is stdout.")
    @force_option
    @resource_options
    @display_options
    @pass_session
    def command(session, *, inputs, output, force, threads, memory, tmpdir): ...

What only concerns the display does not reach the function as parameters; it is in the session.
"""

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import click

from seqmill.errors import InputError

__all__ = [
    "Example",
    "JobCommand",
    "Session",
    "SizeType",
    "color_option",
    "display_options",
    "engine_options",
    "force_option",
    "grouped_option",
    "html_option",
    "metrics_option",
    "output_option",
    "pass_session",
    "region_options",
    "resource_options",
    "resume_option",
]

GroupName = Literal["input", "filter", "columns", "output", "resources", "display"]
ColorChoice = Literal["auto", "always", "never"]

_Command = TypeVar("_Command", bound=Callable[..., Any])
_Decorator = Callable[[_Command], _Command]

_TITLES: Final[dict[str, str]] = {
    "input": "Input options",
    "filter": "Filter options",
    "columns": "Column options",
    "output": "Output options",
    "resources": "Resource options",
    "display": "Display options",
}


@dataclass(slots=True)
class Session:
    """What the command line says about the display, and which command runs."""

    arguments: tuple[str, ...] = ()
    command: str | None = None
    color: ColorChoice = "auto"
    progress: Literal["auto", "bar", "plain", "json", "none"] = "auto"
    quiet: bool = False
    verbose: int = 0


pass_session = click.make_pass_decorator(Session, ensure=True)


@dataclass(frozen=True, slots=True)
class Example:
    """A line of the help page that can be copied; the tests run each.

    It may use the files that :func:`seqmill.simulate.write_example_data` makes, and pipes.
    """

    note: str
    line: str


class GroupedOption(click.Option):
    """An option that knows its section of the help page."""

    def __init__(self, *args: Any, group: GroupName, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group = group


EXIT_CODES: Final = (
    "0 done; 1 failed otherwise, or some of several inputs failed; 2 wrong usage; 65 bad input "
    "data; 74 input/output; 75 temporary, may be retried; 78 memory budget too small; 130, 143 "
    "interrupted; 141 closed pipe."
)


class JobCommand(click.Command):
    """A command whose help page has options in sections and examples at its end."""

    def __init__(self, *args: Any, examples: Sequence[Example] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a wrong option is told as one of this command."""
        ctx.ensure_object(Session).command = ctx.command_path
        _leave_arguments_for_the_report(ctx.ensure_object(Session))
        return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, a section for each group."""
        sections: dict[str, list[tuple[str, str]]] = {title: [] for title in _TITLES.values()}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and not isinstance(parameter, click.Argument):
                group = parameter.group if isinstance(parameter, GroupedOption) else "display"
                sections[_TITLES[group]].append(record)
        for title, records in sections.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples; they are never wrapped, so that they can be copied."""
        super().format_epilog(ctx, formatter)
        with formatter.section("Exit codes"):
            formatter.write_text(EXIT_CODES)
        if self.examples:
            with formatter.section("Examples"):
                lines = (f"  # {item.note}\n  {item.line}\n" for item in self.examples)
                formatter.write("\n".join(lines))


def _leave_arguments_for_the_report(session: Session) -> None:
    from seqmill.report import command_line  # noqa: PLC0415 - not needed by `--help`

    command_line.set(session.arguments or None)


def grouped_option(group: GroupName, *declarations: str, **attributes: Any) -> _Decorator[Any]:
    """Make an option in a section of the help page; otherwise like `click.option`."""
    return click.option(*declarations, cls=GroupedOption, group=group, **attributes)


class SizeType(click.ParamType[int | str]):
    """A memory size, or auto."""

    name = "size"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | str:
        from seqmill.limits import parse_size  # noqa: PLC0415 - not needed by `--help`

        if value == "auto":
            return "auto"
        try:
            return parse_size(value)
        except InputError as error:
            self.fail(str(error), param, ctx)


class _Threads(click.ParamType[int | str]):
    name = "n"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | str:
        from seqmill.limits import choose_threads  # noqa: PLC0415 - not needed by `--help`

        if value == "auto":
            return "auto"
        try:
            return choose_threads(value).value
        except InputError as error:
            self.fail(str(error), param, ctx)


_PATH: Final = click.Path(path_type=Path)

force_option = grouped_option(
    "output", "-f", "--force", is_flag=True, help="Replace an output that exists."
)
resume_option = grouped_option(
    "output", "--resume", is_flag=True, help="Go on where an interrupted run of this job ended."
)
metrics_option = grouped_option(
    "output",
    "--metrics",
    metavar="FILE",
    type=click.Path(allow_dash=True),
    help="Write figures of the job, also of one that fails: .json one document, .jsonl events, "
    ".prom Prometheus text.",
)


def _in_a_folder(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:  # noqa: ARG001
    # The page is made when the work is done, which may be hours later.
    if value is not None and not value.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fspath(value))
    return value


html_option = grouped_option(
    "output",
    "--html",
    metavar="FILE",
    type=_PATH,
    callback=_in_a_folder,
    help="Write a page with pictures.",
)


def output_option(text: str, *, required: bool = False) -> _Decorator[Any]:
    """Make `-o/--output`; `text` says what is written."""
    return grouped_option(
        "output",
        "-o",
        "--output",
        metavar="FILE",
        required=required,
        type=click.Path(allow_dash=True),
        help=text,
    )


def region_options(command: _Command) -> _Command:
    """Add `-r/--region` (parameter `regions`, a tuple) and `-R/--regions-file`."""
    return _add(
        command,
        grouped_option(
            "input",
            "-r",
            "--region",
            "regions",
            metavar="REGION",
            multiple=True,
            help="Only this region, such as chr1 or chr1:1,000-2,000 (1-based, inclusive); may be "
            "repeated.",
        ),
        grouped_option(
            "input",
            "-R",
            "--regions-file",
            metavar="FILE",
            type=_PATH,
            help="Only the regions of a BED file, or of a text file with one region a line.",
        ),
    )


threads_option = grouped_option(
    "resources",
    "-@",
    "--threads",
    type=_Threads(),
    metavar="N",
    help="Threads; auto is every CPU that this process may use.  [env: SEQMILL_THREADS; "
    "default: auto]",
)

memory_option = grouped_option(
    "resources",
    "-m",
    "--memory",
    type=SizeType(),
    metavar="SIZE",
    help="Memory of the whole process, such as 512M or 2G.  [env: SEQMILL_MEMORY; default: auto]",
)


def resource_options(command: _Command) -> _Command:
    """Add `-@/--threads`, `-m/--memory` and `--tmpdir`."""
    return _add(
        command,
        threads_option,
        memory_option,
        grouped_option(
            "resources",
            "--tmpdir",
            type=click.Path(path_type=Path, exists=True, file_okay=False),
            metavar="DIR",
            envvar="SEQMILL_TMPDIR",
            help="Folder for temporary files.  [env: SEQMILL_TMPDIR; default: beside the output]",
        ),
    )


def engine_options(command: _Command) -> _Command:
    """Add `--engine` and `--scheduler`."""
    return _add(
        command,
        grouped_option(
            "resources",
            "--engine",
            metavar="NAME",
            help="Where the work is done: local (this process) or dask; threads and memory are "
            "then those of each worker.  [default: local]",
        ),
        grouped_option(
            "resources",
            "--scheduler",
            metavar="WHERE",
            help="Where the engine is: tcp://HOST:PORT, tls://HOST:PORT, a scheduler file, or "
            "local:N for N worker processes here.",
        ),
    )


def display_options(command: _Command) -> _Command:
    """Add `--progress`, `-q/--quiet`, `-v/--verbose` and `--color`, all kept in the session."""
    return _add(
        command,
        grouped_option(
            "display",
            "--progress",
            type=click.Choice(["auto", "bar", "plain", "json", "none"]),
            default="auto",
            expose_value=False,
            callback=_keep("progress"),
            help="How progress is shown on stderr; auto is a bar on a terminal, else a line every "
            "30 s.  [default: auto]",
        ),
        grouped_option(
            "display",
            "-q",
            "--quiet",
            is_flag=True,
            expose_value=False,
            callback=_keep("quiet"),
            help="Show neither progress nor a summary.",
        ),
        grouped_option(
            "display",
            "-v",
            "--verbose",
            count=True,
            expose_value=False,
            callback=_keep("verbose"),
            help="Show where time and memory went.",
        ),
        color_option,
    )


def _keep(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(ctx: click.Context, param: click.Parameter, value: Any) -> None:  # noqa: ARG001
        session = ctx.ensure_object(Session)
        setattr(session, name, value)
        if session.quiet:
            session.progress = "none"

    return callback


def _keep_color(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    _keep("color")(ctx, param, value)
    # Whatever draws for us, now or in a library, asks these two variables.
    if value != "auto":
        on, off = ("FORCE_COLOR", "NO_COLOR") if value == "always" else ("NO_COLOR", "FORCE_COLOR")
        os.environ[on] = "1"
        os.environ.pop(off, None)


color_option = grouped_option(
    "display",
    "--color",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    expose_value=False,
    callback=_keep_color,
    is_eager=True,
    help="Use colours; auto obeys NO_COLOR and FORCE_COLOR, then asks the terminal.  "
    "[default: auto]",
)


def _add(command: _Command, *decorators: _Decorator[Any]) -> _Command:
    # The decorator next to the function is the last one on the help page.
    for decorator in reversed(decorators):
        command = decorator(command)
    return command
