"""Parts: files and folders that units leave, with sizes and hashes.

A k-mer table holds a checksum of each of its blocks. Who writes one tells a digest of these, so
that it need not be read again to be hashed.
"""

import errno
import glob
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from seqmill import _native
from seqmill.errors import FormatError, InternalError

__all__ = ["describe_part", "is_whole", "move_into_place", "publish", "remove", "remove_leavings"]

_TABLE: Final = "skm"
"""The digest of a file that is a k-mer table; other files have a hash as `xxh3`."""


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


def publish(scratch: Path, target: Path, table_digest: str | None = None) -> list[dict[str, Any]]:
    """Give a finished part its name; a unit that made nothing has no files.

    Parameters
    ----------
    scratch, target
        Where the part lies, and its place.
    table_digest
        The digest that the part has, if it is a k-mer table.

    Raises
    ------
    InternalError
        If there is a part of this name with other bytes: a unit must be a function of its
        descriptor.
    """
    if table_digest is None:
        files = describe_part(scratch, target.name)
    else:
        size = scratch.stat().st_size
        files = [{"name": target.name, "bytes": size, _TABLE: table_digest}]
    if not files:
        return []
    if target.exists():
        is_alike = (
            describe_part(target, target.name) == files
            if table_digest is None
            else is_whole(target.parent, files)
        )
        if not is_alike:
            message = f"{target}: two runs of one unit gave different bytes"
            raise InternalError(message)
        return files
    try:
        scratch.rename(target)
    except OSError as error:
        # A folder cannot replace one that a run at the same time has put there.
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or not target.is_dir():
            raise
        return publish(scratch, target, table_digest)
    return files


def is_whole(folder: Path, files: Sequence[Mapping[str, Any]], *, sizes_only: bool = False) -> bool:
    """Tell whether all files of a part are as they were recorded."""
    for file in files:
        path = folder / str(file["name"])
        try:
            if path.stat().st_size != file["bytes"]:
                return False
            if not sizes_only and not _has_digest(path, file):
                return False
        except FileNotFoundError:
            return False
    return True


def _has_digest(path: Path, file: Mapping[str, Any]) -> bool:
    if _TABLE not in file:
        return _native.hash_file(path)[1] == str(file["xxh3"])
    try:
        return _native.kmers_digest(path)[1] == str(file[_TABLE])
    except FormatError:
        return False


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
