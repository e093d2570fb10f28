"""Remote files: what version is there, and ranges of its bytes.

`obstore` (extra ``remote``) speaks HTTP and signs requests; here is what it does not promise: only
bounded ranges, one version of a file from the first byte to the last, and attempts after failures
that may pass.
"""

import errno
import hashlib
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from types import ModuleType
from typing import Any, Final

from seqmill._addresses import Address
from seqmill.errors import ChangedError, InputError

__all__ = ["RemoteFile", "look_at", "read_range"]

_CHUNK_BYTES: Final = 64 << 10
"""Bytes handed on at a time."""
_ATTEMPTS: Final = 5
_TIMEOUT_SECONDS: Final = 60.0
_FIRST_PAUSE_SECONDS: Final = 0.25
_LONGEST_PAUSE_SECONDS: Final = 8.0
_TOO_FAR: Final = 416


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One version of a remote file.

    Attributes
    ----------
    address
        Where it is.
    size
        Its bytes.
    etag
        Its version as the server names it, if it does.
    modified
        When it was written; the epoch where the server does not say.
    """

    address: Address
    size: int
    etag: str | None
    modified: datetime

    @property
    def tag(self) -> int:
        """A number that stands for the version, as the time of the last change does locally."""
        version = self.etag or self.modified.isoformat()
        digest = hashlib.blake2b(f"{self.size} {version}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "little") >> 1

    def is_version(self, meta: Any) -> bool:
        """Tell whether an answer is of this version."""
        if (meta["size"], meta["e_tag"]) != (self.size, self.etag):
            return False
        return self.etag is not None or bool(meta["last_modified"] == self.modified)


@dataclass(frozen=True, slots=True)
class _Failure:
    errno: int
    text: str
    temporary: bool = False


def _obstore() -> ModuleType:
    try:
        import obstore  # noqa: PLC0415 - an extra
    except ImportError as error:
        error.add_note("remote files need the extra: pip install 'seqmill[remote]'")
        raise
    return obstore


def _number(name: str, default: float) -> float:
    text = os.environ.get(name)
    if not text:
        return default
    with suppress(ValueError):
        number = float(text)
        if number > 0:
            return number
    message = f"{name}={text!r} is not allowed; it takes a number above 0"
    raise InputError(message, option=name, value=text)


@lru_cache(maxsize=64)
def _store(url: str, timeout: float) -> Any:
    """Open a server or bucket; credentials and endpoints come from the environment."""
    from obstore.store import from_url  # noqa: PLC0415 - an extra

    endpoints = [value for key, value in os.environ.items() if key.upper() in _ENDPOINTS]
    plain = url.startswith("http:") or any(value.startswith("http:") for value in endpoints)
    client: Any = {
        "allow_http": plain,
        "timeout": f"{timeout}s",
        "connect_timeout": f"{min(timeout, 10.0)}s",
    }
    # Attempts are counted in one place only: here.
    retry: Any = {"max_retries": 0, "retry_timeout": timedelta(seconds=timeout)}
    return from_url(url, client_options=client, retry_config=retry)


_ENDPOINTS: Final = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT", "AZURE_ENDPOINT")


def _open(address: Address) -> Any:
    _obstore()
    try:
        return _store(address.store, _number("SEQMILL_REMOTE_TIMEOUT", _TIMEOUT_SECONDS))
    except Exception as error:
        raise InputError(
            f"{address.shown}: {_first_line(error)}", option="inputs", value=address.shown
        ) from error


def look_at(address: Address) -> RemoteFile:
    """Find out what is at an address, by asking for its first byte.

    Raises
    ------
    OSError
        If it cannot be read; `errno` says whether another attempt may help.
    """
    store = _open(address)

    def ask() -> RemoteFile:
        obstore = _obstore()
        try:
            # Servers that ignore ranges show it here, and a signature for GET need not be one for
            # HEAD.
            meta = obstore.get(store, address.key, options={"range": (0, 1)}).meta
        except Exception as error:
            if _status(error) != _TOO_FAR:
                raise
            # An empty file has no first byte.
            meta = obstore.head(store, address.key)
        return RemoteFile(address, meta["size"], meta["e_tag"], meta["last_modified"])

    attempts = int(_number("SEQMILL_REMOTE_ATTEMPTS", _ATTEMPTS))
    for attempt in range(attempts):
        try:
            return ask()
        except Exception as error:
            failure = _explain(error)
            if not failure.temporary or attempt + 1 == attempts:
                text = _with_attempts(failure.text, attempt + 1)
                raise OSError(failure.errno, text, address.shown) from error
            time.sleep(_pause(attempt))
    raise AssertionError


def read_range(
    file: RemoteFile,
    begin: int,
    length: int,
    take: Callable[[bytes], bool],
    pause: Callable[[float], object] = time.sleep,
) -> None:
    """Read a range of a file, piece by piece.

    After a failure that may pass, what is missing is asked for again.

    Parameters
    ----------
    file
        The version that was looked at.
    begin, length
        The range, which lies within the file.
    take
        Gets the pieces; False from it ends the reading.
    pause
        Waits some seconds; something true from it ends the reading.

    Raises
    ------
    ChangedError
        If there is another version now; nothing of it was given to `take`.
    OSError
        If the range cannot be had; the text names the byte.
    """
    attempts = int(_number("SEQMILL_REMOTE_ATTEMPTS", _ATTEMPTS))
    at, end, failed = begin, begin + length, 0
    while at < end:
        try:
            for piece in _pieces(file, at, end):
                at += len(piece)
                failed = 0
                if not take(piece):
                    return
        except ChangedError:
            raise
        except Exception as error:
            failure = _explain(error)
            failed += 1
            if not failure.temporary or failed >= attempts:
                text = f"byte {at}: {_with_attempts(failure.text, failed)}"
                raise OSError(failure.errno, text, file.address.shown) from error
            if pause(_pause(failed - 1)):
                return


class _ShortAnswerError(Exception):
    """An answer that ended early and said that it was whole."""


def _pieces(file: RemoteFile, at: int, end: int) -> Any:
    options: dict[str, Any] = {"range": (at, end)}
    # A weak tag says that two versions mean the same, not that their bytes are equal: servers
    # refuse it as a condition, so that it is only compared.
    if file.etag is not None and not file.etag.startswith("W/"):
        options["if_match"] = file.etag
    obstore = _obstore()
    try:
        answer = obstore.get(_open(file.address), file.address.key, options=options)
    except obstore.exceptions.PreconditionError as error:
        raise _changed(file, at) from error
    if not file.is_version(answer.meta):
        raise _changed(file, at)
    if answer.range[0] != at:
        message = f"bytes from {answer.range[0]} came instead"
        raise OSError(errno.EIO, message)
    left = end - at
    for chunk in answer.stream(min_chunk_size=_CHUNK_BYTES):
        piece = bytes(chunk)[:left]
        left -= len(piece)
        if piece:
            yield piece
    if left:
        raise _ShortAnswerError(left)


def _changed(file: RemoteFile, at: int) -> ChangedError:
    place = file.address.shown
    error = ChangedError(f"{place}: the file was replaced while it was read (byte {at})")
    error.path, error.offset = place, at
    return error


def _pause(attempt: int) -> float:
    return float(min(_FIRST_PAUSE_SECONDS * 2.0**attempt, _LONGEST_PAUSE_SECONDS))


def _with_attempts(text: str, attempts: int) -> str:
    return text if attempts == 1 else f"{text} ({attempts} attempts)"


_STATUS: Final = re.compile(r"status code: (?P<code>[0-9]{3})(?P<words>[^:\n]*)")
_KIND: Final = re.compile(r"kind: (?P<kind>[A-Z][A-Za-z]+)")
_TEMPORARY_STATUS: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


def _status(error: BaseException) -> int | None:
    match = _STATUS.search(str(error))
    return int(match["code"]) if match else None


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _explain(error: BaseException) -> _Failure:
    """Say what a failure is to whoever waits for the bytes."""
    if isinstance(error, OSError) and error.errno is not None:
        return _Failure(error.errno, str(error.strerror))
    status = _STATUS.search(str(error))
    answered = f"the server answers {status['code']}{status['words'].rstrip()}" if status else ""
    return (
        _of_class(type(error).__name__, answered)
        or (_of_status(int(status["code"]), answered) if status else None)
        or _of_connection(str(error))
        or _Failure(errno.EIO, _first_line(error))
    )


def _of_class(name: str, answered: str) -> _Failure | None:
    if name == "_ShortAnswerError":
        return _Failure(errno.ECONNRESET, "the answer is shorter than it says", temporary=True)
    if name in ("FileNotFoundError", "NotFoundError"):
        return _Failure(errno.ENOENT, answered or "there is no such file")
    if name in ("PermissionDeniedError", "UnauthenticatedError"):
        hint = "check the credentials in the environment"
        return _Failure(errno.EACCES, f"{answered or 'access is denied'}; {hint}")
    if name == "NotSupportedError":
        return _Failure(errno.EOPNOTSUPP, "the server ignores byte ranges; copy the file first")
    return None


def _of_status(status: int, answered: str) -> _Failure:
    temporary = status in _TEMPORARY_STATUS
    return _Failure(errno.EAGAIN if temporary else errno.EIO, answered, temporary=temporary)


def _of_connection(text: str) -> _Failure | None:
    kind = found["kind"] if (found := _KIND.search(text)) else ""
    if kind == "Timeout" or "TimedOut" in text:
        return _Failure(errno.ETIMEDOUT, "the server does not answer in time", temporary=True)
    if kind == "Connect":
        if "ConnectionRefused" in text:
            return _Failure(errno.ECONNREFUSED, "the connection is refused", temporary=True)
        return _Failure(errno.EHOSTUNREACH, "the server cannot be reached", temporary=True)
    if kind in ("Interrupted", "Request", "Decode", "Body", "Unknown") or "IncompleteBody" in text:
        return _Failure(errno.ECONNRESET, "the connection broke", temporary=True)
    return None
