"""What every job owes to files that are there already."""

import os

from seqmill.errors import OutputExistsError

__all__ = ["refuse_existing"]


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
