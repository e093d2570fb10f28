"""What an engine is: something that takes small descriptors and gives back small records.

Data never travel through an engine. A unit says which part of which input to read and how its
output is called; workers read and write storage that they share with the client (`workflow.md`
D.1). This makes every engine equal, keeps memory inside seqmill's own budget, and lets a job that
was killed go on whatever it ran on.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Protocol, runtime_checkable

__all__ = [
    "DESCRIPTOR_BYTES_MAX",
    "Engine",
    "EngineInfo",
    "Handle",
    "Unit",
    "UnitResult",
    "WorkerInfo",
]

DESCRIPTOR_BYTES_MAX: Final = 4096
"""A descriptor is smaller than this as JSON; what is larger goes into a file beside the parts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """The smallest piece of a job that is run, retried and recorded as a whole.

    Attributes
    ----------
    key
        Hash of job, stage and description; the name of its part begins with it.
    stage
        Which stage of the job it belongs to.
    kind
        Its runner: one of :mod:`seqmill.engine.units`, or ``package.module:function``.
    description
        What it is, for people: an input, a shard, a range.
    work
        Plain values for the runner, or ``{"file": PATH}`` where they stand if they are many.
    folder
        Folder of the parts, on storage that client and workers share.
    name
        Name of its part in that folder.
    version
        Version of seqmill that planned it; a worker with another refuses it.
    threads, memory
        What it may use; memory None: what the worker finds.
    attempt
        How many times it failed before.
    """

    key: str
    stage: str
    kind: str
    description: str
    work: Mapping[str, Any]
    folder: str
    name: str
    version: str
    threads: int = 1
    memory: int | None = None
    attempt: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Give the descriptor: what travels to a worker.

        Examples
        --------
        >>> unit = Unit(key="k", stage="s", kind="probe", description="d", work={}, folder="/x",
        ...             name="k.part", version="0")
        >>> unit.to_dict()["name"]
        'k.part'
        """
        return {**asdict(self), "work": dict(self.work)}


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitResult:
    """What a worker tells of a unit.

    Attributes
    ----------
    key
        Key of the unit.
    files
        Name in the folder of the parts, size and XXH3-64 of each file that it made.
    stats
        Figures of the run, as the runner gives them.
    worker
        Host and process that ran it.
    error
        What went wrong as plain values, None if nothing did.
    """

    key: str
    files: Sequence[Mapping[str, Any]] = ()
    stats: Mapping[str, Any] = field(default_factory=dict)
    worker: str | None = None
    error: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Give the record: what travels back from a worker."""
        return {**asdict(self), "files": [dict(file) for file in self.files]}


class Handle(Protocol):
    """A unit that was handed to an engine."""

    @property
    def unit(self) -> Unit:
        """The unit."""

    def result(self) -> UnitResult:
        """Give what became of it; raises if the engine itself failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerInfo:
    """A worker: where it is, what it may use, what it sees.

    Attributes
    ----------
    address
        How the engine calls it.
    threads, memory
        Units at a time, and bytes of the process; memory None where nothing limits it.
    version
        Version of seqmill there.
    sees_probe
        Whether it read the probe file of the client.
    """

    address: str
    threads: int
    memory: int | None
    version: str
    sees_probe: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo:
    """The workers of an engine, and where it is reached (None: in this process)."""

    name: str
    address: str | None
    workers: Sequence[WorkerInfo]


@runtime_checkable
class Engine(Protocol):
    """Runs units somewhere.

    Others than ours come through the entry-point group ``seqmill.engines``: a function that takes
    the text of ``--scheduler`` (or None) and gives an object with these members.
    """

    name: str

    @property
    def parallelism(self) -> int:
        """Units that run at a time."""

    def info(self, probe: str, token: str) -> EngineInfo:
        """Ask every worker for its version and for the content of the file `probe`."""

    def submit(self, unit: Unit) -> Handle:
        """Hand over a unit; it runs :func:`seqmill.engine.units.run_unit` on its descriptor."""

    def as_completed(self, handles: Iterable[Handle], timeout: float) -> Iterator[Handle]:
        """Give handles as they end; stop after `timeout` seconds in which none did."""

    def cancel(self, handles: Iterable[Handle]) -> None:
        """Give up units; those that run may go on to their end."""

    def close(self) -> None:
        """Let go of everything that the engine made for itself."""
