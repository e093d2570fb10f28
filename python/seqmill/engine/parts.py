"""Parts: files and folders that units leave, with sizes and hashes."""

import errno
import glob
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from seqmill import _native
from seqmill.errors import InternalError

__all__ = ["describe_part", "is_whole", "move_into_place", "publish", "remove", "remove_leavings"]


def describe_part(path: Path, name: str) -> list[dict[str, Any]]:
    """List the files of a part as it lies at `path` and is to be called `name`."""
    return [
        {"name": relative, "bytes": size, "xxh3": digest}
        for relative, file in _files(path, name)
        for size, digest in (_native.hash_file(file),)
    ]


def _files(path: Path, name: str) -> Iterator[tuple[str, Path]]:
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.is_file():
                yield f"{name}/{file.relative_to(path).as_posix()}", file
    elif path.exists():
        yield name, path


def publish(scratch: Path, target: Path) -> list[dict[str, Any]]:
    """Give a finished part its name; a unit that made nothing has no files.

    Raises
    ------
    InternalError
        If there is a part of this name with other bytes: a unit must be a function of its
        descriptor.
    """
    files = describe_part(scratch, target.name)
    if not files:
        return []
    if target.exists():
        if describe_part(target, target.name) != files:
            message = f"{target}: two runs of one unit gave different bytes"
            raise InternalError(message)
        return files
    try:
        scratch.rename(target)
    except OSError as error:
        # A folder cannot replace one that a run at the same time has put there.
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or not target.is_dir():
            raise
        return publish(scratch, target)
    return files


def is_whole(folder: Path, files: Sequence[Mapping[str, Any]], *, sizes_only: bool = False) -> bool:
    """Tell whether all files of a part are as they were recorded."""
    for file in files:
        path = folder / str(file["name"])
        try:
            if path.stat().st_size != file["bytes"]:
                return False
            if not sizes_only and _native.hash_file(path)[1] != file["xxh3"]:
                return False
        except FileNotFoundError:
            return False
    return True


def remove(path: Path) -> None:
    """Remove a file or a folder, whatever is left of it.

    A folder loses its name first: whoever is killed meanwhile leaves nothing that looks like a
    part or a state, only what :func:`remove_leavings` finds.
    """
    if path.is_dir():
        aside = path.with_name(f".{path.name}.gone-{os.urandom(4).hex()}")
        with suppress(FileNotFoundError):
            path.rename(aside)
            shutil.rmtree(aside, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def remove_leavings(path: Path) -> None:
    """Remove what :func:`remove` left of a folder when it was killed."""
    for aside in path.parent.glob(f".{glob.escape(path.name)}.gone-????????"):
        shutil.rmtree(aside, ignore_errors=True)


def move_into_place(part: Path, output: Path) -> None:
    """Rename a part to the output that it is; copy it where that is another file system."""
    try:
        part.replace(output)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        aside = output.with_name(f".{output.name}.part")
        try:
            shutil.copyfile(part, aside)
            with aside.open("rb") as copied:
                os.fsync(copied.fileno())
            aside.replace(output)
        finally:
            with suppress(FileNotFoundError):
                aside.unlink()
        part.unlink()
