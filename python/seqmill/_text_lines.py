"""Text files as users have them: plain or gzip, which their first bytes tell."""

import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, cast

from seqmill.errors import FormatError

__all__ = ["is_gzip", "open_bytes", "read_lines"]

_GZIP: Final = b"\x1f\x8b"


def is_gzip(path: str | os.PathLike[str]) -> bool:
    """Tell whether a file is gzip, BGZF included."""
    with Path(path).open("rb") as file:
        return file.read(len(_GZIP)) == _GZIP


@contextmanager
def open_bytes(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a file for reading, inflated where it is gzip; a pipe will do."""
    with Path(path).open("rb") as raw:
        if raw.peek(len(_GZIP))[: len(_GZIP)] != _GZIP:
            yield raw
            return
        import gzip  # noqa: PLC0415 - most files are not

        with gzip.GzipFile(fileobj=raw) as text:
            yield cast("IO[bytes]", text)


def read_lines(
    path: str | os.PathLike[str], *, errors: str = "strict"
) -> Iterator[tuple[int, str]]:
    """Give the lines of a text file, without their ends, with their numbers from 1.

    Parameters
    ----------
    path
        The file, plain or gzip.
    errors
        What becomes of bytes that are no UTF-8, as of :meth:`bytes.decode`.

    Raises
    ------
    FormatError
        If the file is damaged or, with ``"strict"``, no UTF-8; names the line.
    """
    name, number = os.fspath(path), 0
    with open_bytes(path) as file:
        try:
            for number, raw in enumerate(file, start=1):
                yield number, raw.decode("utf-8", errors).rstrip("\r\n")
        except (UnicodeDecodeError, EOFError, OSError, zlib.error) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            what = "no UTF-8" if isinstance(error, UnicodeDecodeError) else "not intact as gzip"
            message = f"{name}: line {number} cannot be read, the file is {what}: {error}"
            raise FormatError(message, path=name, line=number) from None
