"""What stores of sequences and of tracks have in common: opening, names, pickling."""

import logging
import operator
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, Self, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from seqmill import _native
from seqmill._addresses import shown
from seqmill._roots import absolute, cache_directory, find_files, is_remote_root, open_remote
from seqmill.errors import InputError, NameNotFoundError, OutOfRangeError, SeqmillError
from seqmill.limits import choose_threads, parse_size

__all__ = [
    "OutOfRange",
    "StoreBase",
    "StoreOptions",
    "Strand",
    "check_threads",
    "is_minus",
    "out_of_any_range",
    "pad_byte",
]

PathLike = str | os.PathLike[str]
OutOfRange = Literal["error", "pad", "clip", "shift"]
Strand = Literal["+", "-", 1, -1, ".", 0]

_LOGGER: Final = logging.getLogger("seqmill")
_WORKERS_MAX: Final = 16
_NUMBER_MAX: Final = (1 << 32) - 1


class StoreOptions(TypedDict, total=False):
    """Options of :meth:`FastaStore.open`."""

    suffixes: Sequence[str]
    """Suffixes of the files that belong to the store."""
    strict: bool
    """A file that cannot be read is an error (default); else it is left out with a warning."""
    strict_eof: bool
    """A BGZF file without its end marker is an error; else a warning when it is indexed."""
    build_missing: bool
    """Build side files that are missing (default)."""
    rebuild_stale: bool
    """Compare side files with their files when an index is built, and build those anew that are
    malformed or do not fit; with `force_build` also where there is an index already."""
    gzip: Literal["error", "recompress"]
    """What becomes of gzip without blocks: refused, or copied as BGZF into the cache folder."""
    validate: Literal["stat", "none"]
    """Compare sizes and times of all files with the index (default), or not."""
    verify: Literal["crc", "none"]
    """Compare checksums of blocks (default); without, short windows are faster."""
    pack: Literal["auto", "require", "never"]
    """Whether packed sidecars are used: where there are fresh ones (default), always or never."""
    io: Literal["read", "mmap"]
    """How plain files are read; mapped they are faster, but nobody may write to them."""
    verify_index: bool
    """Compare the checksum of the whole index."""
    storage: Literal["mmap", "shmem", "memory"]
    """An index file that is mapped (default); one in memory that processes share while this one
    lives; or a copy of each handle's own, which is pickled with it."""
    no_cache: bool
    """Neither look for an index file nor write one."""
    force_build: bool
    """Build the index even if a valid one is there."""
    cache_size: int | str
    """Bytes of inflated blocks that a process keeps; default 16 MiB, 0 keeps none."""
    open_files: int
    """Most files that a process keeps open; default 256."""
    num_workers: int | None
    """Threads that build; default all usable CPUs, at most 16."""
    memory: int | str
    """Bytes that building side files may use; default 256 MiB."""
    concurrent_ranges: int
    """Ranges of remote files in flight, 1 to 64; default 8."""
    min_contig_length: int
    """Leave shorter contigs out of listing and look-up."""


def is_minus(strand: object) -> bool:
    """Tell whether a strand is the reverse one."""
    if strand in ("-", -1):
        return True
    if strand in ("+", 1, ".", 0):
        return False
    message = f"{strand!r} is no strand; strand takes '+', '-', 1 or -1"
    raise InputError(message, option="strand", value=strand, allowed="'+', '-', 1, -1")


def pad_byte(pad_char: str) -> int:
    """Give the byte of a padding character."""
    if pad_char == "N":
        return ord("N")
    code = ord(pad_char) if len(pad_char) == 1 else 256
    if not 0x21 <= code <= 0x7E:  # noqa: PLR2004 - the printable characters of ASCII
        message = f"{pad_char!r} is no printable character; pad_char takes one, such as N"
        raise InputError(message, option="pad_char", value=pad_char)
    return code


def out_of_any_range(start: object, end: object) -> OutOfRangeError:
    """Make the error for positions that no contig has, which the engine does not count up to."""
    window = f"{start}-{'' if end is None else end}"
    return OutOfRangeError(f"window {window} (0-based, half-open) is out of any contig")


def check_threads(threads: int) -> int:
    """Refuse a number of threads that cannot read."""
    if not isinstance(threads, int) or threads < 1:
        raise InputError(
            f"{threads} threads cannot read; threads takes 1 or more", option="threads"
        )
    return threads


