"""What the operating system says about this process: control groups, limits, CPUs.

Every figure comes from a file below `root` or from a field, so that a test can describe any
machine as a folder.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

__all__ = ["CgroupFile", "Host", "ResourceLimit"]


@dataclass(frozen=True, slots=True)
class ResourceLimit:
    """A finite resource limit of the process, in bytes, and how much of it is used."""

    name: str
    value: int
    used: int


@dataclass(frozen=True, slots=True)
class CgroupFile:
    """A control file on the way from the group of the process to the root."""

    folder: PurePosixPath
    text: str
    is_own: bool


@dataclass(frozen=True, slots=True)
class _Mount:
    """Where a control group hierarchy is visible, and which of its groups is visible there."""

    version: int
    controllers: frozenset[str]
    root: PurePosixPath
    point: PurePosixPath


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The machine, as far as this process sees it."""

    root: Path = Path("/")
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    affinity: int = 1
    physical_memory: int = 0
    resource_limits: tuple[ResourceLimit, ...] = ()

    @classmethod
    def current(cls) -> "Host":
        """Describe the machine that this process runs on."""
        host = cls()
        return cls(
            affinity=_count_cpus(),
            physical_memory=_physical_memory(host),
            resource_limits=tuple(_resource_limits(host)),
        )

    def read(self, path: PurePosixPath | str) -> str | None:
        """Give the text of a file below the root without its line end, None if unreadable."""
        try:
            text = (self.root / str(path).lstrip("/")).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
        return text.strip()

    def status_bytes(self, key: str) -> int | None:
        """Give a size of `/proc/self/status`, such as `VmHWM`, in bytes."""
        return _kib_line(self.read("/proc/self/status"), key)

    def cgroup_files(
        self, name: str, *, version: int, controller: str = ""
    ) -> Iterator[CgroupFile]:
        """Find a control file in the group of the process and in all groups above it."""
        own = self._own_group(version, controller)
        for mount in self._mounts():
            if mount.version != version or (controller and controller not in mount.controllers):
                continue
            for depth, folder in enumerate(_folders_upward(mount, own)):
                text = self.read(folder / name)
                if text is not None:
                    yield CgroupFile(folder, text, is_own=depth == 0)

    def _own_group(self, version: int, controller: str) -> PurePosixPath:
        for line in (self.read("/proc/self/cgroup") or "").splitlines():
            parts = line.split(":", 2)
            if len(parts) == 3 and (  # noqa: PLR2004 - hierarchy, controllers, path
                (version == 2 and parts[0] == "0" and not parts[1])  # noqa: PLR2004
                or (version == 1 and controller in parts[1].split(","))
            ):
                return PurePosixPath(parts[2])
        return PurePosixPath("/")

    def _mounts(self) -> Iterator[_Mount]:
        # proc(5): `id parent dev root point options [fields…] - type source super-options`.
        for line in (self.read("/proc/self/mountinfo") or "").splitlines():
            left, _, right = line.partition(" - ")
            before, after = left.split(), right.split()
            if len(before) < 5 or len(after) < 3:  # noqa: PLR2004
                continue
            kind = {"cgroup2": 2, "cgroup": 1}.get(after[0])
            if kind is not None:
                root, point = (PurePosixPath(_unescape(word)) for word in before[3:5])
                yield _Mount(kind, frozenset(after[2].split(",")), root, point)


def _folders_upward(mount: _Mount, group: PurePosixPath) -> Iterator[PurePosixPath]:
    """Walk from the group of the process to the topmost group that the mount shows.

    A container often sees its own group as the root of the mount, while the path of the process
    is still told from the outside: then the mount point itself is the group.
    """
    inside = PurePosixPath("/")
    if group.is_relative_to(mount.root) and ".." not in group.parts:
        inside = group.relative_to(mount.root)
    parts = [part for part in inside.parts if part != "/"]
    for length in range(len(parts), -1, -1):
        yield mount.point.joinpath(*parts[:length])


def _unescape(word: str) -> str:
    return word.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")


def _kib_line(text: str | None, key: str) -> int | None:
    for line in (text or "").splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if name == key and words and words[0].isdecimal():
            return int(words[0]) * 1024
    return None


def _count_cpus() -> int:
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _physical_memory(host: Host) -> int:
    told = _kib_line(host.read("/proc/meminfo"), "MemTotal")
    return told or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _resource_limits(host: Host) -> Iterator[ResourceLimit]:
    import resource  # noqa: PLC0415 - not needed by `--help`

    for name, key in (("RLIMIT_AS", "VmSize"), ("RLIMIT_DATA", "VmData")):
        soft, _ = resource.getrlimit(getattr(resource, name))
        if soft != resource.RLIM_INFINITY:
            yield ResourceLimit(name, soft, host.status_bytes(key) or 0)
