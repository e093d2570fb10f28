"""fastar-loader's names and signatures over :class:`seqmill.FastaStore`.

A script moves over by ``from seqmill import fastar``. Where fastar-loader gives wrong data or
dies (a start behind a contig's end, a damaged side file), an error is raised that is a
:class:`RuntimeError` too.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from seqmill._roots import absolute
from seqmill._store import StoreOptions
from seqmill.errors import InputError, NameNotFoundError, SeqmillError
from seqmill.fetch import FastaStore
from seqmill.tracks import TrackStore

__all__ = ["FastarError", "FastarLoader", "TrackLoader", "read_sequence", "util"]

StorageMethod = Literal["mmap", "shmem", "memory"]


class FastarError(RuntimeError):
    """What this module raises: always also the class that seqmill itself would raise."""


_KINDS: Final[dict[type[Exception], type[Exception]]] = {}


def _both(kind: type[Exception]) -> type[Exception]:
    if kind not in _KINDS:
        _KINDS[kind] = type(kind.__name__, (kind, FastarError), {"__module__": __name__})
    return _KINDS[kind]


@contextmanager
def _as_runtime_errors() -> Iterator[None]:
    try:
        yield
    except SeqmillError as error:
        again = _both(type(error))(str(error))
        vars(again).update(vars(error))
        raise again from error
    except OSError as error:
        raise _both(type(error))(error.errno, error.strerror, error.filename) from error


def read_sequence(  # noqa: PLR0917 - the peer's signature
    fasta_path: str | os.PathLike[str],
    contig: str,
    start: int,
    length: int,
    gzi_path: str | os.PathLike[str] | None = None,
    fai_path: str | os.PathLike[str] | None = None,
) -> NDArray[np.uint8]:
    """Read one window of one file.

    Parameters
    ----------
    fasta_path
        The file.
    contig, start, length
        The window; positions from 0.
    gzi_path, fai_path
        Side files, which must be those beside the file.

    Returns
    -------
    numpy.ndarray
        ASCII.
    """
    with _as_runtime_errors():
        for told, suffix in ((gzi_path, ".gzi"), (fai_path, ".fai")):
            beside = f"{os.fspath(fasta_path)}{suffix}"
            if told is not None and not Path(told).samefile(beside):
                message = f"{os.fspath(told)} is not {beside}; side files must stand beside"
                raise InputError(message, option=f"{suffix[1:]}_path")
        store = FastaStore.open(fasta_path)
        return _read(store, store.names[0], contig, start, length)


def _read(
    store: FastaStore | TrackStore, name: str | int, contig: str, start: int, length: int
) -> NDArray[np.uint8]:
    if length < 0:
        message = f"length {length} is negative"
        raise InputError(message, option="length", value=length)
    if isinstance(store, TrackStore):
        return store.read_bytes(name, contig, start, start + length)
    found: NDArray[np.uint8] = store.fetch(name, contig, start, start + length, encode="array")
    return found


class _Loader:
    _suffix: str
    _make: Callable[..., FastaStore | TrackStore]

    def __init__(  # noqa: PLR0917 - the peer's signature
        self,
        path: str | os.PathLike[str],
        strict: bool = True,  # noqa: FBT001, FBT002 - the peer's signature
        force_build: bool = False,  # noqa: FBT001, FBT002
        no_cache: bool | None = None,  # noqa: FBT001
        min_contig_length: int = 0,
        num_workers: int | None = None,
        show_progress: bool | None = None,  # noqa: FBT001
        storage_method: StorageMethod | None = None,
        names: Iterable[str] | None = None,
    ) -> None:
        chosen = None if names is None else self._choose(names)
        no_cache = chosen is not None if no_cache is None else no_cache
        storage = storage_method or ("mmap" if chosen is None else "memory")
        self._names = chosen
        _ = show_progress  # Opening takes moments; there is nothing to show.
        with _as_runtime_errors():
            if storage not in ("mmap", "shmem", "memory"):
                message = f"{storage!r} is no storage method; take 'mmap', 'shmem' or 'memory'"
                raise InputError(message, option="storage_method", value=storage)
            if no_cache and force_build:
                message = "no_cache and force_build contradict each other"
                raise InputError(message, option="force_build")
            options: StoreOptions = {
                "suffixes": [self._suffix],
                "strict": strict,
                "force_build": force_build,
                "no_cache": no_cache,
                "min_contig_length": min_contig_length,
                "num_workers": num_workers,
                "storage": storage,
            }
            self._store = self._open(path, chosen, options)
        self._numbers = {} if chosen is None else self._find_numbers(path, chosen)

    @classmethod
    def _choose(cls, names: Iterable[str]) -> list[str]:
        if isinstance(names, str):
            with _as_runtime_errors():
                raise InputError(f"names takes several, such as [{names!r}]", option="names")
        return sorted({name.removesuffix(cls._suffix) for name in names})

    def _find_numbers(self, path: str | os.PathLike[str], names: Sequence[str]) -> dict[str, int]:
        """Find the files of a list, which the store has named and sorted in its own way."""
        store = self._store
        found = {os.fspath(store.path_of(number)): number for number in range(len(names))}
        places = absolute([Path(path, f"{name}{self._suffix}") for name in names])
        return {name: found[place] for name, place in zip(names, places, strict=True)}

    @classmethod
    def _open(
        cls, path: str | os.PathLike[str], names: Sequence[str] | None, options: StoreOptions
    ) -> FastaStore | TrackStore:
        if names is None:
            return cls._make(path, **options)
        files = [Path(path, f"{name}{cls._suffix}") for name in names]
        absent = [name for name, file in zip(names, files, strict=True) if not file.exists()]
        if absent:
            message = f"no file of the store has the name {absent[0]!r}"
            raise NameNotFoundError(message, name=absent[0])
        # A file that is named twice over would have its folder as the common one.
        return cls._make(files, **options)

    @property
    def names(self) -> list[str]:
        """Names of the files, sorted."""
        return self._store.names if self._names is None else self._names

    def contigs(self, name: str) -> list[tuple[str, int]]:
        """List names and lengths of the contigs of a file, in file order."""
        with _as_runtime_errors():
            return self._store.contigs(self._known(name))

    def read_sequence(self, name: str, contig: str, start: int, length: int) -> NDArray[np.uint8]:
        """Read a window as bytes."""
        with _as_runtime_errors():
            return _read(self._store, self._known(name), contig, start, length)

    def _known(self, name: str) -> str | int:
        if self._names is None:
            return name
        number = self._numbers.get(name, self._numbers.get(name.removesuffix(self._suffix)))
        if number is None:
            message = f"no file of the store has the name {name!r}"
            raise NameNotFoundError(message, name=name)
        return number


class FastarLoader(_Loader):
    """Sequences of ``NAME.fna.gz`` files below a folder, or of those `names` only."""

    _suffix = ".fna.gz"
    _make = FastaStore


class TrackLoader(_Loader):
    """Bytes of ``NAME.track.gz`` files below a folder; lengths and positions are bytes."""

    _suffix = ".track.gz"
    _make = TrackStore


class util:  # noqa: N801 - the peer's name
    """Helpers on arrays of ASCII."""

    _TOKENS: Final = {
        **dict.fromkeys("RYKMSWBDHVN", 4),
        **{letter: token for token, letter in enumerate("ACGT")},
    }

    @staticmethod
    def translate_integers(
        array: NDArray[Any], mapping: Mapping[int, int], dtype: DTypeLike | None = None
    ) -> NDArray[Any]:
        """Replace each integer by what `mapping` has for it; one it has not is a KeyError."""
        found, places = np.unique(array, return_inverse=True)
        values = np.array([mapping[int(value)] for value in found], dtype or array.dtype)
        return values[places].reshape(array.shape)

    @staticmethod
    def ascii_to_sequence(
        ascii: NDArray[np.uint8],  # noqa: A002 - the peer's name
        reverse_complement: bool = False,  # noqa: FBT001, FBT002
    ) -> NDArray[np.int64]:
        """Give A0 C1 G2 T3 and 4 for IUPAC letters, int64; other bytes are a KeyError."""
        mapping = {
            ord(each): token
            for letter, token in util._TOKENS.items()
            for each in (letter, letter.lower())
        }
        tokens = util.translate_integers(ascii, mapping, np.int64)
        if not reverse_complement:
            return tokens
        return np.where(tokens < 4, 3 - tokens, 4)[::-1]  # noqa: PLR2004 - the fifth token

    @staticmethod
    def ascii_to_softmask(ascii: NDArray[np.uint8]) -> NDArray[np.bool_]:  # noqa: A002
        """Tell which letters are lower case."""
        return (ascii >= ord("a")) & (ascii <= ord("z"))
