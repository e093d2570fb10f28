"""One output to make, and what became of it."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from seqmill.errors import InputError, NotFoundError

__all__ = ["PHASE", "FileResult", "Task", "raise_common_mistake"]

PHASE: Final = "convert"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileResult:
    """What became of one output.

    Attributes
    ----------
    inputs
        The inputs that it was made of.
    output
        Its path; None where there is none.
    status
        ``"done"``, ``"skipped"`` (was finished already), ``"failed"`` or ``"not started"``.
    records, bytes, seconds
        Records in it, its size, and how long it took; None unless it is done.
    error
        What went wrong.
    """

    inputs: tuple[str, ...]
    output: str | None
    status: Literal["done", "skipped", "failed", "not started"]
    records: int | None = None
    bytes: int | None = None
    seconds: float | None = None
    error: BaseException | None = None

    def to_dict(self) -> dict[str, Any]:
        """Give the result as JSON values."""
        return {
            "inputs": list(self.inputs),
            "output": self.output,
            "status": self.status,
            "records": self.records,
            "bytes": self.bytes,
            "seconds": self.seconds,
            "error": None if self.error is None else f"{type(self.error).__name__}: {self.error}",
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One output to make.

    Attributes
    ----------
    name
        How it is called in messages.
    options
        What the engine is asked to do, without threads and memory.
    drop_empty
        Whether an output without records is taken away again.
    is_retry
        Whether it goes on from what an attempt of this very job left.
    """

    name: str
    options: dict[str, Any]
    drop_empty: bool = False
    is_retry: bool = False

    @property
    def inputs(self) -> tuple[str, ...]:
        """Its inputs."""
        return tuple(self.options["inputs"])

    @property
    def output(self) -> str | None:
        """Path of the output."""
        return self.options.get("output")

    def size(self) -> int:
        """Count the bytes of its inputs, as far as the file system knows them."""
        total = 0
        for path in self.inputs:
            with suppress(OSError):
                total += Path(path).stat().st_size
        return total


def raise_common_mistake(results: Sequence[FileResult], *, fail_fast: bool) -> None:
    """Raise what stopped the job: the first failure, or options that are wrong for every file."""
    errors = [result.error for result in results if result.error is not None]
    if errors and fail_fast:
        raise errors[0]
    wrong = [error for error in errors if isinstance(error, InputError | NotFoundError)]
    if wrong and len(wrong) == len(results):
        raise wrong[0]
