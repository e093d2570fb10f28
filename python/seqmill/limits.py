"""How many threads and how much memory a job may use, and which source said so.

Command-line options and Python keywords win over `SEQMILL_THREADS` and `SEQMILL_MEMORY`, these
win over what the machine grants: the affinity mask, control groups, resource limits, Slurm.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from seqmill._host import CgroupFile, Host
from seqmill.errors import InputError

__all__ = ["Limit", "choose_memory", "choose_threads", "parse_size", "usable_cpus", "usable_memory"]

THREADS_MAX: Final = 4096
MEMORY_MAX_BYTES: Final = 1 << 62
_LARGE_PROCESS_BYTES: Final = 128 << 20
_MEMORY_PERCENT: Final = 80
"""Of the smallest limit, what `auto` takes; the rest is for everything else that runs."""

_SIZE = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]+)?)(?P<gap>\.|[ ]+)?(?P<unit>[A-Za-z]*)")
_PREFIXES: Final = "kmgt"
_CGROUP_V1_UNLIMITED: Final = 1 << 62


@dataclass(frozen=True, slots=True)
class Limit:
    """A number and the source that it comes from.

    Attributes
    ----------
    value
        Threads, or bytes.
    source
        Words for the report, such as ``"memory.max of the container"``.
    """

    value: int
    source: str


def parse_size(size: int | str) -> int:
    """Turn a memory size into bytes.

    `K M G T` and `KiB … TiB` are powers of 1024, `KB MB GB TB` powers of 1000. With a dot or a
    space before the unit, as Nextflow writes them (`2.GB`, `2 GB`), all units are powers of 1024.

    Parameters
    ----------
    size
        Bytes, or a number with a unit; upper and lower case are the same.

    Returns
    -------
    int
        Bytes, rounded down.

    Raises
    ------
    InputError
        If `size` is not a size, is not above zero, or is beyond 2^62.

    Examples
    --------
    >>> parse_size("2G"), parse_size("2GB"), parse_size("2.GB"), parse_size("1.5GiB")
    (2147483648, 2000000000, 2147483648, 1610612736)
    """
    return _read_size(size, "memory")


def _read_size(size: int | str, option: str) -> int:
    number = _count_bytes(size)
    if number is None or not 0 < number <= MEMORY_MAX_BYTES:
        allowed = "bytes, or a number with K, M, G, T, KiB…TiB (1024) or KB…TB (1000), above zero"
        raise InputError(
            f"{size!r} is not a memory size; {option} takes {allowed}, for example 512M or 2G",
            option=option,
            value=size,
            allowed=allowed,
        )
    return number


def _count_bytes(size: object) -> int | None:
    if isinstance(size, int) and not isinstance(size, bool):
        return size
    match = _SIZE.fullmatch(size.strip()) if isinstance(size, str) else None
    if match is None:
        return None
    # Exact, and without the module `fractions`: it is a tenth of the start of a command.
    digits, _, decimals = match["number"].partition(".")
    number, unit = int(digits + decimals), match["unit"].lower()
    parts: int = 10 ** len(decimals)
    if unit in ("", "b"):
        whole = number % parts == 0 and (unit or not match["gap"])
        return number // parts if whole else None
    prefix, ending = unit[0], unit[1:]
    if prefix not in _PREFIXES or ending not in ("", "b", "ib"):
        return None
    decimal = ending == "b" and not match["gap"]
    scale: int = (1000 if decimal else 1024) ** (_PREFIXES.index(prefix) + 1)
    return number * scale // parts


def usable_cpus(host: Host | None = None) -> Limit:
    """Count the CPUs that this process may keep busy.

    Parameters
    ----------
    host
        The machine to look at; by default the one this runs on.

    Returns
    -------
    Limit
        The least of the affinity mask, every CPU quota above the process (rounded down, at
        least 1) and `SLURM_CPUS_PER_TASK`.

    Examples
    --------
    >>> usable_cpus().value >= 1
    True
    """
    host = host or Host.current()
    return min(_cpu_candidates(host), key=lambda limit: limit.value)


def _cpu_candidates(host: Host) -> Iterator[Limit]:
    yield Limit(max(1, host.affinity), "affinity mask")
    for found in host.cgroup_files("cpu.max", version=2):
        quota, _, period = found.text.partition(" ")
        if quota != "max" and _is_positive(quota) and _is_positive(period):
            yield Limit(max(1, int(quota) // int(period)), f"cpu.max of {_whose(found)}")
    for found in host.cgroup_files("cpu.cfs_quota_us", version=1, controller="cpu"):
        period = host.read(found.folder / "cpu.cfs_period_us") or ""
        if _is_positive(found.text) and _is_positive(period):
            value = max(1, int(found.text) // int(period))
            yield Limit(value, f"cpu.cfs_quota_us of {_whose(found)}")
    slurm = host.environ.get("SLURM_CPUS_PER_TASK", "")
    if _is_positive(slurm):
        yield Limit(int(slurm), "SLURM_CPUS_PER_TASK")


def usable_memory(host: Host | None = None) -> Limit:
    """Find the memory that this process may fill.

    Parameters
    ----------
    host
        The machine to look at; by default the one this runs on.

    Returns
    -------
    Limit
        80 % of the least of physical memory, every control group limit above the process,
        finite resource limits less what is used of them, and the memory that Slurm granted.

    Examples
    --------
    >>> usable_memory().value > 0
    True
    """
    host = host or Host.current()
    least = min(_memory_candidates(host), key=lambda limit: limit.value)
    share = max(1, least.value * _MEMORY_PERCENT // 100)
    return Limit(share, f"{_MEMORY_PERCENT} % of {least.source}")


def _memory_candidates(host: Host) -> Iterator[Limit]:
    yield Limit(host.physical_memory, "physical memory")
    for name in ("memory.max", "memory.high"):
        for found in host.cgroup_files(name, version=2):
            if found.text.isdecimal():
                yield Limit(int(found.text), f"{name} of {_whose(found)}")
    for found in host.cgroup_files("memory.limit_in_bytes", version=1, controller="memory"):
        if found.text.isdecimal() and int(found.text) < _CGROUP_V1_UNLIMITED:
            yield Limit(int(found.text), f"memory.limit_in_bytes of {_whose(found)}")
    for limit in host.resource_limits:
        yield Limit(max(0, limit.value - limit.used), f"what {limit.name} leaves")
    yield from _slurm_memory(host)


def _slurm_memory(host: Host) -> Iterator[Limit]:
    # Slurm counts in MiB; 0 stands for the whole memory of the node.
    node = host.environ.get("SLURM_MEM_PER_NODE", "")
    if _is_positive(node):
        yield Limit(int(node) << 20, "SLURM_MEM_PER_NODE")
    cpu = host.environ.get("SLURM_MEM_PER_CPU", "")
    cpus = host.environ.get("SLURM_CPUS_ON_NODE", "")
    if _is_positive(cpu) and _is_positive(cpus):
        yield Limit((int(cpu) << 20) * int(cpus), "SLURM_MEM_PER_CPU x SLURM_CPUS_ON_NODE")


def choose_threads(threads: int | str | None = None, *, host: Host | None = None) -> Limit:
    """Settle how many threads a job runs.

    Parameters
    ----------
    threads
        What the caller asked for; None and ``"auto"`` mean `SEQMILL_THREADS`, and without it
        the usable CPUs.
    host
        The machine to look at; by default the one this runs on.

    Returns
    -------
    Limit
        The number and who gave it.

    Raises
    ------
    InputError
        If the number is not between 1 and 4096.

    Examples
    --------
    >>> choose_threads(3)
    Limit(value=3, source='option')
    """
    host = host or Host.current()
    if threads is not None and threads != "auto":
        return Limit(_check_threads(threads, "threads"), "option")
    given = host.environ.get("SEQMILL_THREADS", "auto")
    if given != "auto":
        return Limit(_check_threads(given, "SEQMILL_THREADS"), "SEQMILL_THREADS")
    return usable_cpus(host)


def _check_threads(threads: int | str, option: str) -> int:
    valid = not isinstance(threads, bool) and (
        isinstance(threads, int) or (threads.isascii() and threads.isdecimal())
    )
    if not valid or not 1 <= int(threads) <= THREADS_MAX:
        allowed = f"1 to {THREADS_MAX}, or auto"
        raise InputError(
            f"{threads!r} is not a number of threads; {option} takes {allowed}",
            option=option,
            value=threads,
            allowed=allowed,
        )
    return int(threads)


def choose_memory(
    memory: int | str | None = None,
    *,
    useful: int | None = None,
    host: Host | None = None,
) -> Limit:
    """Settle the memory budget of a job: bytes that the whole process may hold.

    Parameters
    ----------
    memory
        What the caller asked for, see :func:`parse_size`; None and ``"auto"`` mean
        `SEQMILL_MEMORY`, and without it what the machine grants.
    useful
        The most that the job has use for, beside what a program that holds much already has;
        bounds ``auto`` only.
    host
        The machine to look at; by default the one this runs on.

    Returns
    -------
    Limit
        Bytes and who gave them.

    Raises
    ------
    InputError
        If the size cannot be read.

    Examples
    --------
    >>> choose_memory("512M")
    Limit(value=536870912, source='option')
    """
    host = host or Host.current()
    if memory is not None and memory != "auto":
        return Limit(_read_size(memory, "memory"), "option")
    given = host.environ.get("SEQMILL_MEMORY", "auto")
    if given != "auto":
        return Limit(_read_size(given, "SEQMILL_MEMORY"), "SEQMILL_MEMORY")
    granted = usable_memory(host)
    held = host.status_bytes("VmRSS") or 0
    if useful is not None and held > _LARGE_PROCESS_BYTES:
        useful += held
    if useful is not None and useful < granted.value:
        return Limit(useful, "all that the command has use for")
    return granted


def _whose(found: CgroupFile) -> str:
    return "the container" if found.is_own else "a control group above the container"


def _is_positive(text: str) -> bool:
    return text.isascii() and text.isdecimal() and int(text) > 0
