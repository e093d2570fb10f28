"""From windows to tensors: what all datasets of :mod:`seqmill.torch` share."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import DTypeLike

from seqmill._encodings import Channels, Encode, choose_encoding
from seqmill._intervals import Intervals
from seqmill.errors import InputError

if TYPE_CHECKING:
    from seqmill.fetch import FastaStore

__all__ = ["Batch", "Reader", "import_torch"]

_ENCODINGS: Final = ("onehot", "tokens", "array", "softmask", "2bit")


def import_torch() -> Any:
    """Import torch, or say that it is needed."""
    try:
        import torch  # noqa: PLC0415 - only when tensors are asked for
    except ImportError as error:
        message = "seqmill.torch makes tensors; install torch to use it"
        raise ImportError(message) from error
    return torch


@dataclass(frozen=True, slots=True)
class Reader:
    """How windows become samples."""

    store: "FastaStore"
    encode: Encode
    dtype: DTypeLike | None
    channels: Channels
    pad: bool
    transform: Callable[[Any], Any] | None

    def __post_init__(self) -> None:
        if self.encode not in _ENCODINGS:
            words = ", ".join(map(repr, _ENCODINGS))
            message = f"{self.encode!r} is no tensor; encode takes {words}"
            raise InputError(message, option="encode", value=self.encode, allowed=words)
        choose_encoding(self.encode, dtype=self.dtype, channels=self.channels)

    def sample_bytes(self, bases: int) -> int:
        """Bytes of a sample of so many bases."""
        encoding = choose_encoding(self.encode, dtype=self.dtype, channels=self.channels)
        return int(encoding.native.output_bytes(bases))

    def read(self, windows: Intervals, *, pinned: bool = False) -> Any:
        """Read a batch: one tensor, or a list of samples where they were transformed or differ."""
        torch = import_torch()
        out = self._pinned(torch, windows) if pinned else None
        found = self.store.fetch_many(
            windows,
            encode=self.encode,
            dtype=self.dtype,
            channels=self.channels,
            out_of_range="pad" if self.pad else "error",
            out=None if out is None else out.numpy(),
        )
        if isinstance(found, tuple):
            data, offsets = torch.from_numpy(found[0]), found[1].tolist()
            batch = [data[a:b] for a, b in pairwise(offsets)]
        else:
            batch = torch.from_numpy(found) if out is None else out
        return batch if self.transform is None else [self.transform(row) for row in batch]

    def _pinned(self, torch: Any, windows: Intervals) -> Any:
        lengths = windows.ends - windows.starts
        if not len(lengths) or (lengths != lengths[0]).any():
            return None
        encoding = choose_encoding(self.encode, dtype=self.dtype, channels=self.channels)
        shape = encoding.empty(None, int(lengths[0])).shape
        dtype = torch.from_numpy(np.empty(0, encoding.dtype)).dtype
        return torch.empty((len(lengths), *shape), dtype=dtype, pin_memory=True)


class Batch(list[Any]):
    """Samples of one batch that still know the tensor they are rows of."""

    whole: Any = None
