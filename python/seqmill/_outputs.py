"""Outputs of jobs: what is there already, and the state beside them of one that did not end."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from seqmill.errors import InputError, OutputExistsError

__all__ = ["refuse_existing", "state_directory", "telling_of_state"]


def refuse_existing(path: str | os.PathLike[str], *, force: bool) -> None:
    """Refuse to go on where an output, or a link in its place, is there already.

    Raises
    ------
    OutputExistsError
        Names the output, unless `force` allows to replace it.

    Examples
    --------
    >>> refuse_existing("no-such-file.parquet", force=False)
    """
    if not force and os.path.lexists(path):
        name = os.fspath(path)
        raise OutputExistsError(f"{name}: output exists; use --force to replace it", path=name)


def state_directory(output: str | os.PathLike[str]) -> Path:
    """Give the folder in which an interrupted job keeps what it needs to go on.

    Examples
    --------
    >>> state_directory("x.parquet").name
    'x.parquet.seqmill'
    """
    return Path(f"{os.fspath(output)}.seqmill")


@contextmanager
def telling_of_state(outputs: Sequence[str | os.PathLike[str]]) -> Iterator[None]:
    """Add to what ends a job that it can go on, if any of its outputs has state."""
    try:
        yield
    except BaseException as error:
        kept = [state for state in map(state_directory, outputs) if state.is_dir()]
        if kept and not isinstance(error, InputError):
            more = f" and {len(kept) - 1} others" if len(kept) > 1 else ""
            note = f"--resume (resume=True) goes on from {kept[0]}{more}"
            if note not in getattr(error, "__notes__", ()):
                error.add_note(note)
        raise
