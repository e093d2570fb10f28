"""Running a unit: what happens on a worker.

:func:`run_unit` is the one function that engines call. It takes and gives plain values, so that
client and worker need not have equal closures, and writes a part by rename, so that a second
execution of a unit makes the same file with the same bytes.
"""

import importlib
import json
import os
import resource
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from seqmill import _native
from seqmill._host import Host
from seqmill.engine.failures import describe_error
from seqmill.engine.parts import publish
from seqmill.engine.protocol import Unit, UnitResult
from seqmill.errors import EngineError
from seqmill.limits import choose_memory

__all__ = ["POISON_DEATHS", "Resources", "run_unit"]

POISON_DEATHS: Final = 3
"""A unit that this many workers did not survive is not tried again."""

_RUNNERS: Final[Mapping[str, str]] = {
    "convert": "seqmill.engine.convert:run",
    "kmers.count": "seqmill.engine.kmer_units:run_count_unit",
    "kmers.merge": "seqmill.engine.kmer_units:run_merge_unit",
    "coverage": "seqmill.engine.coverage:run",
}
# More memory than this does not make a unit faster.
_USEFUL_BYTES: Final = 512 << 20
_THREAD_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Resources:
    """What a unit may use.

    Attributes
    ----------
    threads
        Threads of the native pipeline.
    memory
        Budget of the process while the unit runs.
    """

    threads: int
    memory: int


Runner = Callable[[Mapping[str, Any], Path, Resources], dict[str, Any]]


def run_unit(descriptor: Mapping[str, Any]) -> dict[str, Any]:
    """Run a unit; what goes wrong is told, not raised.

    Parameters
    ----------
    descriptor
        What :meth:`seqmill.engine.Unit.to_dict` gives.

    Returns
    -------
    dict
        What :meth:`seqmill.engine.UnitResult.to_dict` gives: parts with sizes and hashes, figures,
        or the error.
    """
    unit = Unit(**descriptor)
    began, used = time.monotonic(), _cpu_seconds()
    worker = f"{os.uname().nodename}:{os.getpid()}"
    try:
        _check_place(unit, worker)
        with _attempt(unit, worker):
            scratch = Path(unit.folder) / f"{unit.name}.tmp.{worker.replace(':', '.')}.{_number()}"
            try:
                stats = _runner(unit.kind)(_work(unit), scratch, _resources(unit))
                digest = stats.pop("table_digest", None)
                files = publish(scratch, Path(unit.folder) / unit.name, digest)
            finally:
                _clear(scratch)
    except Exception as error:  # noqa: BLE001 - whatever it is, the client decides
        told = describe_error(error)
        bad = getattr(error, "bad_parts", None)
        if bad:
            told["bad_parts"] = list(bad)
        return UnitResult(key=unit.key, worker=worker, error=told).to_dict()
    stats |= {"seconds": time.monotonic() - began, "cpu_s": _cpu_seconds() - used}
    return UnitResult(key=unit.key, files=files, stats=stats, worker=worker).to_dict()


def _check_place(unit: Unit, worker: str) -> None:
    # Workers may join after the client has asked all of them.
    if unit.version != _native.version():
        message = (
            f"worker {worker} has seqmill {_native.version()}, the client {unit.version}; "
            "install the same version everywhere"
        )
        raise EngineError(message, worker=worker, unit=unit.description)
    if not Path(unit.folder).is_dir():
        message = (
            f"worker {worker} does not see {unit.folder}; client and workers need storage that "
            "they share, under the same path"
        )
        raise EngineError(message, worker=worker, unit=unit.description)


@contextmanager
def _attempt(unit: Unit, worker: str) -> Iterator[None]:
    """Note begin and end in a file: a begin without an end is a worker that did not survive."""
    path = Path(unit.folder) / f"{unit.key}.attempts"
    token = f"{worker}:{_number()}"
    begun, ended = _read_attempts(path)
    lost = begun - ended
    if len(lost) >= POISON_DEATHS:
        message = (
            f"unit {unit.description!r} ended {len(lost)} workers "
            f"({', '.join(sorted(item.rpartition(':')[0] for item in lost))}); it is not tried "
            f"again. Descriptor: {json.dumps(unit.to_dict(), sort_keys=True)}"
        )
        raise EngineError(message, unit=unit.description)
    _note(path, f"begin {token}")
    try:
        yield
    finally:
        # Where the disk is full the part cannot be written either; that is the error to tell.
        with suppress(OSError):
            _note(path, f"end {token}")


def _read_attempts(path: Path) -> tuple[set[str], set[str]]:
    begun: set[str] = set()
    ended: set[str] = set()
    with suppress(FileNotFoundError):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            word, _, token = line.partition(" ")
            (begun if word == "begin" else ended).add(token)
    return begun, ended


def _note(path: Path, line: str) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(handle, f"{line}\n".encode())
    finally:
        os.close(handle)


def _runner(kind: str) -> Runner:
    # What is not ours is named as a function of another package: package.module:function.
    place = _RUNNERS.get(kind, kind)
    if ":" not in place:
        message = f"this version knows no units of kind {kind!r}"
        raise EngineError(message)
    module, _, name = place.partition(":")
    runner: Runner = getattr(importlib.import_module(module), name)
    return runner


def _work(unit: Unit) -> Mapping[str, Any]:
    if set(unit.work) == {"file"}:
        text = (Path(unit.folder) / str(unit.work["file"])).read_text(encoding="utf-8")
        work: Mapping[str, Any] = json.loads(text)
        return work
    return unit.work


def _resources(unit: Unit) -> Resources:
    # The native pipeline takes off its budget what the process holds when it begins, which here
    # is also the engine's own and that of other units; it comes on top of the unit's share.
    share = choose_memory(unit.memory, useful=_USEFUL_BYTES).value
    held = Host().status_bytes("VmRSS") or 0
    memory = (share + held + _THREAD_BYTES * unit.threads) * 20 // 19 + 1
    return Resources(unit.threads, memory)


def _clear(scratch: Path) -> None:
    for path in (scratch, Path(f"{scratch}.seqmill")):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _number() -> str:
    # Differs between attempts of one process, and between its threads.
    return os.urandom(4).hex()
