"""Errors as plain values, for their way from a worker to the client."""

import builtins
import re
from collections.abc import Mapping
from typing import Any, Final

from seqmill import errors
from seqmill.errors import EngineError, ExitCode, InternalError, SeqmillError, exit_code

__all__ = ["describe_error", "is_transient", "rebuild_error", "same_failure"]

_PLAIN: Final = (str, int, float, bool)


def describe_error(error: BaseException) -> dict[str, Any]:
    """Give an error as plain values.

    Examples
    --------
    >>> told = describe_error(errors.TruncatedError("x.bam: cut", path="x.bam", offset=7))
    >>> told["class"], told["attributes"]
    ('TruncatedError', {'path': 'x.bam', 'offset': 7})
    >>> rebuild_error(told).offset
    7
    """
    found: dict[str, Any] = {
        "class": type(error).__name__,
        "message": str(error),
        "attributes": {
            name: value
            for name, value in vars(error).items()
            if isinstance(value, _PLAIN) and not name.startswith("_")
        },
        "notes": list(getattr(error, "__notes__", [])),
        "transient": is_transient(error),
    }
    if isinstance(error, OSError) and not isinstance(error, SeqmillError):
        filename = None if error.filename is None else str(error.filename)
        found |= {"errno": error.errno, "text": error.strerror, "filename": filename}
    return found


def rebuild_error(told: Mapping[str, Any]) -> BaseException:
    """Make an error again of what :func:`describe_error` gave.

    Examples
    --------
    >>> rebuild_error(describe_error(FileNotFoundError(2, "No such file", "a.bam"))).filename
    'a.bam'
    >>> type(rebuild_error({"class": "SomeStrangeError", "message": "x"})).__name__
    'InternalError'
    """
    name, message = str(told["class"]), str(told["message"])
    error: BaseException
    kind = getattr(errors, name, None)
    if told.get("errno") is not None:
        error = OSError(told["errno"], told.get("text") or message, told.get("filename"))
    elif isinstance(kind, type) and issubclass(kind, SeqmillError):
        known = {k: v for k, v in told.get("attributes", {}).items() if hasattr(kind, k)}
        error = kind(message, **known)
    elif name in {"MemoryError", "OSError", "TimeoutError"}:
        error = getattr(builtins, name)(message)
    else:
        error = InternalError(f"{name}: {message}")
    for note in told.get("notes", ()):
        error.add_note(str(note))
    return error


def is_transient(error: BaseException) -> bool:
    """Tell whether an error may be gone at the next attempt."""
    if isinstance(error, EngineError):
        return error.transient
    return exit_code(error) == ExitCode.temporary


def same_failure(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Tell whether a unit failed twice in the same way.

    Names of temporary files and numbers (processes, free bytes) differ between attempts; the
    words do not.

    Examples
    --------
    >>> one, other = ({"class": "BudgetError", "message": f"needs {n} bytes"} for n in (7, 12))
    >>> same_failure(one, other), same_failure(one, {**other, "message": "other words"})
    (True, False)
    """

    def essence(told: Mapping[str, Any]) -> tuple[Any, ...]:
        message = str(told["message"]).partition(".tmp.")[0]
        return told["class"], told.get("errno"), re.sub(r"[0-9.]+", "0", message)

    return essence(one) == essence(other)
