"""Outputs of jobs: what is there already, and the state beside them of one that did not end."""

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from seqmill.errors import InputError, OutputExistsError

__all__ = ["refuse_existing", "refuse_inputs", "state_directory", "telling_of_state"]


def refuse_existing(path: str | os.PathLike[str], *, force: bool) -> None:
    """Refuse to go on where an output, or a link in its place, is there already.

    Raises
    ------
    InputError
        If it is a device or a pipe: a complete output would take its place.
    OutputExistsError
        Names the output, unless `force` allows to replace it.

    Examples
    --------
    >>> refuse_existing("no-such-file.parquet", force=False)
    """
    name = os.fspath(path)
    if _is_device(name):
        message = f"{name}: a device or pipe is no output; - writes to standard output"
        raise InputError(message, option="output", value=name)
    if not force and os.path.lexists(path):
        raise OutputExistsError(f"{name}: output exists; use --force to replace it", path=name)


def refuse_inputs(
    outputs: Iterable[str | os.PathLike[str]], inputs: Iterable[str | os.PathLike[str]]
) -> None:
    """Refuse an output that is one of the files which are read: it would take its place.

    Raises
    ------
    InputError
        Names the output.

    Examples
    --------
    >>> refuse_inputs(["no-such-file.agc"], ["genome.fa", "-"])
    """
    there = [Path(path) for path in inputs if os.fspath(path) != "-" and Path(path).exists()]
    for output in outputs:
        name = os.fspath(output)
        found = name not in ("", "-") and Path(name).exists()
        if found and any(path.samefile(name) for path in there):
            message = f"{name}: is an input and the output; give the output another name"
            raise InputError(message, option="output", value=name)


def _is_device(path: str) -> bool:
    """Tell whether a path is a device or a pipe, or a link that stands for one."""
    if os.path.realpath(os.path.dirname(path)) == "/dev":  # noqa: PTH120
        return True
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def state_directory(output: str | os.PathLike[str]) -> Path:
    """Give the folder in which an interrupted job keeps what it needs to go on.

    Examples
    --------
    >>> state_directory("x.parquet").name
    'x.parquet.seqmill'
    """
    return Path(f"{os.fspath(output)}.seqmill")


@contextmanager
def telling_of_state(outputs: Sequence[str | os.PathLike[str]], *, resume: bool) -> Iterator[None]:
    """Add to what ends a job that it can go on, if any of its outputs has state of this job.

    What another job has left is this one's only if it was to go on from there (`resume`), or once
    it began anew in its place.
    """
    before = {} if resume else {state: _version(state) for state in map(state_directory, outputs)}
    try:
        yield
    except BaseException as error:
        states = [state for state in map(state_directory, outputs) if state.is_dir()]
        kept = [state for state in states if resume or _version(state) != before[state]]
        if kept and not isinstance(error, InputError):
            more = f" and {len(kept) - 1} others" if len(kept) > 1 else ""
            note = f"--resume (resume=True) goes on from {kept[0]}{more}"
            if note not in getattr(error, "__notes__", ()):
                error.add_note(note)
        raise


def _version(state: Path) -> list[tuple[str, int, int]] | None:
    """Give what changes when a job begins in a folder; a lock that is tried changes nothing."""
    try:
        found = [(entry.name, entry.stat()) for entry in os.scandir(state)]
    except OSError:
        return None
    return sorted((name, info.st_ino, info.st_mtime_ns) for name, info in found)
