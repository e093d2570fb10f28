"""Remote inputs of jobs: threads that answer the engine's requests for ranges.

The engine's threads wait in Rust and never attach to the interpreter; these threads are Python's
own. They sit in the engine's queue until a range is wanted, read it through :mod:`seqmill._objects`
and hand the bytes in as they come.
"""

import errno
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Final

from seqmill import _native
from seqmill._addresses import Address, is_remote, whole_address
from seqmill._inputs import RANGES
from seqmill._objects import RemoteFile, look_at, read_range
from seqmill.errors import ChangedError, InputError

__all__ = ["bring_inputs", "fingerprint", "look_beside", "serve"]

_RANGE_BYTES: Final = 8 << 20
_LEAST_RANGE_BYTES: Final = 128 << 10
_REGIONS: Final = {"regions", "intervals", "whole_reference"}
_BUDGET_PART: Final = 16
"""A job reads ahead no more than this part of its memory."""


def serve(files: Sequence[RemoteFile], *, memory: int, ranges: int = RANGES) -> _native.RemoteFiles:
    """Start threads that read ranges of `files` for the engine.

    They end when the engine has let go of the object that is returned, or when it is closed.

    Parameters
    ----------
    files
        Versions that were looked at.
    memory
        Budget of the job: ranges take no more than a sixteenth of it.
    ranges
        Most ranges at a time.
    """
    most = max(memory // _BUDGET_PART, _LEAST_RANGE_BYTES)
    ranges = min(ranges, most // _LEAST_RANGE_BYTES)
    native = _native.RemoteFiles(ranges, min(most // ranges, _RANGE_BYTES))
    known = {file.address.shown: file for file in files}
    for place, file in known.items():
        native.add(place, file.size, file.tag)
    for _ in range(ranges):
        threading.Thread(
            target=_read_ranges, args=(native.queue(), known), name="seqmill-remote", daemon=True
        ).start()
    return native


def _read_ranges(queue: _native.RangeQueue, files: Mapping[str, RemoteFile]) -> None:
    while (request := queue.next_request()) is not None:
        number, place, begin, length = request
        try:
            read_range(
                files[place], begin, length, partial(queue.append, number), queue.wait_closed
            )
        except ChangedError as error:
            text = str(error).removeprefix(f"{place}: ")
            queue.fail_changed(number, place, error.offset or begin, text)
        except OSError as error:
            queue.fail(number, place, error.errno or errno.EIO, str(error.strerror))
        except Exception as error:  # noqa: BLE001 - else somebody waits for ever
            queue.fail(number, place, errno.EIO, f"byte {begin}: {type(error).__name__}: {error}")
        else:
            queue.finish(number)


def look_beside(address: Address, suffixes: Sequence[str]) -> RemoteFile | None:
    """Find the first side file that is there.

    Parameters
    ----------
    address
        Of the file itself.
    suffixes
        What its name has more; one that begins with ``^`` replaces the file's own suffix.
    """
    for suffix in suffixes:
        end = suffix.removeprefix("^")
        cut = end != suffix
        if cut and "." not in address.key.rpartition("/")[2]:
            continue

        def rename(name: str, end: str = end, *, cut: bool = cut) -> str:
            return f"{name.rpartition('.')[0] if cut else name}{end}"

        try:
            return look_at(address.beside(rename))
        except (FileNotFoundError, PermissionError):
            # Buckets that may not be listed answer 403 for what is not there.
            continue
    return None


def fingerprint(path: str) -> dict[str, Any]:
    """Give size and hash of a remote file, as `_native.fingerprint` does of a local one."""
    files = serve([look_at(whole_address(path))], memory=_BUDGET_PART * _RANGE_BYTES)
    try:
        return files.fingerprint(path)
    finally:
        files.close()


@contextmanager
def bring_inputs(
    options: dict[str, Any], remote: Sequence[str], *, ranges: int, any_region: bool
) -> Iterator[tuple[dict[str, Any], _native.RemoteFiles | None]]:
    """Make remote inputs readable; see :func:`seqmill._inputs.open_inputs`.

    Parameters
    ----------
    options
        What the engine is asked to do; an index that was brought here is noted in it.
    remote
        The inputs that are remote.
    ranges
        Most ranges at a time.
    any_region
        Regions may be asked for later.
    """
    _refuse(options)
    semantic, index = options["semantic"], options.get("index")
    alone = len(options["inputs"]) == 1 and semantic.get("mate") is None
    with ExitStack() as stack:
        found = [look_at(whole_address(path)) for path in remote]
        side: RemoteFile | None = None
        if index is not None and is_remote(index):
            side = look_at(whole_address(index))
        elif index is None and alone and (any_region or _REGIONS & semantic.keys()):
            side = look_beside(found[0].address, (".bai", "^.bai", ".csi", "^.csi"))
        if side is not None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="seqmill-")))
            options["index"] = str(_copy(side, folder))
        memory = options["resources"]["memory"]
        # Streams may outlive whoever opened them: the readers end when the engine has let go.
        yield options, serve(found, memory=memory, ranges=ranges) if found else None


def _refuse(options: Mapping[str, Any]) -> None:
    """Refuse what would write beside an input."""
    for option in ("index_only", "write_chunk_index"):
        if options.get(option):
            message = f"{option} writes beside the input, which is remote; copy it first"
            raise InputError(message, option=option)


def _copy(file: RemoteFile, folder: Path) -> Path:
    """Bring a small file here."""
    target = folder / PurePosixPath(file.address.key).name
    with target.open("wb") as out:
        read_range(file, 0, file.size, lambda piece: out.write(piece) >= 0)
    return target
