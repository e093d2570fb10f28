"""What `seqmill fetch` may hold inside its budget: batches that fit, or a refusal."""

from dataclasses import dataclass
from typing import Final

from seqmill._host import Host
from seqmill.errors import BudgetError

__all__ = ["Room"]

_MOST_BASES: Final = 8 << 20
_LEAST_BASES: Final = 1 << 16
_OBJECT_BYTES: Final = 4 << 20
"""Rows of a batch as Python objects, and what the allocator does not give back."""
_THREAD_BYTES: Final = 2 << 20
"""What a thread has read and inflated, and its stack."""
_MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Room:
    """The budget of the command and the threads that read at a time.

    Attributes
    ----------
    memory
        Bytes that the process may hold.
    threads
        Threads that read at a time, each with blocks of its own.
    """

    memory: int
    threads: int

    def check(self) -> None:
        """Refuse a budget that the program itself exceeds.

        Raises
        ------
        BudgetError
            If the process holds more already.
        """
        self.fit_batch(0)

    def fit_batch(self, base_bytes: int, least: int = _LEAST_BASES) -> int:
        """Give the bases that a batch may have.

        Parameters
        ----------
        base_bytes
            Bytes that a base of a batch takes.
        least
            Bases that a batch must be able to have, such as those of the longest window where
            it is read whole.

        Returns
        -------
        int
            At least `least`, at most that and 8 Mi.

        Raises
        ------
        BudgetError
            If the least batch does not fit.
        """
        host = Host()
        held = host.status_bytes("VmRSS") or 0
        peak = host.status_bytes("VmHWM") or 0
        around = (_OBJECT_BYTES + self.threads * _THREAD_BYTES) if base_bytes else 0
        needed = max(peak, held + around + least * base_bytes)
        if needed > self.memory:
            message = (
                f"--memory {self.memory / _MIB:.1f} MiB is too small; give at least "
                f"--memory {needed / _MIB:.1f} MiB"
            )
            raise BudgetError(message, needed=needed, limit=self.memory, account="batch")
        if not base_bytes:
            return 0
        return min((self.memory - held - around) // base_bytes, max(least, _MOST_BASES))
