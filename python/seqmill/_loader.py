"""Batches read by threads of this process: no worker processes, no copies between them."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from seqmill._streams import Stream, WindowStream, check_state
from seqmill.errors import BudgetError, InputError
from seqmill.limits import choose_threads, parse_size

if TYPE_CHECKING:
    from seqmill.torch import WindowDataset

__all__ = ["Loader"]

_MEMORY: Final = 1 << 30


class Loader:
    """Batches of a dataset in order, read ahead by threads.

    The threads read and encode inside the engine, without the interpreter's lock, so that training
    goes on meanwhile. What is read is what the same dataset gives in a DataLoader without workers.

    Parameters
    ----------
    dataset
        :class:`WindowDataset`, :class:`WindowStream` or :class:`RandomWindows`.
    batch_size
        Samples in a batch.
    threads
        Threads that read; None is all usable CPUs.
    prefetch
        Batches that are read or wait at a time; None is two for each thread.
    shuffle
        Of a :class:`WindowDataset`: in an order that is drawn for each epoch.
    drop_last
        Leave out a last batch that is not full.
    memory
        Bytes that those batches may take together; fewer are read ahead where they are large.
    pin_memory
        Read straight into memory from which a GPU copies by itself.

    Raises
    ------
    BudgetError
        If one batch takes more than `memory`.
    """

    def __init__(
        self,
        dataset: "WindowDataset | Stream",
        batch_size: int = 1,
        threads: int | None = None,
        prefetch: int | None = None,
        *,
        shuffle: bool = False,
        drop_last: bool = False,
        memory: int | str = _MEMORY,
        pin_memory: bool = False,
    ) -> None:
        if batch_size < 1 or (prefetch is not None and prefetch < 1):
            option = "batch_size" if batch_size < 1 else "prefetch"
            raise InputError(f"{option} takes 1 or more", option=option)
        if isinstance(dataset, Stream):
            if shuffle:
                message = "shuffle is for a WindowDataset; this one has an order of its own"
                raise InputError(message, option="shuffle")
            self.dataset = dataset
        else:
            self.dataset = WindowStream(dataset, shuffle=shuffle)
        self.batch_size = batch_size
        self.threads = choose_threads(threads).value
        self.drop_last = drop_last
        self.pin_memory = pin_memory
        self.prefetch = self._fit(prefetch or 2 * self.threads, parse_size(memory))
        self._next = 0
        self._resume = 0

    def _fit(self, wanted: int, memory: int) -> int:
        batch = self.batch_size * self.dataset.sample_bytes()
        if batch > memory:
            message = f"a batch takes {batch} bytes; raise memory or lower batch_size"
            raise BudgetError(message, needed=batch, limit=memory, account="loader")
        # The batch that the caller has counts too.
        return max(1, min(wanted, memory // max(batch, 1) - 1))

    def __len__(self) -> int:
        """Count the batches of an epoch in this process."""
        samples = self.dataset.samples
        if samples is None:
            message = "the dataset has no end"
            raise TypeError(message)
        rank, world = self.dataset.shard()
        mine = len(range(rank, samples, world))
        return mine // self.batch_size if self.drop_last else -(-mine // self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch."""
        self.dataset.set_epoch(epoch)

    def __iter__(self) -> Iterator[Any]:
        """Give the batches, from where a loaded state left off."""
        self._next, self._resume = self._resume, 0
        waiting: deque[tuple[int, Future[Any]]] = deque()
        pool = ThreadPoolExecutor(self.threads, thread_name_prefix="seqmill-loader")
        try:
            first: int | None = self._next
            while True:
                while first is not None and len(waiting) < self.prefetch:
                    first = self._submit(pool, waiting, first)
                if not waiting:
                    return
                count, future = waiting.popleft()
                batch = future.result()
                self._next += count
                yield batch
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _submit(
        self, pool: ThreadPoolExecutor, waiting: deque[tuple[int, Future[Any]]], first: int
    ) -> int | None:
        """Ask for the batch from sample `first` of this rank on; None behind the last."""
        numbers = self.dataset.numbers(first, self.batch_size, *self.dataset.shard())
        count = len(numbers)
        if count == 0 or (self.drop_last and count < self.batch_size):
            return None
        waiting.append((count, pool.submit(self._read, numbers)))
        return first + count

    def _read(self, numbers: Any) -> Any:
        batch = self.dataset.read(numbers, pinned=self.pin_memory)
        if not isinstance(batch, list):
            return batch
        from seqmill.torch import collate  # noqa: PLC0415 - imports this module

        return collate(batch)

    def state_dict(self) -> dict[str, Any]:
        """Tell which batches were given; batches that were only read ahead do not count."""
        return {**self.dataset.state_dict(), "next": self._next}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on at the batch that follows the last one given when `state` was taken."""
        check_state(state, self.dataset.digest(), self.dataset.shard(), self.dataset.store.build_id)
        self.dataset.load_state_dict(state)
        self._next = self._resume = state["next"]
