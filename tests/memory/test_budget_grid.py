"""Every command at its least budget, 1.25, 2 and 8 times it: the peak stays below, bytes alike.

The least is what the command itself names when it refuses. Each job runs in a control group of
its own with a tenth more than its budget, where one can be made; elsewhere its private memory is
limited.
"""

import contextlib
import hashlib
import itertools
import os
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.peaks import SEQMILL, Ended, run_measured

MIB = 1 << 20
TOO_SMALL = 78
FACTORS = (1.0, 1.25, 2.0, 8.0)
# The first answer may only know the program itself: what the input needs is found on the way.
ANSWERS = 24
# An answer that is hardly more than what was refused is raised by so much, to come to an end.
CREEP = 1.05
# By how much the program itself differs from one start to the next.
JITTER = MIB // 2
# Private memory of an idle interpreter with the package, on every machine seen so far.
IDLE = 64 * MIB
NUMBERS = itertools.count()


@dataclass(frozen=True)
class Job:
    """A command line; `{}` is the folder that it writes to."""

    name: str
    words: tuple[str, ...]
    threads: tuple[str, ...] = ("-@", "2")


@dataclass(frozen=True)
class Tried:
    """What became of a job in a budget."""

    ended: Ended
    digest: str
    killed: int


def own_group() -> Path | None:
    """Find the control group of this process that limits memory, if it can have children."""
    for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
        _, controllers, path = line.split(":", 2)
        roots = [Path("/sys/fs/cgroup/memory")] if "memory" in controllers.split(",") else []
        if not controllers:
            roots = [Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")]
        for root in roots:
            group = root / path.lstrip("/")
            limit = "memory.limit_in_bytes" if controllers else "memory.max"
            probe = group / f"seqmill-probe-{os.getpid()}"
            with contextlib.suppress(OSError):
                probe.mkdir()
                found = (probe / limit).exists()
                probe.rmdir()
                if found:
                    return group
    return None


@contextlib.contextmanager
def limited(limit: int) -> Iterator[Path | None]:
    """Make a control group with a limit, None where that is not possible."""
    parent = own_group() if limit else None
    if parent is None:
        yield None
        return
    group = parent / f"seqmill-{os.getpid()}-{next(NUMBERS)}"
    group.mkdir()
    try:
        name = "memory.max" if (group / "memory.max").exists() else "memory.limit_in_bytes"
        (group / name).write_text(str(limit), encoding="utf-8")
        # No swap: what does not fit must not hide there.
        for name in ("memory.swap.max", "memory.swappiness"):
            if (group / name).exists():
                (group / name).write_text("0", encoding="utf-8")
        yield group
    finally:
        remove(group)


def remove(group: Path) -> None:
    """Remove a control group; the kernel may still be busy with the process that has ended."""
    deadline = time.monotonic() + 10
    while True:
        try:
            group.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def kills_in(group: Path) -> int:
    for name in ("memory.events", "memory.oom_control"):
        if (group / name).exists():
            found = re.search(r"^oom_kill (\d+)", (group / name).read_text("utf-8"), re.MULTILINE)
            return int(found[1]) if found else 0
    return 0


def run(
    job: Job, memory: int, folder: Path, environment: dict[str, str], *, enforce: bool = True
) -> Tried:
    """Run a job with a budget into a new folder; the kernel sees to the budget if `enforce`."""
    folder.mkdir()
    words = [word.format(folder / "out") for word in job.words]
    with limited(memory + memory // 10 if enforce else 0) as group:
        ended = run_measured(
            [SEQMILL, *words, "-m", memory, *job.threads],
            environment,
            folder=folder,
            group=group,
            data_limit=memory + IDLE if enforce else 0,
        )
        killed = kills_in(group) if group is not None else 0
    digest = hashlib.sha256(ended.output)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(folder)}\n".encode())
            digest.update(path.read_bytes())
    return Tried(ended, digest.hexdigest(), killed)


def find_least(job: Job, scratch: Path, environment: dict[str, str]) -> int:
    """Ask the command for its least budget: begin with one that cannot do, follow its answers."""
    memory = 4 * MIB
    for number in range(ANSWERS):
        ended = run(job, memory, scratch / f"ask{number}", environment, enforce=False).ended
        if ended.code == 0:
            assert number, (
                f"{job.name} did its work in {memory} bytes, less than an interpreter has"
            )
            return memory + JITTER
        assert ended.code == TOO_SMALL, f"{job.name} with {memory}: {ended.code}\n{ended.errors}"
        named = re.search(r"at least (?:--memory )?([0-9.]+) ?MiB", ended.errors)
        assert named, f"{job.name} does not name a budget that would do: {ended.errors}"
        # The message rounds to a tenth of a MiB, perhaps down.
        wanted = int((float(named[1]) + 0.1) * MIB)
        assert wanted > memory, f"{job.name} refuses what it asked for: {ended.errors}"
        memory = max(wanted, int(memory * CREEP))
    pytest.fail(
        f"{job.name}: {ANSWERS} answers, the last one {memory / MIB:.1f} MiB, were too small"
    )


def check_grid(job: Job, scratch: Path, environment: dict[str, str]) -> None:
    least = find_least(job, scratch, environment)
    faults, digests = [], set()
    for factor in FACTORS:
        memory = int(least * factor)
        tried = run(job, memory, scratch / f"times{factor}", environment)
        ended = tried.ended
        shown = f"{job.name} -m {memory} ({memory / MIB:.1f} MiB, {factor} x the least)"
        if ended.code or tried.killed:
            faults.append(f"{shown}: exit code {ended.code}, {tried.killed} kills: {ended.errors}")
        elif ended.peak > memory:
            faults.append(f"{shown}: peak {ended.peak / MIB:.1f} MiB")
        digests.add(tried.digest)
    if len(digests) != 1:
        faults.append(f"{job.name}: bytes differ between budgets")
    assert not faults, "\n".join(faults)


def jobs_on(data: dict[str, str]) -> list[Job]:
    """Give a job of every command on these inputs."""
    genomes = tuple(data["genomes"].split("\n"))
    return [
        Job("convert", ("convert", data["bam"], "-o", "{}.parquet", "-q")),
        Job("convert to arrow", ("convert", data["bam"], "-o", "{}.arrow", "-q")),
        Job("fetch", ("fetch", data["fasta"], "-R", data["windows"], "-o", "{}.fa")),
        Job(
            "fetch to arrays",
            (
                *("fetch", data["fasta"], "-R", data["windows"], "-o", "{}.npz"),
                *("--format", "npz", "--encode", "onehot"),
            ),
        ),
        Job("pack", ("pack", "-o", "{}.agc", *genomes, "-q")),
        Job("unpack", ("unpack", data["archive"], "--all", "-o", "{}", "-q")),
        Job("kmers", ("kmers", "count", data["fasta"], "-o", "{}.skm", "-q")),
        Job("kmers as text", ("kmers", "count", data["fasta"], "-k", "40", "-o", "{}.tsv", "-q")),
        *(
            Job(
                f"kmers profile as {suffix}",
                ("kmers", "profile", data["table"], data["fasta"], "-o", f"{{}}.{suffix}"),
                threads=(),
            )
            for suffix in ("tsv", "bedgraph", "parquet")
        ),
        Job("coverage", ("coverage", data["bam"], "-R", data["regions"], "-o", "{}", "-q")),
        Job("coverage of sequence", ("coverage", data["fasta"], "-o", "{}", "-q")),
        Job("repeats", ("repeats", data["fasta"], "-o", "{}", "-q")),
    ]


NAMES = [
    job.name
    for job in jobs_on(
        dict.fromkeys(("bam", "fasta", "windows", "genomes", "archive", "regions", "table"), "")
    )
]
each_job = pytest.mark.parametrize("number", range(len(NAMES)), ids=NAMES)


def count_table(fasta: Path, folder: Path, environment: dict[str, str]) -> str:
    table = folder / "profiled.skm"
    command = ["seqmill", "kmers", "count", fasta, "-k", "21", "-o", table, "-q"]
    subprocess.run(command, env=environment, check=True)
    return str(table)


@pytest.fixture(scope="module")
def small(
    example_data: Path,
    tmp_path_factory: pytest.TempPathFactory,
    command_environment: dict[str, str],
) -> list[Job]:
    """The jobs on the data of the help pages."""
    at = {name: str(example_data / name) for name in ("small.bam", "genome.fa.gz", "regions.bed")}
    return jobs_on(
        {
            "bam": at["small.bam"],
            "fasta": at["genome.fa.gz"],
            "windows": at["regions.bed"],
            "regions": at["regions.bed"],
            "genomes": "\n".join(str(example_data / f"sample{n}.fa") for n in (1, 2)),
            "archive": str(example_data / "genomes.agc"),
            "table": count_table(
                example_data / "genome.fa.gz", tmp_path_factory.mktemp("table"), command_environment
            ),
        }
    )


@each_job
def test_small_inputs(
    small: list[Job], number: int, tmp_path: Path, command_environment: dict[str, str]
) -> None:
    check_grid(small[number], tmp_path, command_environment)


@pytest.fixture(scope="module")
def real(
    shared_data: Path,
    tmp_path_factory: pytest.TempPathFactory,
    command_environment: dict[str, str],
) -> list[Job]:
    """The jobs on real data: a human BAM, yeasts."""
    folder = tmp_path_factory.mktemp("real")
    yeasts = sorted((shared_data / "real" / "yeast").glob("*.fa.gz"))
    fasta = folder / "S288C.fa.gz"
    fasta.write_bytes((shared_data / "real" / "yeast" / "S288C.fa.gz").read_bytes())
    subprocess.run(["seqmill", "fetch", fasta, "--index-only"], env=command_environment, check=True)
    index = [line.split("\t") for line in Path(f"{fasta}.fai").read_text("utf-8").splitlines()]
    windows = folder / "windows.bed"
    windows.write_text(
        "".join(
            f"{name}\t{at}\t{at + 20_000}\n"
            for name, length, *_ in index
            for at in range(0, int(length) - 20_000, 20_000)
        )
        + "".join(f"{name}\t0\t{length}\n" for name, length, *_ in index)
    )
    bam = shared_data / "real" / "bam" / "HG002_illumina_wgs_10regions.merged.bam"
    regions = folder / "regions.txt"
    regions.write_text("chr1\nchr2:1-50,000,000\n")
    archive = folder / "yeasts.agc"
    subprocess.run(
        ["seqmill", "pack", "-o", archive, "-q", *yeasts], env=command_environment, check=True
    )
    return jobs_on(
        {
            "bam": str(bam),
            "fasta": str(fasta),
            "windows": str(windows),
            "regions": str(regions),
            "genomes": "\n".join(map(str, yeasts)),
            "archive": str(archive),
            "table": count_table(fasta, folder, command_environment),
        }
    )


@pytest.mark.slow
@each_job
def test_real_inputs(
    real: list[Job], number: int, tmp_path: Path, command_environment: dict[str, str]
) -> None:
    check_grid(real[number], tmp_path, command_environment)
