"""Every error that seqmill raises on purpose, and the exit code each one means.

Catch :class:`SeqmillError` for all of them, or a class below for one cause. What the operating
system refuses is raised as :class:`OSError` with `errno` and `filename`, so that Python's own
subclasses (:class:`FileNotFoundError`, :class:`PermissionError`, …) apply. The engine looks
these classes up by name, makes them from a message alone and sets the attributes afterwards.
"""

import errno
from typing import Final, NamedTuple, Self

__all__ = [
    "BgzfError",
    "BudgetError",
    "CancelledError",
    "ChangedError",
    "ChecksumError",
    "EmptyInputError",
    "EngineError",
    "ExitCode",
    "FormatError",
    "HeaderError",
    "IndexFormatError",
    "IndexMismatchError",
    "InflateError",
    "InputError",
    "InternalError",
    "NameNotFoundError",
    "NotAlignmentsError",
    "NotBgzfError",
    "NotFoundError",
    "OutOfRangeError",
    "OutputExistsError",
    "RecordError",
    "SamError",
    "SeqmillError",
    "SequenceFormatError",
    "SequenceReferenceError",
    "StaleIndexError",
    "TagError",
    "TruncatedError",
    "exit_code",
]


class SeqmillError(Exception):
    """Base of every error that seqmill raises on purpose.

    Parameters
    ----------
    *args
        The message: lower case, no full stop, the offending thing first, then what to do.
    **attributes
        Attributes of the class to set; any other name is a mistake of the caller.

    Examples
    --------
    >>> error = FormatError("x.bam: record is cut short", path="x.bam", record=7)
    >>> error.record
    7
    >>> error.field is None
    True
    """

    hint: str | None = None
    """What the user can do about it, when the message does not say so already."""

    def __init__(self, *args: object, **attributes: object) -> None:
        super().__init__(*args)
        for name, value in attributes.items():
            if not hasattr(type(self), name):
                message = f"{type(self).__name__} has no attribute {name!r}"
                raise TypeError(message)
            setattr(self, name, value)


class InputError(SeqmillError, ValueError):
    """Raised when an option is out of range or malformed, a region string included.

    `option` names the option, `value` is what was given, `allowed` says what may be given.
    """

    option: str | None = None
    value: object = None
    allowed: str | None = None


class NotFoundError(SeqmillError, LookupError):
    """Raised when a name given by the user does not exist.

    This is a contig, sample, column, tag or index, never a file (that is an :class:`OSError`).
    `name` is what was asked for, `suggestions` the closest names that exist (three at most).
    """

    name: str | None = None
    suggestions: tuple[str, ...] = ()


class OutOfRangeError(InputError, IndexError):
    """Raised when a window reaches outside of its contig and the caller did not allow that."""


class NameNotFoundError(NotFoundError, KeyError):
    """Raised when a store has no file, or a file no contig, of the name asked for."""

    # A KeyError would show its message as a quoted string.
    __str__ = Exception.__str__


class FormatError(SeqmillError, ValueError):
    """Raised when an input breaks its format and no class below says how.

    The attributes say where the damage lies; what is not known is None. `path` is the file as
    the user named it, `offset` the byte offset in it (in the compressed stream for BGZF),
    `voffset` the BGZF virtual offset, `record` the ordinal of the record from 0, `line` the
    line number from 1, `field` the name of the field.
    """

    path: str | None = None
    offset: int | None = None
    voffset: int | None = None
    record: int | None = None
    line: int | None = None
    field: str | None = None


class EmptyInputError(FormatError):
    """Raised when an input has no bytes at all."""


class NotAlignmentsError(FormatError):
    """Raised when the content of an input is of a kind that the command does not read."""


class HeaderError(FormatError):
    """Raised when a file header contradicts itself or the data behind it."""


class BgzfError(FormatError):
    """Raised when the framing of a BGZF block is wrong, or bytes follow the last block."""


class ChecksumError(FormatError):
    """Raised when the stored checksum of a block is not the checksum of its data."""


class InflateError(FormatError):
    """Raised when a deflate stream is wrong or yields another length than was stated."""


class TruncatedError(FormatError):
    """Raised when a file ends inside a block, a record or the header."""


class RecordError(FormatError):
    """Raised when a field of an alignment record holds an impossible value."""


class TagError(FormatError):
    """Raised when an auxiliary tag of a record is damaged."""


class SamError(FormatError):
    """Raised when a line breaks the SAM grammar; `line` is its number."""