class StoreBase:
    """A root, its index, and the names in it."""

    _content: ClassVar[Literal["sequence", "tracks"]]
    _default_suffixes: ClassVar[Sequence[str]]
    _native: _native.FetchStore

    def __init__(
        self, path: PathLike | Sequence[PathLike], **options: Unpack[StoreOptions]
    ) -> None:
        self._path = path
        # The process may go to another folder.
        self._root = absolute(path)
        self._options = options
        self._open(None)
        for index in self._native.unreadable():
            failure = self._native.failure(index)
            if failure is not None and options.get("strict", True):
                raise failure
            warnings.warn(f"left out: {failure}", stacklevel=3)
        self._warn(stacklevel=4)
        for built in self._native.built:
            _LOGGER.info("built %s", built)

    def _open(self, known: tuple[str, int, int] | bytes | None) -> None:
        options = self._native_options()
        files: list[str] | None
        if is_remote_root(self._root):
            base, files, options["remote"] = open_remote(
                self._root, self._content, self._options, options["memory"]
            )
        else:
            base, files = find_files(self._root)
        if isinstance(known, bytes):
            self._native = _native.FetchStore(base, files, index=known, **options)
        else:
            self._native = _native.FetchStore(base, files, reopen=known, **options)

    def _native_options(self) -> dict[str, Any]:
        options = self._options
        unknown = set(options) - set(StoreOptions.__annotations__)
        if unknown:
            message = f"{min(unknown)!r} is no option of a store"
            raise TypeError(message)
        _check("gzip", options.get("gzip", "error"), ("error", "recompress"))
        _check("validate", options.get("validate", "stat"), ("stat", "none"))
        _check("verify", options.get("verify", "crc"), ("crc", "none"))
        storage = _check("storage", options.get("storage", "mmap"), ("mmap", "shmem", "memory"))
        workers = choose_threads(options.get("num_workers")).value
        cache = options.get("cache_size", 16 << 20)
        open_files = options.get("open_files", 256)
        if open_files < 0:
            raise InputError(f"open_files takes 0 or more, not {open_files}", option="open_files")
        return {
            "suffixes": _check_suffixes(options.get("suffixes", self._default_suffixes)),
            "tracks": self._content == "tracks",
            "build_missing": options.get("build_missing", True),
            "rebuild_stale": options.get("rebuild_stale", False),
            "strict_eof": options.get("strict_eof", False),
            "recompress_gzip": options.get("gzip", "error") == "recompress",
            "validate": options.get("validate", "stat") == "stat",
            "verify_index": options.get("verify_index", False),
            "no_cache": options.get("no_cache", False) or storage != "mmap",
            "private": storage == "memory",
            "force_build": options.get("force_build", False),
            "verify_blocks": options.get("verify", "crc") == "crc",
            "cache_bytes": parse_size(cache) if cache else 0,
            "open_files": open_files,
            "threads": min(workers, _WORKERS_MAX),
            "memory": parse_size(options.get("memory", 256 << 20)),
            "cache_directory": cache_directory(),
            "map_plain": _check("io", options.get("io", "read"), ("read", "mmap")) == "mmap",
            "pack": _check("pack", options.get("pack", "auto"), ("auto", "require", "never")),
        }

    def __reduce__(self) -> tuple[Any, ...]:
        """Carry the way to the index; the index itself only with ``storage="memory"``."""
        native = self._native
        known: tuple[str, int, int] | bytes
        if self._options.get("storage") == "memory":
            known = native.index_content()
        else:
            known = (str(native.index_path), native.build_id, len(native))
        return _reopen, (type(self), self._root, self._options, known)

    def __repr__(self) -> str:
        """Name the root and the number of files."""
        path = self._path
        if is_remote_root(self._root):
            found = self._root
            path = shown(found) if isinstance(found, str) else [shown(item) for item in found]
        return f"{type(self).__name__}({path!r}, {len(self)} files)"

    def __len__(self) -> int:
        """Count the files that can be read."""
        return len(self._native) - len(self._native.unreadable())

    def __contains__(self, name: object) -> bool:
        """Tell whether the store has a file of this name."""
        if not isinstance(name, str | bytes):
            return False
        try:
            self._native.find_file(name)
        except (SeqmillError, OSError):
            # One that cannot be read was left out.
            return False
        return True

    def _readable(self) -> list[int]:
        broken = set(self._native.unreadable())
        return [index for index in range(len(self._native)) if index not in broken]

    @property
    def names(self) -> list[str]:
        """Names of the files, sorted by byte order."""
        return [self._native.name(index) for index in self._readable()]

    @property
    def index_path(self) -> Path:
        """Where the index lies."""
        return Path(self._native.index_path)

    @property
    def build_id(self) -> int:
        """Id of the index: equal for equal files."""
        return self._native.build_id

    @property
    def index_bytes(self) -> int:
        """Size of the index."""
        return self._native.index_bytes

    def path_of(self, name: str | bytes | int) -> Path:
        """Give the path of a file; one that is remote has none."""
        if is_remote_root(self._root):
            message = "remote files have no path"
            raise InputError(message, option="path")
        return Path(self._native.path(self._file(name)))

    def contigs(self, name: str | bytes | int) -> list[tuple[str, int]]:
        """List names and lengths of the contigs of a file, in file order."""
        least = self.min_contig_length
        found = self._native.contigs(self._file(name))
        return [contig for contig in found if contig[1] >= least] if least else found

    def contig_table(self) -> tuple[NDArray[np.uint32], NDArray[np.uint32], NDArray[np.int64]]:
        """List all contigs as arrays: number of the file, number in it, and length."""
        columns = self._native.contig_table()
        files, contigs = (np.frombuffer(column, "<u4") for column in columns[:2])
        lengths = np.frombuffer(columns[2], "<i8")
        kept = lengths >= self.min_contig_length
        return files[kept], contigs[kept], lengths[kept]

    def resolve(self, name: str | bytes | int, contig: str | bytes | int) -> tuple[int, int]:
        """Give the numbers of a file and of a contig in it; look-ups by number are faster."""
        file = self._file(name)
        if isinstance(contig, int) and 0 <= contig <= _NUMBER_MAX:
            return file, contig
        try:
            number, length = self._native.find_contig(file, contig)  # type: ignore[arg-type]
        except TypeError:
            return file, _as_number("contig", contig)
        if length < self.min_contig_length:
            message = f"contig {contig!r} has {length} bases, fewer than min_contig_length"
            raise NameNotFoundError(message)
        return file, number

    def length_of(self, name: str | bytes | int, contig: str | bytes | int) -> int:
        """Give the length of a contig."""
        return self._native.place(*self.resolve(name, contig), 0, None, "error")[1]

    @property
    def min_contig_length(self) -> int:
        """Length below which contigs are left out of listing and look-up."""
        return self._options.get("min_contig_length", 0)

    def _file(self, name: str | bytes | int) -> int:
        if isinstance(name, int) and 0 <= name <= _NUMBER_MAX:
            return name
        try:
            return self._native.find_file(name)  # type: ignore[arg-type]
        except TypeError:
            return _as_number("file", name)

    def _warn(self, stacklevel: int = 3) -> None:
        for text in self._native.take_warnings():
            warnings.warn(text, stacklevel=stacklevel)

    def check(self, *, threads: int = 1, memory: int = 256 << 20) -> list[str]:
        """Read every file and compare checksums, side files and the index with it.

        Parameters
        ----------
        threads
            Threads that inflate.
        memory
            Bytes that they may use.

        Returns
        -------
        list of str
            What is wrong, empty if nothing is.
        """
        return [text for _, text in self.iter_check(threads=threads, memory=memory) if text]

    def iter_check(
        self, *, threads: int = 1, memory: int = 256 << 20
    ) -> Iterator[tuple[Path, str | None]]:
        """Check file by file: the path and what is wrong with it, None if nothing is."""

        def fault_of(call: Callable[[], None]) -> str | None:
            try:
                call()
            except (SeqmillError, OSError) as error:
                return str(error)
            return None

        native = self._native
        yield Path(native.index_path), fault_of(native.check_index)
        for file in range(len(native)):
            fault = fault_of(partial(native.check_file, file, threads, memory))
            yield Path(native.path(file)), fault

    @classmethod
    def _restore(
        cls,
        path: PathLike | Sequence[PathLike],
        options: StoreOptions,
        known: tuple[str, int, int] | bytes,
    ) -> Self:
        store = cls.__new__(cls)
        vars(store).update(_path=path, _root=path, _options=options)
        store._open(known)  # noqa: SLF001 - its own
        return store


def _reopen(
    cls: type[StoreBase],
    path: PathLike | Sequence[PathLike],
    options: StoreOptions,
    known: tuple[str, int, int] | bytes,
) -> StoreBase:
    return cls._restore(path, options, known)


def _check_suffixes(suffixes: Sequence[str]) -> list[str]:
    if isinstance(suffixes, str) or not all(isinstance(each, str) and each for each in suffixes):
        message = f"{suffixes!r} is not allowed; suffixes takes a list, such as ['.fa', '.fna.gz']"
        raise InputError(message, option="suffixes", value=suffixes)
    return list(suffixes)


def _as_number(what: str, value: Any) -> int:
    """Take a number of a file or contig that is no `int`, such as one of NumPy."""
    try:
        number = operator.index(value)
    except TypeError:
        message = f"{value!r} is no {what}; give its name or its number"
        raise InputError(message, option=what, value=value) from None
    if not 0 <= number <= _NUMBER_MAX:
        raise InputError(f"there is no {what} number {number}", option=what, value=value)
    return number


def _check(option: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        words = ", ".join(map(repr, allowed))
        message = f"{value!r} is not allowed; {option} takes {words}"
        raise InputError(message, option=option, value=value, allowed=words)
    return value
