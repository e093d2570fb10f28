"""What a job cost, as the kernel counts it for this process and its finished children."""

import resource
from dataclasses import dataclass

from seqmill._host import Host

__all__ = ["MemoryUse", "Usage", "cgroup_peak", "read_memory", "read_usage"]


@dataclass(frozen=True, slots=True)
class Usage:
    """Counters that only grow; the difference of two is the cost of what lies between."""

    cpu_user_s: float
    cpu_sys_s: float
    major_faults: int
    minor_faults: int
    vol_ctx: int
    invol_ctx: int
    storage_read_bytes: int | None
    storage_write_bytes: int | None

    def since(self, start: "Usage") -> "Usage":
        """Give what was used since `start`."""
        return Usage(
            self.cpu_user_s - start.cpu_user_s,
            self.cpu_sys_s - start.cpu_sys_s,
            self.major_faults - start.major_faults,
            self.minor_faults - start.minor_faults,
            self.vol_ctx - start.vol_ctx,
            self.invol_ctx - start.invol_ctx,
            _minus(self.storage_read_bytes, start.storage_read_bytes),
            _minus(self.storage_write_bytes, start.storage_write_bytes),
        )


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """Resident memory now, in bytes; None where the system does not say."""

    rss_peak: int | None
    anon: int | None
    mapped: int | None


def read_usage(host: Host) -> Usage:
    """Read the counters now."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    storage = _key_values(host.read("/proc/self/io"))
    return Usage(
        own.ru_utime + children.ru_utime,
        own.ru_stime + children.ru_stime,
        own.ru_majflt + children.ru_majflt,
        own.ru_minflt + children.ru_minflt,
        own.ru_nvcsw + children.ru_nvcsw,
        own.ru_nivcsw + children.ru_nivcsw,
        storage.get("read_bytes"),
        storage.get("write_bytes"),
    )


def read_memory(host: Host) -> MemoryUse:
    """Read the memory figures now."""
    anon = host.status_bytes("RssAnon")
    if anon is not None:
        anon += host.status_bytes("RssShmem") or 0
    return MemoryUse(host.status_bytes("VmHWM"), anon, host.status_bytes("RssFile"))


def cgroup_peak(host: Host) -> int | None:
    """Read the kernel's own figure for the group of this process, page cache included."""
    for name, version, controller in (
        ("memory.peak", 2, ""),
        ("memory.max_usage_in_bytes", 1, "memory"),
    ):
        for found in host.cgroup_files(name, version=version, controller=controller):
            if found.is_own and found.text.isdecimal():
                return int(found.text)
    return None


def _key_values(text: str | None) -> dict[str, int]:
    pairs = (line.partition(":") for line in (text or "").splitlines())
    return {key: int(value) for key, _, value in pairs if value.strip().isdecimal()}


def _minus(end: int | None, start: int | None) -> int | None:
    return None if end is None or start is None else end - start
