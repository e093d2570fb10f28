"""Inputs of a job on an engine: what they are when it begins, and still are at its end.

Every unit opens its inputs for itself, on whatever machine and whenever it runs: a file that is
replaced meanwhile would give a mixture of both.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from seqmill import _native
from seqmill._addresses import is_remote, whole_address
from seqmill.errors import ChangedError, InputError

__all__ = ["absolute", "check_unchanged", "describe_inputs"]


def absolute(path: str) -> str:
    """Give a path as workers understand it, who run in folders of their own.

    Raises
    ------
    InputError
        If it is an address with a signature or a password, which stays in this process.

    Examples
    --------
    >>> absolute("s3://bucket/x.bam"), absolute("/data/x.bam")
    ('s3://bucket/x.bam', '/data/x.bam')
    """
    if not is_remote(path):
        return str(Path(path).absolute())
    if "?" in whole_address(path).store or "@" in whole_address(path).store:
        message = (
            f"{path}: its signature or password does not reach the workers of an engine; leave "
            "the engine out, or give the workers credentials of their own"
        )
        raise InputError(message, option="engine", value=path)
    return path


def describe_inputs(paths: Iterable[str], *, missing_ok: bool = False) -> list[dict[str, Any]]:
    """Tell what files are now, each once: size, time and hashes of begin, middle and end.

    Parameters
    ----------
    paths
        Paths, or addresses as they may be seen.
    missing_ok
        Whether what cannot be read has only its name: the unit that needs it tells why.
    """
    described = []
    for path in dict.fromkeys(absolute(path) for path in paths):
        one: dict[str, Any] = {"path": path}
        try:
            one |= _fingerprint(path)
        except OSError:
            if not missing_ok:
                raise
        described.append(one)
    return described


def check_unchanged(described: Iterable[Mapping[str, Any]]) -> None:
    """Fail if a file is not what it was when it was described.

    Raises
    ------
    ChangedError
        Names the file.
    """
    for one in described:
        if "size" in one and not _is_same(one):
            message = f"{one['path']}: changed while the job ran; start it anew"
            raise ChangedError(message, path=one["path"])


def _is_same(one: Mapping[str, Any]) -> bool:
    with suppress(OSError):
        return {**one, **_fingerprint(str(one["path"]))} == one
    return False


def _fingerprint(path: str) -> dict[str, Any]:
    if is_remote(path):
        from seqmill._remote import fingerprint  # noqa: PLC0415 - most inputs are local

        return fingerprint(path)
    found: dict[str, Any] = _native.fingerprint(path)
    return found
