"""Samples in a row: shared out among ranks and workers, and resumed at the exact next one."""

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from seqmill._sampling import Permutation, find_rank
from seqmill._tensors import import_torch
from seqmill.errors import InputError

if TYPE_CHECKING:
    from seqmill.fetch import FastaStore
    from seqmill.torch import WindowDataset

    class IterableDataset:
        """Stands for the class of torch, which has no types where this is checked."""

else:
    try:
        from torch.utils.data import IterableDataset
    except ImportError:  # The module can be read, and its numbers tested, without torch.
        IterableDataset = object

__all__ = ["Stream", "WindowStream", "check_state"]

_AHEAD_BYTES: Final = 4 << 20
_AHEAD_SAMPLES: Final = 64
_STATE_VERSION: Final = 1


class Stream(IterableDataset):
    """Samples one after the other, shared out among ranks and workers, resumed by count."""

    seed: int
    epoch: int
    samples: int | None
    store: "FastaStore"

    def __init__(self, rank: int | None, world: int | None) -> None:
        self._told = (rank, world)
        find_rank(rank, world)
        self._next = 0
        self._resume = 0

    def read(self, numbers: NDArray[np.uint64], *, pinned: bool = False) -> Any:
        """Read samples by their numbers: a batch, or a list where they were transformed."""
        raise NotImplementedError

    def digest(self) -> str:
        """Give a digest of all that decides which windows the samples are."""
        raise NotImplementedError

    def sample_bytes(self) -> int:
        """Give the bytes of the longest sample."""
        raise NotImplementedError

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch: order, jitter and strands are drawn anew."""
        self.epoch = epoch

    def __getstate__(self) -> dict[str, Any]:
        """Carry the rank along: a worker that was spawned cannot find it."""
        return {**vars(self), "_told": find_rank(*self._told)}

    def shard(self) -> tuple[int, int]:
        """Tell which shard this process or worker has, of how many."""
        rank, world = find_rank(*self._told)
        worker, workers = 0, 1
        if IterableDataset is not object:
            info = import_torch().utils.data.get_worker_info()
            if info is not None:
                worker, workers = info.id, info.num_workers
        return rank * workers + worker, world * workers

    def numbers(self, first: int, count: int, shard: int, shards: int) -> NDArray[np.uint64]:
        """Give the numbers of the samples of a shard from its `first` on."""
        found = np.arange(first, first + count, dtype=np.uint64) * np.uint64(shards)
        found += np.uint64(shard)
        return found if self.samples is None else found[found < self.samples]

    def __iter__(self) -> Iterator[Any]:
        """Give the samples of this rank and worker, from where a loaded state left off."""
        shard, shards = self.shard()
        self._next, self._resume = self._resume, 0
        ahead = min(max(_AHEAD_BYTES // max(self.sample_bytes(), 1), 1), _AHEAD_SAMPLES)
        while len(numbers := self.numbers(self._next, ahead, shard, shards)):
            for sample in self.read(numbers):
                self._next += 1
                yield sample

    def state_dict(self) -> dict[str, Any]:
        """Tell where this shard is; see :meth:`load_state_dict`."""
        shard, shards = self.shard()
        return {
            "version": _STATE_VERSION,
            "seed": self.seed,
            "epoch": self.epoch,
            "next": self._next,
            "shard": shard,
            "shards": shards,
            "index_build_id": self.store.build_id,
            "intervals_digest": self.digest(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on at the sample that follows the last one given when `state` was taken.

        Parameters
        ----------
        state
            What :meth:`state_dict` gave in the same shard.

        Raises
        ------
        InputError
            If the windows are others, or are shared out among another number of workers.
        """
        check_state(state, self.digest(), self.shard(), self.store.build_id)
        self.seed, self.epoch = state["seed"], state["epoch"]
        self._next = self._resume = state["next"]


def check_state(state: dict[str, Any], digest: str, shard: tuple[int, int], build_id: int) -> None:
    """Refuse a state of other windows or of another shard."""
    needed = ("version", "seed", "epoch", "next", "shard", "shards", "intervals_digest")
    if not isinstance(state, dict) or not {*needed, "index_build_id"} <= set(state):
        message = "this is no state of a stream of windows; state_dict() gives one"
        raise InputError(message, option="state")
    if state.get("version") != _STATE_VERSION:
        message = f"the state has version {state.get('version')!r}, not {_STATE_VERSION}"
        raise InputError(message, option="state")
    if state["intervals_digest"] != digest:
        message = "the state is of other windows than those of this dataset"
        raise InputError(message, option="state")
    told = (state["shard"], state["shards"])
    if told != shard:
        message = f"the state is of shard {told[0]} of {told[1]}, this is {shard[0]} of {shard[1]}"
        raise InputError(message, option="state")
    if state["index_build_id"] != build_id:
        message = "the index has changed since the state was taken; samples may be others"
        warnings.warn(message, stacklevel=3)


class WindowStream(Stream):
    """The samples of a :class:`WindowDataset` in a row: iterable, sharded, resumable.

    Parameters
    ----------
    dataset
        The samples.
    shuffle
        In an order that is drawn for each epoch; it is computed, never stored.
    seed
        Of the order; None takes that of `dataset`.
    rank, world
        Which of how many processes this is, where neither `torch.distributed` nor ``RANK`` and
        ``WORLD_SIZE`` tell.
    """

    def __init__(
        self,
        dataset: "WindowDataset",
        *,
        shuffle: bool = False,
        seed: int | None = None,
        rank: int | None = None,
        world: int | None = None,
    ) -> None:
        super().__init__(rank, world)
        self.dataset = dataset
        self.shuffle = shuffle
        self.store = dataset.store
        self.seed = dataset.seed if seed is None else seed
        self.epoch = dataset.epoch
        self.samples = len(dataset)

    def read(self, numbers: NDArray[np.uint64], *, pinned: bool = False) -> Any:
        """Read samples by their numbers."""
        if self.shuffle:
            numbers = Permutation(len(self.dataset), self.seed, self.epoch)(numbers)
        return self.dataset.read(numbers, pinned=pinned)

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch."""
        self.epoch = epoch
        self.dataset.set_epoch(epoch)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on at the sample that follows the last one given when `state` was taken."""
        super().load_state_dict(state)
        self.dataset.set_epoch(self.epoch)

    def digest(self) -> str:
        """Give a digest of all that decides which windows the samples are."""
        return f"{self.dataset.digest()}-{self.dataset.seed}-{self.shuffle}"

    def sample_bytes(self) -> int:
        """Give the bytes of the longest sample."""
        return self.dataset.sample_bytes()
