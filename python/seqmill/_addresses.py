"""Addresses of remote files, and what of them may be seen."""

import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from seqmill.errors import InputError

__all__ = [
    "Address",
    "is_remote",
    "keep_secret",
    "local_path",
    "shown",
    "whole_address",
    "without_secrets",
]

_SCHEMES: Final = ("http", "https", "s3", "gs", "az")
_SCHEME: Final = re.compile(r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]*)://")
_HTTP: Final = re.compile(r"https?://\S+", re.IGNORECASE)


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Tell whether a path is an address.

    Examples
    --------
    >>> is_remote("https://example.org/x.bam"), is_remote("x.bam"), is_remote("chr1:1-2")
    (True, False, False)
    """
    return _SCHEME.match(os.fspath(path)) is not None


def local_path(path: str | os.PathLike[str], job: str) -> str:
    """Give the path of a file on this machine, for a job that reads no others.

    Raises
    ------
    InputError
        If it is an address.

    Examples
    --------
    >>> local_path("genome.fa", "kmers")
    'genome.fa'
    >>> local_path("https://example.org/genome.fa", "kmers")
    Traceback (most recent call last):
    ...
    seqmill.errors.InputError: https://example.org/genome.fa: kmers reads files of this machine ...
    """
    text = os.fspath(path)
    if is_remote(text):
        seen = without_secrets(text)
        message = (
            f"{seen}: {job} reads files of this machine only; copy the file first "
            "(convert and fetch read addresses)"
        )
        raise InputError(message, option="inputs", value=seen)
    return text


def shown(path: str) -> str:
    """Give an address as it may be seen: what comes after ``?`` may be a signature.

    Examples
    --------
    >>> shown("https://me:secret@example.org/x.bam?X-Amz-Signature=1")
    'https://example.org/x.bam'
    """
    return Address.parse(path).shown


def without_secrets(text: str) -> str:
    """Give a word of a command line as it may be seen.

    Examples
    --------
    >>> without_secrets("--index=https://example.org/x.bai?sig=1")
    '--index=https://example.org/x.bai'
    """
    return _HTTP.sub(lambda found: _seen(found[0]), text)


# What an address is read with, by what of it may be seen; queries can be signatures, which belong
# neither into outputs nor into reports or messages.
_WHOLE: Final[dict[str, str]] = {}
_WHOLE_LOCK: Final = threading.Lock()


def keep_secret(path: str) -> str:
    """Give an address as it may be seen, and keep the whole of it for this process."""
    seen = shown(path)
    if path != seen:
        with _WHOLE_LOCK:
            _WHOLE[seen] = path
    return seen


def whole_address(seen: str) -> "Address":
    """Give the address with which a file is read."""
    with _WHOLE_LOCK:
        return Address.parse(_WHOLE.get(seen, seen))


def _seen(address: str) -> str:
    from urllib.parse import urlsplit, urlunsplit  # noqa: PLC0415 - most inputs are local

    parts = urlsplit(address)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme.lower(), host, parts.path, "", ""))


@dataclass(frozen=True, slots=True)
class Address:
    """Where a remote file is.

    Attributes
    ----------
    store
        Address of the server or bucket, with the query of the file's own address.
    key
        Name of the file there.
    shown
        The whole address without user and query.
    """

    store: str
    key: str
    shown: str

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Take an address apart.

        Raises
        ------
        InputError
            If files cannot be read from such an address.

        Examples
        --------
        >>> Address.parse("s3://bucket/a/b.fa.gz")
        Address(store='s3://bucket', key='a/b.fa.gz', shown='s3://bucket/a/b.fa.gz')
        """
        from urllib.parse import unquote, urlsplit, urlunsplit  # noqa: PLC0415 - as above

        match = _SCHEME.match(text)
        scheme = match["scheme"].lower() if match else ""
        if scheme not in _SCHEMES:
            allowed = ", ".join(f"{name}://" for name in _SCHEMES)
            message = f"{text}: such addresses cannot be read; remote inputs take {allowed}"
            raise InputError(message, option="inputs", value=text, allowed=allowed)
        if scheme.startswith("http"):
            parts = urlsplit(text)
            store = urlunsplit((scheme, parts.netloc, "/", parts.query, ""))
            key, seen = unquote(parts.path.lstrip("/")), _seen(text)
        else:
            # A key may hold any character: nothing is quoted here.
            bucket, _, key = text[match.end() if match else 0 :].partition("/")
            store, seen = f"{scheme}://{bucket}", f"{scheme}://{bucket}/{key}"
        if not key or key.endswith("/"):
            message = f"{seen}: names no file"
            raise InputError(message, option="inputs", value=seen)
        return cls(store, key, seen)

    def beside(self, change: Callable[[str], str]) -> "Address":
        """Give the address of a file with another name, asked for in the same way."""
        return Address(self.store, change(self.key), change(self.shown))
