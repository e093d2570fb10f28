"""`seqmill profile`: where a command spends its CPU time, as a flame graph."""

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Final

import click

from seqmill._outputs import refuse_existing
from seqmill.cli._options import (
    Example,
    JobCommand,
    Session,
    color_option,
    force_option,
    grouped_option,
    pass_session,
)
from seqmill.errors import InputError

__all__ = ["command"]

_Samples = tuple[int, Counter[tuple[str, ...]], str]

_PERF: Final = ("perf", "record", "-q", "-e", "cpu-clock", "-g")
_PY_SPY: Final = ("py-spy", "record")
_MICROSECONDS: Final = 1_000_000


@click.command(
    "profile",
    cls=JobCommand,
    short_help="Draw where a command spends its CPU time.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    examples=[
        Example(
            "a flame graph of a conversion",
            "seqmill profile -o flame.svg -- convert small.bam -o small.parquet",
        ),
        Example(
            "CPU time by stage, which needs no other program",
            "seqmill profile --by stages -- convert small.bam -o small.parquet",
        ),
        Example(
            "more samples of a short run",
            "seqmill profile --frequency 999 -- fetch genome.fa.gz chr1:101-160",
        ),
    ],
)
@click.argument("words", metavar="[--] COMMAND...", nargs=-1, required=True)
@grouped_option(
    "input",
    "--by",
    type=click.Choice(["auto", "perf", "py-spy", "stages"]),
    default="auto",
    help="Who takes the samples: perf, py-spy (Python frames too), or the stages' own CPU clocks. "
    "auto is the first of these that is there.  [default: auto]",
)
@grouped_option(
    "input",
    "--frequency",
    metavar="HZ",
    type=click.IntRange(1, 10_000),
    default=99,
    help="Samples a second of each thread.  [default: 99]",
)
@grouped_option(
    "output",
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("profile.svg"),
    help="Picture to write.  [default: profile.svg]",
)
@force_option
@color_option
@pass_session
def command(
    session: Session,  # noqa: ARG001 - every command has one
    *,
    words: tuple[str, ...],
    by: str,
    frequency: int,
    output: Path,
    force: bool,
) -> int:
    """Run COMMAND and draw a flame graph of its CPU time.

    COMMAND is a command of seqmill with its options, or any program. It ends with the exit code of
    COMMAND. Memory and waiting are not in the picture; --metrics of each job tells of them.
    """
    refuse_existing(output, force=force)
    from seqmill._flame import draw_flame  # noqa: PLC0415 - not needed by `--help`

    chosen = _choose(by)
    with tempfile.TemporaryDirectory(prefix="seqmill-profile-") as folder:
        record = {"perf": _by_perf, "py-spy": _by_py_spy, "stages": _by_stages}[chosen]
        code, stacks, unit = record(_program(words), frequency, Path(folder))
    if not stacks:
        click.echo(
            "no samples: the command ended before the first one; raise --frequency", err=True
        )
    part = output.with_name(f".{output.name}.part")
    part.write_text(draw_flame(stacks, title=" ".join(words), unit=unit), encoding="utf-8")
    part.replace(output)
    click.echo(f"picture: {output} (by {chosen})", err=True)
    return code


def _choose(by: str) -> str:
    if by == "auto":
        return next((name for name in ("perf", "py-spy") if shutil.which(name)), "stages")
    if by != "stages" and shutil.which(by) is None:
        message = f"--by {by}: {by} is not on PATH; --by stages needs no other program"
        raise InputError(message, option="--by", value=by, allowed="perf, py-spy, stages")
    return by


def _program(words: tuple[str, ...]) -> list[str]:
    """Complete a command of seqmill to a program."""
    from seqmill.cli import COMMANDS, PROGRAM  # noqa: PLC0415 - it imports us

    if words[0] == PROGRAM:
        words = words[1:]
    elif words[0] not in COMMANDS:
        return list(words)
    return [sys.executable, "-m", "seqmill", *words]


def _by_perf(program: list[str], frequency: int, folder: Path) -> _Samples:
    from seqmill._flame import fold_perf  # noqa: PLC0415

    data = folder / "perf.data"
    told = subprocess.run(  # noqa: S603 - what the user asked for
        [*_PERF, "-F", str(frequency), "-o", str(data), "--", *program], check=False
    )
    if not data.exists():
        message = "perf may not take samples here (kernel.perf_event_paranoid); use --by stages"
        raise PermissionError(errno.EPERM, message, _PERF[0])
    script = subprocess.run(  # noqa: S603 - its own output
        [*_PERF[:1], "script", "--no-inline", "-i", str(data), "-F", "comm,tid,ip,sym"],
        capture_output=True,
        check=False,
    )
    text = script.stdout.decode("utf-8", "replace")
    return told.returncode, fold_perf(text.splitlines()), "samples"


def _by_py_spy(program: list[str], frequency: int, folder: Path) -> _Samples:
    from seqmill._flame import parse_folded  # noqa: PLC0415

    raw = folder / "stacks.txt"
    options = ["--native", "--format", "raw", "--rate", str(frequency), "-o", str(raw)]
    told = subprocess.run(  # noqa: S603 - as above
        [*_PY_SPY, *options, "--", *program], check=False
    )
    lines = raw.read_text("utf-8", "replace").splitlines() if raw.exists() else []
    return told.returncode, parse_folded(lines), "samples"


def _by_stages(program: list[str], frequency: int, folder: Path) -> _Samples:
    del frequency  # the clocks are exact
    figures = folder / "metrics.json"
    if program[1:3] != ["-m", "seqmill"]:
        message = "--by stages: only commands of seqmill have stages"
        raise InputError(message, option="--by", value="stages", allowed="perf, py-spy")
    told = subprocess.run(  # noqa: S603 - as above
        [*program, "--metrics", os.fspath(figures)], check=False
    )
    stacks: Counter[tuple[str, ...]] = Counter()
    if figures.exists():
        document = json.loads(figures.read_text("utf-8"))
        for stage in document["stages"]:
            if stage["busy_s"]:
                stacks[program[3], stage["name"]] += round(stage["busy_s"] * _MICROSECONDS)
    return told.returncode, stacks, "µs of CPU"
