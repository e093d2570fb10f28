"""Handles that have ended, for whoever waits for them."""

import threading
import time
from collections.abc import Iterable, Iterator

from seqmill.engine.protocol import Handle

__all__ = ["Completed"]


class Completed:
    """Handles as they end, put by any thread.

    Two stages may wait at a time, as one that found a part damaged has it made anew by another:
    what ends for the one is not lost to the other.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._ended: dict[int, Handle] = {}
        self._forgotten: set[int] = set()

    def put(self, handle: Handle) -> None:
        """Note that a handle has ended."""
        with self._changed:
            if id(handle) in self._forgotten:
                self._forgotten.discard(id(handle))
                return
            self._ended[id(handle)] = handle
            self._changed.notify_all()

    def forget(self, handles: Iterable[Handle]) -> None:
        """Let go of handles that nobody waits for any more."""
        with self._changed:
            for handle in handles:
                if self._ended.pop(id(handle), None) is None:
                    self._forgotten.add(id(handle))

    def take(self, handles: Iterable[Handle], timeout: float) -> Iterator[Handle]:
        """Give those of `handles` that have ended; stop after `timeout` seconds without one."""
        wanted = {id(handle) for handle in handles}
        while wanted:
            found = self._wait(wanted, time.monotonic() + timeout)
            if found is None:
                return
            wanted.discard(id(found))
            yield found

    def _wait(self, wanted: set[int], until: float) -> Handle | None:
        with self._changed:
            while True:
                key = next((key for key in wanted if key in self._ended), None)
                if key is not None:
                    return self._ended.pop(key)
                left = until - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    return None