class SequenceFormatError(FormatError):
    """Raised when a FASTA or FASTQ record breaks its format."""


class IndexMismatchError(FormatError):
    """Raised when an index does not belong to the file it is used with."""


class ChangedError(FormatError):
    """Raised when an input changed while it was read."""


class SequenceReferenceError(FormatError):
    """Raised when the reference that a CRAM file needs is missing or is another one."""


class IndexFormatError(FormatError):
    """Raised when a side file of a sequence file (`.fai`, `.gzi`) is malformed."""


class StaleIndexError(FormatError):
    """Raised when an index does not describe its sequence file as it is now."""


class NotBgzfError(FormatError):
    """Raised when a file is gzip without blocks where random access needs BGZF."""


class BudgetError(SeqmillError, MemoryError):
    """Raised when the least that a job needs exceeds its memory limit.

    `needed` is the smallest budget in bytes that would work, `limit` the budget that was given,
    `account` the part of the job that asked.
    """

    needed: int | None = None
    limit: int | None = None
    account: str | None = None

    def __new__(cls, *args: object, **_attributes: object) -> Self:
        """Make one as any exception: that of MemoryError refuses classes with two bases."""
        return Exception.__new__(cls, *args)


class OutputExistsError(SeqmillError, FileExistsError):
    """Raised when an output is present and `force` was not given; `path` names it."""

    path: str | None = None


class CancelledError(SeqmillError):
    """Raised when a progress callback returned False."""


class EngineError(SeqmillError, RuntimeError):
    """Raised when an engine cannot run units: other versions, no shared storage, a lost worker.

    `unit` describes the unit, `worker` names the worker, where one is meant; `transient` says
    whether another attempt may help (exit code 75).
    """

    unit: str | None = None
    worker: str | None = None
    transient: bool = False


class InternalError(SeqmillError, RuntimeError):
    """Raised when seqmill broke one of its own rules: a bug, please report it."""


class _ExitCodes(NamedTuple):
    """Exit codes of the command, by what they mean."""

    done: int = 0
    failed: int = 1
    usage: int = 2
    data: int = 65
    io: int = 74
    temporary: int = 75
    budget: int = 78
    interrupted: int = 130
    closed_pipe: int = 141
    terminated: int = 143


ExitCode: Final = _ExitCodes()

# Refusals that may be gone at the next attempt; the shell and Nextflow may try again.
_TEMPORARY: Final = frozenset(
    {
        errno.EAGAIN,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        errno.ESTALE,
        errno.ETIMEDOUT,
    }
)

# Order matters: OutputExistsError is an OSError and BudgetError a MemoryError.
_BY_CLASS: Final[tuple[tuple[type[BaseException], int], ...]] = (
    (InputError, ExitCode.usage),
    (NotFoundError, ExitCode.usage),
    (OutputExistsError, ExitCode.usage),
    (FormatError, ExitCode.data),
    (MemoryError, ExitCode.budget),
    (CancelledError, ExitCode.interrupted),
    (KeyboardInterrupt, ExitCode.interrupted),
    (BrokenPipeError, ExitCode.closed_pipe),
)


def exit_code(exc: BaseException) -> int:
    """Give the exit code with which the command ends on an exception.

    Parameters
    ----------
    exc
        What was raised.

    Returns
    -------
    int
        2 wrong usage, 65 bad input data, 74 input/output, 75 temporary, 78 memory budget too
        small, 130 interrupted, 141 closed pipe; 1 for everything else.

    Examples
    --------
    >>> exit_code(ChecksumError("x.bam: checksum is wrong"))
    65
    >>> exit_code(FileNotFoundError(2, "No such file or directory", "x.bam"))
    74
    >>> exit_code(OutputExistsError("x.parquet: output exists; use --force to replace it"))
    2
    """
    if isinstance(exc, SystemExit):
        return _code_of_system_exit(exc)
    if isinstance(exc, EngineError) and exc.transient:
        return ExitCode.temporary
    for kind, code in _BY_CLASS:
        if isinstance(exc, kind):
            return code
    if isinstance(exc, OSError):
        return ExitCode.temporary if exc.errno in _TEMPORARY else ExitCode.io
    return ExitCode.failed


def _code_of_system_exit(exc: SystemExit) -> int:
    if exc.code is None:
        return ExitCode.done
    return exc.code if isinstance(exc.code, int) else ExitCode.failed
