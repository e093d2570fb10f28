"""What an engine costs: CPU seconds of a divided job against those of the undivided one.

    bench/.venv/bin/python bench/engines.py [--copies 8] [--parts 8] [--rounds 3] [--only kmers]

For each run a scheduler and two worker processes of Dask start on this machine, with the settings
that docs/engines.md recommends, and stop behind the job. Counted are the CPU seconds (user and
system) of all of them and of the client, from their starts to their ends; against them those of
the same command without an engine, with as many threads (and, to see what threads cost by
themselves, with one). A cluster that starts, is idle for as long and stops tells what of it the
job is not to blame for, where a cluster is there anyway. Outputs must be equal byte for byte.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

sys.path.insert(0, str(Path(__file__).resolve().parent))

import _measure
from _inputs import SHORT_RECORDS, originals, repeat_bam, scratch_folder
from _report import Claim, write_results

from seqmill import _native
from seqmill.engine.dask import WORKER_SETTINGS

WORKERS = 2
BOUND = 1.15
RECORD_BASES = 7_000_000
PART_RECORDS = 10
"""Records of a unit of kmers and coverage: 70 million bases, two seconds of work and more."""
_JOIN_SECONDS = 5.0


@dataclass
class Cluster:
    """A scheduler and its workers, as processes of this machine.

    Attributes
    ----------
    folder
        Where they leave their files.
    used
        CPU seconds of all, from their starts to their ends, once they have ended.
    """

    folder: Path
    used: float = 0.0
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __enter__(self) -> Self:
        """Start them."""
        self.file = self.folder / "scheduler.json"
        self.file.unlink(missing_ok=True)
        self._start("dask_scheduler", "--port", "0", "--scheduler-file", str(self.file))
        while not self.file.exists():
            time.sleep(0.1)
        worker = ["--scheduler-file", str(self.file), "--nthreads", "1", "--no-nanny"]
        for number in range(WORKERS):
            place = ["--local-directory", str(self.folder / f"worker{number}")]
            self._start("dask_worker", *worker, *place)
        time.sleep(_JOIN_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop them."""
        for process in reversed(self.processes):
            process.terminate()
            self.used += wait_for(process)

    def _start(self, module: str, *arguments: str) -> None:
        command = [sys.executable, "-m", f"distributed.cli.{module}", "--no-dashboard"]
        process = subprocess.Popen(
            [*command, *arguments],
            env={**os.environ, **recommended_environment()},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.processes.append(process)


def recommended_environment() -> dict[str, str]:
    """Give the settings of workers as variables that Dask reads."""
    return {
        f"DASK_{name.upper().replace('.', '__').replace('-', '_')}": str(value)
        for name, value in WORKER_SETTINGS.items()
    }


def wait_for(process: subprocess.Popen[bytes]) -> float:
    """Wait for the end of a process; gives its CPU seconds."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime


def run(command: list[str]) -> float:
    """Run a command; gives its CPU seconds."""
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    errors = process.stderr.read() if process.stderr else b""
    used = wait_for(process)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: {errors.decode(errors='replace')}")
    return used


def run_on_cluster(command: list[str], folder: Path) -> tuple[float, float]:
    """Run a command on a cluster; gives the CPU seconds of both, and of a cluster without it."""
    with Cluster(folder) as cluster:
        began = time.monotonic()
        used = run([*command, "--scheduler", str(cluster.file)])
        seconds = time.monotonic() - began
    with Cluster(folder) as idle:
        time.sleep(seconds)
    return used + cluster.used, idle.used


def digests(path: Path) -> dict[str, str]:
    """Hash a file, or all files below a folder."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return {str(f.relative_to(path.parent)): _native.hash_file(f)[1] for f in files if f.is_file()}


def remove(path: Path) -> None:
    """Remove what a run has left, also one that was interrupted."""
    shutil.rmtree(f"{path}.seqmill", ignore_errors=True)
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A command without its output, the name of that, and how it divides."""

    command: list[str]
    target: str
    units: int
    on_engine: tuple[str, ...] = ()


def make_jobs(folder: Path, copies: int, parts: int) -> dict[str, Job]:
    """Give the jobs by their names."""
    jobs = {}
    if "short" in originals():
        source = folder / "short.bam"
        if not source.exists():
            repeat_bam(originals()["short"], source, least_records=SHORT_RECORDS)
        inputs = folder / "copies"
        inputs.mkdir(exist_ok=True)
        paths = [inputs / f"{number:02}.bam" for number in range(copies)]
        for path in paths:
            path.unlink(missing_ok=True)
            path.symlink_to(source)
        command = ["convert", *map(str, paths), "--out-dir"]
        jobs["convert"] = Job(command=command, target="tables", units=copies)
    genome = make_genome(folder / f"genome{parts}.fa", parts)
    unit = ("--unit-bases", str(genome.stat().st_size // parts + 1))
    command = ["kmers", "count", str(genome), "-k", "31", "--canonical", "-o"]
    jobs["kmers"] = Job(command=command, target="genome.skm", units=parts, on_engine=unit)
    unit = ("--unit-bases", str(PART_RECORDS * RECORD_BASES))
    command = ["coverage", str(genome), "--windows", "10000", "-o"]
    jobs["coverage"] = Job(command=command, target="windows", units=parts, on_engine=unit)
    return jobs


def make_genome(path: Path, parts: int) -> Path:
    """Write random sequence, of which nearly every 31-mer is distinct: the most to exchange."""
    if path.exists():
        return path
    letters = bytes(b"ACGT"[value & 3] for value in range(256))
    chance = random.Random(8)  # noqa: S311 - sequence, no secret
    aside = path.with_suffix(".part")
    with aside.open("wb") as out:
        for number in range(parts * PART_RECORDS):
            sequence = chance.randbytes(RECORD_BASES).translate(letters)
            lines = (sequence[at : at + 80] for at in range(0, RECORD_BASES, 80))
            out.write(b">r%d\n%s\n" % (number, b"\n".join(lines)))
    aside.replace(path)
    return path


def measure(job: Job, folder: Path, rounds: int) -> dict[str, object]:
    """Run a job in turns: without an engine on one thread and on two, and on the workers."""
    ways = {"one thread": ["-@", "1"], "local": ["-@", str(WORKERS)], "dask": job.on_engine}
    figures: dict[str, list[float]] = {way: [] for way in (*ways, "idle cluster")}
    made = {}
    seqmill = str(Path(sys.executable).parent / "seqmill")
    for _ in range(rounds):
        for way, more in ways.items():
            output = folder / way.replace(" ", "-") / job.target
            output.parent.mkdir(exist_ok=True)
            remove(output)
            line = [seqmill, *job.command, str(output), "-q", *more]
            if way == "dask":
                used, idle = run_on_cluster(line, folder)
                figures["idle cluster"].append(idle)
            else:
                used = run(line)
            figures[way].append(used)
            made[way] = digests(output)
            remove(output)
    medians = {way: statistics.median(values) for way, values in figures.items()}
    return {
        "units": job.units,
        "cpu_s": medians,
        "whole": round(medians["dask"] / medians["local"], 3),
        "above_idle": round((medians["dask"] - medians["idle cluster"]) / medians["local"], 3),
        "seconds_per_unit": round(medians["local"] / job.units, 2),
        "same_bytes": made["local"] == made["dask"] == made["one thread"],
        "rounds": figures,
    }


def claims_of(name: str, found: dict[str, Any]) -> list[Claim]:
    """Say what is claimed of a job, and what was found."""
    note = f"{found['units']} units of {found['seconds_per_unit']} s"
    return [
        Claim(f"{name}: CPU, start of the cluster included / local", found["whole"], BOUND, note),
        Claim(f"{name}: CPU above an idle cluster / local", found["above_idle"], BOUND, note),
        Claim(f"{name}: same bytes", float(found["same_bytes"]), 1.0, least=True),
    ]


def main() -> None:
    """Measure, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--copies", type=int, default=8, help="inputs of convert, a unit each")
    parser.add_argument("--parts", type=int, default=8, help="units of kmers and of coverage")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="jobs: convert, kmers, coverage")
    arguments = parser.parse_args()
    folder = scratch_folder() / "engines"
    folder.mkdir(exist_ok=True)
    jobs = make_jobs(folder, arguments.copies, arguments.parts)
    results, machine = {}, _measure.machine()
    for name, job in jobs.items():
        if not arguments.only or name in arguments.only:
            results[name] = measure(job, folder, arguments.rounds)
    heads = ("one thread", "local", "dask", "idle", "whole", "above idle", "s/unit")
    print(f"{'job, CPU s':12}" + "".join(f"{head:>12}" for head in heads) + "  bytes")
    for name, found in results.items():
        values = [*found["cpu_s"].values()]
        values += [found[key] for key in ("whole", "above_idle", "seconds_per_unit")]
        same = "equal" if found["same_bytes"] else "DIFFERENT"
        print(f"{name:12}" + "".join(f"{value:12.2f}" for value in values) + f"  {same}")
    claims = [claim for name, found in results.items() for claim in claims_of(name, found)]
    series = {
        name: {who: {"cpu_s": cpu} for who, cpu in found["cpu_s"].items()}
        for name, found in results.items()
    }
    write_results("engines", {"machine": machine, "jobs": series}, claims)


if __name__ == "__main__":
    main()
