"""The journal of a job of many units: what is done, kept so that a killed job can go on.

Beside the output lies ``OUT.seqmill/`` with ``job.json`` (what the job is), ``units.jsonl`` (one
line for each finished unit, with a checksum) and ``parts/`` (`workflow.md` C.2). Only the client
writes the journal.
"""

import errno
import fcntl
import json
import os
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Self

from seqmill import _native
from seqmill.engine.parts import is_whole, remove, remove_leavings
from seqmill.engine.protocol import DESCRIPTOR_BYTES_MAX, Unit, UnitResult
from seqmill.errors import InputError, OutputExistsError

__all__ = ["Journal", "canonical", "hash_key"]

_SYNC_SECONDS: Final = 5.0
_LOCK_SECONDS: Final = 2.0
"""A worker that is being started has our files open for a moment, until it becomes its own
program; the lock is not free before that."""
_COMPLETE: Final = "complete"
_WORK_BYTES_MAX: Final = DESCRIPTOR_BYTES_MAX // 2


def canonical(value: Any) -> str:
    """Write JSON in its one canonical form.

    Examples
    --------
    >>> canonical({"b": (1, 2), "a": None})
    '{"a":null,"b":[1,2]}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def hash_key(*values: Any) -> str:
    """Hash values to the key of a job or unit: XXH3-128 of canonical JSON.

    Examples
    --------
    >>> hash_key("convert", {"min_mapq": 30}) == hash_key("convert", {"min_mapq": 30})
    True
    """
    return _native.hash_bytes(canonical(list(values)).encode())


class Journal:
    """State of one job of many units; use it as a context, it holds a lock.

    Parameters
    ----------
    state
        The folder, ``OUT.seqmill``.
    facts
        What the job is: command, semantic options, fingerprints of inputs; its key is their hash.
    resume
        Go on with what is there, if it is of this job.
    force
        Discard what is there.

    Raises
    ------
    OutputExistsError
        If there is state and neither `resume` nor `force` is given.
    InputError
        If the state is of another job.
    BlockingIOError
        If another process works on the job.
    """

    def __init__(
        self, state: Path, facts: Mapping[str, Any], *, resume: bool = False, force: bool = False
    ) -> None:
        self.state = state
        self.parts = state / "parts"
        self.key = hash_key(facts)
        self.done: dict[str, UnitResult] = {}
        self.is_fresh = not state.exists()
        self.is_finished = False
        self._facts = json.loads(canonical(facts))
        self._resume, self._force = resume, force
        self._synced = time.monotonic()
        self._lock = -1
        self._lines = -1

    def __enter__(self) -> Self:
        """Take the lock, and read or make the state."""
        if not self.is_fresh and not self._resume and not self._force:
            message = (
                f"{self.state}: an interrupted job left its state; --resume goes on, --force "
                "starts anew"
            )
            raise OutputExistsError(message, path=str(self.state))
        remove_leavings(self.state)
        self.state.mkdir(parents=False, exist_ok=True)
        self._take_lock()
        try:
            if not self.is_fresh and (not self._resume or not self._is_of_this_job()):
                self._discard()
            self.parts.mkdir(exist_ok=True)
            self._write_job()
            self._read_lines()
        except BaseException:
            self._let_go()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of the lock; the state stays unless :meth:`remove` took it away."""
        if self._lines >= 0:
            os.fsync(self._lines)
        self._let_go()

    def make_unit(
        self, stage: str, kind: str, description: str, work: Mapping[str, Any], **resources: Any
    ) -> Unit:
        """Make a unit of this job; large descriptions go into a file beside the parts.

        The key is a function of job, stage and description alone.
        """
        key = hash_key(self.key, stage, description)
        if len(canonical(work)) > _WORK_BYTES_MAX:
            path = self.parts / f"{key}.json"
            aside = path.with_name(f"{path.name}.new")
            aside.write_text(canonical(work), encoding="utf-8")
            aside.replace(path)
            work = {"file": path.name}
        return Unit(
            key=key,
            stage=stage,
            kind=kind,
            description=description[:200],
            work=work,
            folder=str(self.parts.absolute()),
            name=f"{key}.part",
            version=_native.version(),
            **resources,
        )

    def verified(self, unit: Unit, *, elsewhere: Path | None = None) -> UnitResult | None:
        """Give the recorded result of a unit if its parts are there as recorded.

        Parameters
        ----------
        unit
            The unit.
        elsewhere
            Where its only file lies if it was given its final name already.
        """
        result = self.done.get(unit.key)
        if result is None:
            return None
        if is_whole(self.parts, result.files):
            return result
        if elsewhere is not None and len(result.files) == 1:
            moved = [{**result.files[0], "name": elsewhere.name}]
            if is_whole(elsewhere.parent, moved):
                return result
        self.void(unit)
        return None

    def record(self, unit: Unit, result: UnitResult) -> None:
        """Note that a unit is done."""
        entry = result.to_dict()
        self._append({**entry, "stage": unit.stage, "state": "done"})
        self.done[unit.key] = result

    def void(self, unit: Unit) -> None:
        """Take back that a unit is done, and remove its part: it was lost or damaged."""
        self._append({"key": unit.key, "stage": unit.stage, "state": "void"})
        self.done.pop(unit.key, None)
        remove(self.parts / unit.name)

    def note(self, name: str, make: Any = None) -> Any:
        """Give the value noted under `name`; without one, make it and keep it for a resumed job."""
        path = self.state / f"{name}.json"
        if path.exists():
            return json.loads(path.read_text(encoding="utf-8"))
        value = make()
        aside = path.with_name(f"{path.name}.new")
        aside.write_text(canonical(value), encoding="utf-8")
        aside.replace(path)
        return json.loads(canonical(value))

    def finish(self, outputs: Iterable[Path], answer: Mapping[str, Any]) -> None:
        """Note that the outputs are in place, and remove what made them.

        From here on a resumed job finds that it is done: what is left of the state says with what.
        """
        made = {os.fspath(file.absolute()): _native.fingerprint(file) for file in _files(outputs)}
        self.note(_COMPLETE, lambda: {"outputs": made, "answer": answer})
        self.is_finished = True
        for path in self.state.iterdir():
            if path.name not in ("lock", "job.json", "units.jsonl", f"{_COMPLETE}.json"):
                remove(path)

    def finished(self) -> dict[str, Any] | None:
        """Give what :meth:`finish` noted, if the outputs are as they were then; None otherwise."""
        path = self.state / f"{_COMPLETE}.json"
        try:
            noted = json.loads(path.read_text(encoding="utf-8"))
            if all(_native.fingerprint(file) == made for file, made in noted["outputs"].items()):
                self.is_finished = True
                answer: dict[str, Any] = noted["answer"]
                return answer
        except FileNotFoundError:
            pass
        path.unlink(missing_ok=True)
        return None

    def remove(self) -> None:
        """Remove the state: the job is complete, or would fail again in the same way."""
        self._let_go(unlink=True)

    def _take_lock(self) -> None:
        self._lock = os.open(self.state / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        until = time.monotonic() + _LOCK_SECONDS
        while not self._is_locked():
            if time.monotonic() > until:
                owner = os.pread(self._lock, 200, 0).decode(errors="replace").strip()
                os.close(self._lock)
                self._lock = -1
                text = f"another process works on this job ({owner})"
                raise BlockingIOError(errno.EAGAIN, text, str(self.state))
            time.sleep(0.05)
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.uname().nodename} {os.getpid()}\n".encode(), 0)

    def _is_locked(self) -> bool:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def _let_go(self, *, unlink: bool = False) -> None:
        if self._lines >= 0:
            os.close(self._lines)
            self._lines = -1
        if unlink:
            remove(self.state)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
        if unlink:
            # Where a file that is open cannot go, as on NFS, the lock has kept its folder.
            remove_leavings(self.state)

    def _discard(self) -> None:
        for path in self.state.iterdir():
            if path.name != "lock":
                remove(path)

    def _is_of_this_job(self) -> bool:
        path = self.state / "job.json"
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            facts = kept["facts"]
        except FileNotFoundError:
            if any(item.name != "lock" for item in self.state.iterdir()):
                message = (
                    f"{self.state} is the state of a job that ran without an engine; go on "
                    "without --engine, or start anew with --force"
                )
                raise InputError(message, option="resume") from None
            return False
        except (ValueError, KeyError, TypeError):
            return False  # killed while it was written: nothing was done yet
        if kept.get("key") == self.key:
            return True
        differing = sorted(
            name for name in {*facts, *self._facts} if facts.get(name) != self._facts.get(name)
        )
        message = (
            f"{self.state} is the state of another job: other {', '.join(differing)}; give the "
            "same inputs and options, or start anew with --force"
        )
        raise InputError(message, option="resume")

    def _write_job(self) -> None:
        path = self.state / "job.json"
        if path.exists():
            return
        aside = path.with_name("job.json.new")
        text = json.dumps({"format": 1, "key": self.key, "facts": self._facts}, indent=1)
        aside.write_text(text, encoding="utf-8")
        aside.replace(path)

    def _read_lines(self) -> None:
        """Read what is done; a torn last line is cut off."""
        self._lines = os.open(self.state / "units.jsonl", os.O_RDWR | os.O_CREAT, 0o644)
        with open(self._lines, "rb", closefd=False) as lines:
            whole = 0
            for line in lines:
                entry = _read_line(line)
                if entry is None:
                    break
                whole += len(line)
                self._apply(entry)
        os.ftruncate(self._lines, whole)
        os.lseek(self._lines, 0, os.SEEK_END)
        # A begin without an end is of the run before: it says nothing about the unit.
        for path in self.parts.glob("*.attempts"):
            path.unlink(missing_ok=True)

    def _apply(self, entry: dict[str, Any]) -> None:
        key = str(entry["key"])
        if entry["state"] == "void":
            self.done.pop(key, None)
            return
        self.done[key] = UnitResult(
            key=key, files=entry["files"], stats=entry["stats"], worker=entry["worker"]
        )

    def _append(self, entry: dict[str, Any]) -> None:
        text = canonical({**entry, "crc": zlib.crc32(canonical(entry).encode())})
        os.write(self._lines, f"{text}\n".encode())
        if time.monotonic() - self._synced > _SYNC_SECONDS:
            os.fsync(self._lines)
            self._synced = time.monotonic()


def _files(outputs: Iterable[Path]) -> Iterator[Path]:
    for output in outputs:
        if output.is_dir():
            yield from (path for path in sorted(output.rglob("*")) if path.is_file())
        elif output.exists():
            yield output


def _read_line(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
        crc = entry.pop("crc")
    except (ValueError, KeyError, AttributeError):
        return None
    if not line.endswith(b"\n") or zlib.crc32(canonical(entry).encode()) != crc:
        return None
    found: dict[str, Any] = entry
    return found
