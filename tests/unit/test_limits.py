import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqmill._host import Host, ResourceLimit
from seqmill.errors import InputError
from seqmill.limits import (
    Limit,
    choose_memory,
    choose_threads,
    parse_size,
    usable_cpus,
    usable_memory,
)

GIB = 1 << 30
MOUNT_V2 = "30 20 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
MOUNT_V1 = (
    "31 20 0:27 {root} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "32 20 0:28 {root} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
)


def make_host(
    root: Path,
    files: dict[str, str] | None = None,
    *,
    environ: dict[str, str] | None = None,
    limits: tuple[ResourceLimit, ...] = (),
) -> Host:
    """A machine with 8 CPUs and 100 GiB, described by files."""
    for name, text in (files or {}).items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Host(
        root=root,
        environ=environ or {},
        affinity=8,
        physical_memory=100 * GIB,
        resource_limits=limits,
    )


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (1, 1),
        ("1", 1),
        ("1000", 1000),
        ("1000B", 1000),
        ("7 B", 7),
        ("1K", 1024),
        ("512M", 512 << 20),
        ("2G", 2 << 30),
        ("3T", 3 << 40),
        ("2g", 2 << 30),
        ("1KiB", 1024),
        ("1.5GiB", 3 << 29),
        ("1.5 GiB", 3 << 29),
        ("2TiB", 2 << 40),
        ("1KB", 1000),
        ("2MB", 2_000_000),
        ("2GB", 2_000_000_000),
        ("2gb", 2_000_000_000),
        ("1.5GB", 1_500_000_000),
        ("1TB", 10**12),
        ("2.GB", 2 << 30),
        ("2 GB", 2 << 30),
        ("1.5 GB", 3 << 29),
        ("1.5.GB", 3 << 29),
        ("500.MB", 500 << 20),
        (" 2G ", 2 << 30),
        ("0.5K", 512),
        ("0.3K", 307),
    ],
)
def test_size_is_read(text: str | int, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "", "G", "-1", "-1G", "0", "0G", 0, -5, "1.5", "2.", "1..5G", "2 . GB", "2X", "2GiBs",
        "2KKB", "1e9", "0x10", "1_000", "1,000", "nan", "inf", "auto", "٣G", "5E", True, 1.5, None,
        "99999999999T", 1 << 63, "0.0001K",
    ],
)  # fmt: skip
def test_what_is_no_size_is_refused_with_value_and_what_is_allowed(text: object) -> None:
    with pytest.raises(InputError, match="is not a memory size") as caught:
        parse_size(text)  # type: ignore[arg-type]
    assert caught.value.option == "memory"
    assert caught.value.value == text
    assert "KiB" in str(caught.value.allowed)


@given(st.integers(1, 1 << 20), st.sampled_from("KMGT"))
def test_spellings_of_one_unit_agree(number: int, prefix: str) -> None:
    size = parse_size(f"{number}{prefix}")
    assert parse_size(f"{number}{prefix}iB") == parse_size(f"{number}.{prefix}B") == size
    assert parse_size(f"{number} {prefix}B") == size > parse_size(f"{number}{prefix}B")


@given(st.text())
def test_any_text_is_a_size_or_an_input_error(text: str) -> None:
    with contextlib.suppress(InputError):
        assert parse_size(text) > 0


def test_physical_memory_when_nothing_else_is_known(tmp_path: Path) -> None:
    assert usable_memory(make_host(tmp_path)) == Limit(80 * GIB, "80 % of physical memory")


def test_cgroup_v2_of_a_container(tmp_path: Path) -> None:
    host = make_host(
        tmp_path,
        {
            "/proc/self/mountinfo": MOUNT_V2,
            "/proc/self/cgroup": "0::/\n",
            "/sys/fs/cgroup/memory.max": f"{10 * GIB}\n",
            "/sys/fs/cgroup/memory.high": "max\n",
            "/sys/fs/cgroup/cpu.max": "350000 100000\n",
        },
    )
    assert usable_memory(host) == Limit(8 * GIB, "80 % of memory.max of the container")
    assert usable_cpus(host) == Limit(3, "cpu.max of the container")


def test_cgroup_v2_limit_of_an_ancestor_counts(tmp_path: Path) -> None:
    host = make_host(
        tmp_path,
        {
            "/proc/self/mountinfo": MOUNT_V2,
            "/proc/self/cgroup": "0::/slice/job/step\n",
            "/sys/fs/cgroup/slice/job/step/memory.max": "max",
            "/sys/fs/cgroup/slice/job/memory.max": str(50 * GIB),
            "/sys/fs/cgroup/slice/memory.high": str(20 * GIB),
            "/sys/fs/cgroup/slice/job/step/cpu.max": "max 100000",
            "/sys/fs/cgroup/slice/cpu.max": "10000 100000",
        },
    )
    assert usable_memory(host) == Limit(
        16 * GIB, "80 % of memory.high of a control group above the container"
    )
    assert usable_cpus(host) == Limit(1, "cpu.max of a control group above the container")


