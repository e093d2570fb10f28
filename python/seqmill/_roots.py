"""Which files a store is made of, and where its index may lie."""

import glob
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from seqmill import _native
from seqmill._addresses import Address, is_remote
from seqmill._inputs import RANGES, RANGES_MAX
from seqmill.errors import InputError

__all__ = ["absolute", "cache_directory", "find_files", "is_remote_root", "open_remote"]

PathLike = str | os.PathLike[str]

_BESIDE: Final = (".fai", ".gzi", ".idx", ".sqm2")
"""What lies beside files of a store, which a pattern may match too."""
_SIDES: Final = {"sequence": (".fai", ".gzi"), "tracks": (".idx", ".gzi")}


def cache_directory() -> str | None:
    """Find the folder for indices whose root cannot be written, None if there is none."""
    told = os.environ.get("SEQMILL_CACHE_DIR")
    if told:
        return told
    base = os.environ.get("XDG_CACHE_HOME")
    home = os.environ.get("HOME")
    if base:
        return os.fspath(Path(base, "seqmill"))
    return os.fspath(Path(home, ".cache", "seqmill")) if home else None


def _paths(path: PathLike | Sequence[PathLike]) -> list[str]:
    return [os.fspath(item) for item in ([path] if isinstance(path, str | os.PathLike) else path)]


def is_remote_root(path: PathLike | Sequence[PathLike]) -> bool:
    """Tell whether a store is made of remote files.

    Raises
    ------
    InputError
        If only some of its files are.
    """
    remote = [is_remote(item) for item in _paths(path)]
    if any(remote) and not all(remote):
        message = "remote and local files cannot be one store; open one for each"
        raise InputError(message, option="path")
    return any(remote)


def absolute(path: PathLike | Sequence[PathLike]) -> str | list[str]:
    """Give the paths as another process finds them, or this one in another folder."""
    if isinstance(path, str | os.PathLike):
        return _settle(os.fspath(path))
    return [_settle(os.fspath(item)) for item in path]


def _settle(path: str) -> str:
    """Give the whole of a path; symbolic links stay what they are.

    Examples
    --------
    >>> _settle("/data/./x//y.fa")
    '/data/x/y.fa'
    """
    if not path or is_remote(path):
        return path
    if ".." in path.split("/"):
        # What is above a link is above the folder that it leads to.
        folder, name = os.path.split(path)
        path = os.path.join(os.path.realpath(folder), name)  # noqa: PTH118
    return os.path.abspath(path)  # noqa: PTH100


def open_remote(
    path: PathLike | Sequence[PathLike],
    content: str,
    options: Mapping[str, Any],
    memory: int,
) -> tuple[str, list[str], _native.RemoteFiles]:
    """Look at remote files and their side files, and make them readable.

    Returns
    -------
    tuple
        What all addresses begin with, the rest of each, and the files.

    Raises
    ------
    OSError
        If a file cannot be had.
    """
    from seqmill._objects import look_at  # noqa: PLC0415 - most stores are local
    from seqmill._remote import look_beside, serve  # noqa: PLC0415

    addresses = [Address.parse(item) for item in _paths(path)]
    for address in addresses:
        if address.key.endswith(".agc"):
            message = f"{address.shown}: archives are not read from afar; copy it first"
            raise InputError(message, option="path", value=address.shown)
    ranges = options.get("concurrent_ranges", RANGES)
    if not isinstance(ranges, int) or not 1 <= ranges <= RANGES_MAX:
        message = f"{ranges!r} is not allowed; concurrent_ranges takes 1 to {RANGES_MAX}"
        raise InputError(message, option="concurrent_ranges", value=ranges)
    with ThreadPoolExecutor(ranges) as pool:
        found = list(pool.map(look_at, addresses))
        wanted = [(address, (side,)) for address in addresses for side in _SIDES[content]]
        sides = pool.map(lambda pair: look_beside(*pair), wanted)
        known = [*found, *(side for side in sides if side is not None)]
    base = _common_folder([address.shown for address in addresses])
    rest = [address.shown[len(base) :].lstrip("/") for address in addresses]
    return base, rest, serve(known, memory=memory, ranges=ranges)


def _common_folder(places: Iterable[str]) -> str:
    """Give the folder that all addresses have in common.

    Examples
    --------
    >>> _common_folder(["https://a.org/x/1.fa", "https://a.org/x/y/2.fa"])
    'https://a.org/x'
    >>> _common_folder(["https://a.org/1.fa", "https://b.org/1.fa"])
    'https://'
    """
    parts = [place.split("/")[:-1] for place in places]
    common = []
    for names in zip(*parts, strict=False):
        if len(set(names)) > 1:
            break
        common.append(names[0])
    base = "/".join(common)
    return f"{base}/" if base.endswith("/") else base


def find_files(path: PathLike | Sequence[PathLike]) -> tuple[str, list[str] | None]:
    """Give a directory, and the paths below it where not all of it is meant."""
    if isinstance(path, str | os.PathLike):
        text = os.fspath(path)
        if os.path.isdir(text):  # noqa: PTH112 - bytes of a path stay as they are
            return text, None
        if not os.path.exists(text) and glob.has_magic(text):  # noqa: PTH110
            found = [
                item
                for item in sorted(glob.glob(text, recursive=True))  # noqa: PTH207 - absolute too
                if not item.endswith(_BESIDE) and os.path.isfile(item)  # noqa: PTH113
            ]
            if not found:
                message = f"no file matches {text!r}"
                raise InputError(message, option="path", value=text)
            return find_files(found)
        archive = _check_exists(text)
        base = os.path.dirname(archive)  # noqa: PTH120
        return base or ".", [text[len(base) :].lstrip("/")]
    files = [_settle(os.fspath(item)) for item in path]
    if not files:
        message = "an empty list of files is no store"
        raise InputError(message, option="path")
    folders = {os.path.dirname(_check_exists(item)) for item in files}  # noqa: PTH120
    base = os.path.commonpath(folders)
    return base, [os.path.relpath(item, base) for item in files]


def _check_exists(path: str) -> str:
    """Raise for a file that is not there; of ``ARCHIVE.agc:SAMPLE`` the archive is what must be."""
    if not os.path.exists(path):  # noqa: PTH110
        borders = [at for at, letter in enumerate(path) if letter == ":"]
        for at in reversed(borders):
            if path[:at].endswith(".agc") and os.path.exists(path[:at]):  # noqa: PTH110
                return path[:at]
    if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116
        message = f"{path}: this is no regular file, in which windows could be read"
        raise InputError(message, option="path", value=path)
    return path
