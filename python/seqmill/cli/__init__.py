"""The `seqmill` command: finds the subcommand, runs it, turns what went wrong into an exit code.

A subcommand is imported only when it is invoked, so that `--help` and completion answer at once.
"""

import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Final, NoReturn

import click

from seqmill.cli import _render
from seqmill.cli._options import EXIT_CODES, Session
from seqmill.errors import ExitCode, InputError, InternalError, SeqmillError, exit_code

__all__ = ["main", "seqmill"]

PROGRAM: Final = "seqmill"
COMPLETE_VARIABLE: Final = "_SEQMILL_COMPLETE"

# The short help stands here as well as in the module: listing commands must not import them.
COMMANDS: Final = {
    "convert": "Turn alignments and reads into Parquet or Arrow.",
    "fetch": "Read windows of sequence out of many FASTA files.",
    "repeats": "Find families of interspersed repeats in a genome.",
    "pack": "Write genomes into AGC archives.",
    "unpack": "Read genomes out of AGC archives.",
    "agc": "Take the commands of the program agc.",
    "coverage": "Measure coverage by region, window and base.",
    "kmers": "Count k-mers exactly, and look them up.",
    "workflow": "Run k-mers and coverage as a Nextflow pipeline.",
    "demo": "Show in five minutes what seqmill can do.",
    "profile": "Draw where a command spends its CPU time.",
    "info": "Tell versions, CPU features and usable resources.",
    "completion": "Print the completion script of a shell.",
}

_EPILOG: Final = (
    "Each command has a page of its own, with examples to copy: seqmill COMMAND --help. New here? "
    f"seqmill demo runs all of them on simulated data.\n\nExit codes: {EXIT_CODES}"
)


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports the one that is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """List the commands that this installation has."""
        return [name for name in COMMANDS if importlib.util.find_spec(_module_of(name))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = importlib.import_module(_module_of(cmd_name)).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name]) for name in self.list_commands(ctx)])


def _module_of(name: str) -> str:
    return f"{__name__}.{name}"


@click.group(
    PROGRAM,
    cls=LazyGroup,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name=PROGRAM, prog_name=PROGRAM, message="%(prog)s %(version)s")
def seqmill() -> None:
    """Turn alignments and sequences into tables, fast and inside a memory budget."""


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command and leave the process with its exit code.

    Parameters
    ----------
    argv
        Arguments; by default those of the process.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    session = Session(arguments=(PROGRAM, *arguments))
    if COMPLETE_VARIABLE in os.environ:
        _complete()
    _end_on_signals()
    _render.show_warnings_in_one_line(session)
    try:
        code = _run(arguments, session)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001 - every end of a command has a code
        code = _explain(error, session)
    sys.exit(code)


def _run(arguments: list[str], session: Session) -> int:
    try:
        with seqmill.make_context(PROGRAM, arguments, obj=session) as context:
            result = seqmill.invoke(context)
    except click.exceptions.Exit as end:
        return end.exit_code
    return result if isinstance(result, int) else ExitCode.done


def _explain(error: BaseException, session: Session) -> int:
    """Say on stderr what went wrong and give the exit code."""
    if isinstance(error, BrokenPipeError | SystemExit):
        if isinstance(error, BrokenPipeError):
            _discard_stdout()
        elif error.code == ExitCode.terminated:
            _render.show_error("terminated", _notes(error), session)
        return exit_code(error)
    if isinstance(error, click.Abort | KeyboardInterrupt):
        _render.show_error("interrupted", _notes(error), session)
        return ExitCode.interrupted
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return ExitCode.usage
    if isinstance(error, click.ClickException):
        # Click writes sentences; our messages are lower case and without a full stop.
        text = error.format_message().removesuffix(".")
        _render.show_error(f"{text[:1].lower()}{text[1:]}", _usage_hints(error), session)
        return error.exit_code
    if isinstance(error, SeqmillError | OSError | MemoryError):
        _render.show_error(_message(error), _hints(error, session), session)
        return exit_code(error)
    _render.show_traceback(error)
    text = f"internal error: {type(error).__name__}: {error}"
    _render.show_error(text, ["please report this with the lines above"], session)
    return exit_code(error)


def _message(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{os.fsdecode(error.filename)}: {error.strerror[0].lower()}{error.strerror[1:]}"
    return str(error) or ("out of memory" if isinstance(error, MemoryError) else repr(error))


def _hints(error: BaseException, session: Session) -> list[str]:
    hints = _notes(error)
    if isinstance(error, InputError) and session.command is not None:
        hints.append(f"see '{session.command} --help'")
    if isinstance(error, InternalError):
        hints.append("this is a bug, please report it")
    return hints


def _notes(error: BaseException) -> list[str]:
    hint = getattr(error, "hint", None)
    return [*([str(hint)] if hint else []), *getattr(error, "__notes__", [])]


def _usage_hints(error: click.ClickException) -> list[str]:
    if isinstance(error, click.UsageError) and error.ctx is not None:
        return [f"see '{error.ctx.command_path} --help'"]
    return []


def _end_on_signals() -> None:
    """Stop in order at the first signal, at once at the second."""
    import signal  # noqa: PLC0415 - not needed by completion

    def end(signum: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        if signum == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(ExitCode.terminated)

    signal.signal(signal.SIGTERM, end)
    # A shell lets programs in the background ignore Ctrl-C, and so it stays.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, end)


def _discard_stdout() -> None:
    # What is still buffered would fail again, with a traceback, when the interpreter ends.
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    os.close(devnull)


def _complete() -> NoReturn:
    from click.shell_completion import shell_complete  # noqa: PLC0415

    instruction = os.environ[COMPLETE_VARIABLE]
    sys.exit(shell_complete(seqmill, {}, PROGRAM, COMPLETE_VARIABLE, instruction))