@pytest.mark.parametrize(
    ("mount_root", "group", "folder"),
    [
        ("/", "/a/b", "/a/b"),
        ("/", "/a/b", "/a"),
        # The container sees its own group as the root of the mount.
        ("/docker/123", "/docker/123", ""),
        # A path told from outside, of which nothing is visible.
        ("/", "/../elsewhere", ""),
    ],
)
def test_cgroup_v1(tmp_path: Path, mount_root: str, group: str, folder: str) -> None:
    memory, cpu = "/sys/fs/cgroup/memory", "/sys/fs/cgroup/cpu,cpuacct"
    host = make_host(
        tmp_path,
        {
            "/proc/self/mountinfo": MOUNT_V1.format(root=mount_root),
            "/proc/self/cgroup": f"4:memory:{group}\n2:cpu,cpuacct:{group}\n0::/\n",
            f"{memory}/memory.limit_in_bytes": str((1 << 63) - 4096),
            f"{memory}{folder}/memory.limit_in_bytes": str(5 * GIB),
            f"{cpu}{folder}/cpu.cfs_quota_us": "250000",
            f"{cpu}{folder}/cpu.cfs_period_us": "100000",
        },
    )
    assert usable_memory(host).value == 4 * GIB
    assert "memory.limit_in_bytes" in usable_memory(host).source
    assert usable_cpus(host).value == 2


def test_cgroup_without_limits_says_nothing(tmp_path: Path) -> None:
    host = make_host(
        tmp_path,
        {
            "/proc/self/mountinfo": MOUNT_V2 + MOUNT_V1.format(root="/") + "broken line\n",
            "/proc/self/cgroup": "4:memory:/\n2:cpu,cpuacct:/\n0::/\nbroken\n",
            "/sys/fs/cgroup/memory.max": "max\n",
            "/sys/fs/cgroup/cpu.max": "max 100000\n",
            "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
            "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        },
    )
    assert usable_memory(host).source == "80 % of physical memory"
    assert usable_cpus(host) == Limit(8, "affinity mask")


def test_resource_limits_count_less_what_is_used(tmp_path: Path) -> None:
    limits = (
        ResourceLimit("RLIMIT_AS", 30 * GIB, 5 * GIB),
        ResourceLimit("RLIMIT_DATA", 11 * GIB, 1 * GIB),
    )
    host = make_host(tmp_path, limits=limits)
    assert usable_memory(host) == Limit(8 * GIB, "80 % of what RLIMIT_DATA leaves")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"SLURM_MEM_PER_NODE": "10240"}, Limit(8 * GIB, "80 % of SLURM_MEM_PER_NODE")),
        (
            {"SLURM_MEM_PER_CPU": "5120", "SLURM_CPUS_ON_NODE": "4"},
            Limit(16 * GIB, "80 % of SLURM_MEM_PER_CPU x SLURM_CPUS_ON_NODE"),
        ),
        ({"SLURM_MEM_PER_NODE": "0"}, Limit(80 * GIB, "80 % of physical memory")),
        ({"SLURM_MEM_PER_CPU": "5120"}, Limit(80 * GIB, "80 % of physical memory")),
        ({"SLURM_MEM_PER_NODE": "many"}, Limit(80 * GIB, "80 % of physical memory")),
    ],
)
def test_memory_of_slurm(tmp_path: Path, environ: dict[str, str], expected: Limit) -> None:
    assert usable_memory(make_host(tmp_path, environ=environ)) == expected


def test_cpus_of_slurm(tmp_path: Path) -> None:
    host = make_host(tmp_path, environ={"SLURM_CPUS_PER_TASK": "3"})
    assert usable_cpus(host) == Limit(3, "SLURM_CPUS_PER_TASK")


def test_threads_option_then_variable_then_machine(tmp_path: Path) -> None:
    host = make_host(tmp_path, environ={"SEQMILL_THREADS": "5"})
    assert choose_threads(12, host=host) == Limit(12, "option")
    assert choose_threads("12", host=host) == Limit(12, "option")
    assert choose_threads(None, host=host) == Limit(5, "SEQMILL_THREADS")
    assert choose_threads("auto", host=make_host(tmp_path)) == Limit(8, "affinity mask")


@pytest.mark.parametrize("threads", [0, -1, 5000, "0", "two", "", "1.5", True])
def test_bad_number_of_threads_is_refused(threads: int | str) -> None:
    with pytest.raises(InputError, match="is not a number of threads"):
        choose_threads(threads)


def test_bad_variable_is_named(tmp_path: Path) -> None:
    host = make_host(tmp_path, environ={"SEQMILL_THREADS": "many"})
    with pytest.raises(InputError, match="SEQMILL_THREADS"):
        choose_threads(host=host)
    host = make_host(tmp_path, environ={"SEQMILL_MEMORY": "much"})
    with pytest.raises(InputError, match="SEQMILL_MEMORY"):
        choose_memory(host=host)


def test_memory_option_then_variable_then_what_is_useful_then_machine(tmp_path: Path) -> None:
    host = make_host(tmp_path, environ={"SEQMILL_MEMORY": "1G"})
    assert choose_memory("2G", useful=GIB, host=host) == Limit(2 * GIB, "option")
    assert choose_memory(host=host) == Limit(GIB, "SEQMILL_MEMORY")
    host = make_host(tmp_path)
    assert choose_memory("auto", useful=512 << 20, host=host) == Limit(
        512 << 20, "all that the command has use for"
    )
    assert choose_memory(useful=90 * GIB, host=host) == Limit(80 * GIB, "80 % of physical memory")


def test_real_resource_limit_is_seen(command_environment: dict[str, str]) -> None:
    program = "from seqmill.limits import usable_memory; print(usable_memory())"
    told = subprocess.run(
        ["bash", "-c", f'ulimit -v 2000000; "{sys.executable}" -c "{program}"'],
        env=command_environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "what RLIMIT_AS leaves" in told.stdout


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity mask")
def test_real_affinity_is_seen(command_environment: dict[str, str]) -> None:
    program = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from seqmill.limits import usable_cpus; print(usable_cpus().value)"
    )
    told = subprocess.run(
        [sys.executable, "-c", program],
        env=command_environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout == "1\n"
