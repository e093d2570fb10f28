"""What an engine costs: CPU seconds of a divided job against those of the undivided one.

    bench/.venv/bin/python bench/engines.py [--copies 8] [--rounds 3]

Scheduler and two worker processes of Dask run on this machine. Counted are the CPU seconds (user
and system) of the client from its start to its end, and of scheduler and workers while it runs;
against them those of the same command without an engine, with as many threads. Outputs must be
equal byte for byte.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

sys.path.insert(0, str(Path(__file__).resolve().parent))

from _inputs import SHORT_RECORDS, originals, repeat_bam, scratch_folder

WORKERS = 2
BOUND = 1.15
RESULTS = Path(__file__).resolve().parent / "results"
_TICK = os.sysconf("SC_CLK_TCK")


@dataclass
class Cluster:
    """A scheduler and its workers, as processes of this machine."""

    folder: Path
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
        return self

    def __exit__(self, *_: object) -> None:
        """Stop them."""
        for process in reversed(self.processes):
            process.terminate()
            process.wait(20)

    def _start(self, module: str, *arguments: str) -> None:
        command = [sys.executable, "-m", f"distributed.cli.{module}", "--no-dashboard"]
        process = subprocess.Popen(
            [*command, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.processes.append(process)

    def cpu(self) -> float:
        """Give the CPU seconds that all have used so far."""
        return sum(_cpu_of(process.pid) for process in self.processes)


def _cpu_of(pid: int) -> float:
    # proc(5): fields 14 to 17 are the times of the process and of its children that ended; the
    # name before them may hold blanks.
    values = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(value) for value in values[11:15]) / _TICK


def run(command: list[str], cluster: Cluster | None) -> float:
    """Run a command; gives its CPU seconds and those of the cluster meanwhile."""
    before = cluster.cpu() if cluster else 0.0
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    errors = process.stderr.read() if process.stderr else b""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: {errors.decode(errors='replace')}")
    used = usage.ru_utime + usage.ru_stime
    return used + (cluster.cpu() - before if cluster else 0.0)


def contents(path: Path) -> dict[str, bytes]:
    """Read a file, or all files below a folder."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return {str(f.relative_to(path.parent)): f.read_bytes() for f in files if f.is_file()}


def remove(path: Path) -> None:
    """Remove what a run has left."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def make_jobs(folder: Path, copies: int) -> dict[str, tuple[list[str], str, int]]:
    """Give for each job its command without output, the name of its output, and its units."""
    source = folder / "short.bam"
    if not source.exists():
        repeat_bam(originals()["short"], source, least_records=SHORT_RECORDS)
    jobs: dict[str, tuple[list[str], str, int]] = {}
    inputs = folder / "copies"
    inputs.mkdir(exist_ok=True)
    paths = []
    for number in range(copies):
        path = inputs / f"{number:02}.bam"
        path.unlink(missing_ok=True)
        path.symlink_to(source)
        paths.append(str(path))
    jobs["convert"] = (["convert", *paths, "--out-dir"], "tables", copies)
    genome = os.environ.get("SEQMILL_BENCH_GENOME")
    if genome:
        count = ["kmers", "count", genome, "-k", "31", "-o"]
        jobs["kmers count"] = (count, "genome.skm", 0)
    return jobs


def main() -> None:
    """Measure, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--copies", type=int, default=8, help="inputs of convert, a unit each")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    folder = scratch_folder() / "engines"
    folder.mkdir(exist_ok=True)
    seqmill = str(Path(sys.executable).parent / "seqmill")
    results = {}
    with Cluster(folder) as cluster:
        time.sleep(3)  # until the workers have joined, so that their start does not count
        for name, (command, target, units) in make_jobs(folder, arguments.copies).items():
            figures: dict[str, list[float]] = {"local": [], "dask": []}
            made = {}
            for _ in range(arguments.rounds):
                for engine, cpu in figures.items():
                    output = folder / engine / target
                    output.parent.mkdir(exist_ok=True)
                    remove(output)
                    more = ["-q", "-@", str(WORKERS)]
                    if engine == "dask":
                        more = ["-q", "--scheduler", str(cluster.file)]
                    line = [seqmill, *command, str(output), *more]
                    cpu.append(run(line, cluster if engine == "dask" else None))
                    made[engine] = contents(output)
                    remove(output)
            medians = {engine: statistics.median(values) for engine, values in figures.items()}
            results[name] = {
                "units": units,
                "cpu_s": medians,
                "ratio": round(medians["dask"] / medians["local"], 3),
                "seconds_per_unit": round(medians["local"] / units, 2) if units else None,
                "same_bytes": made["local"] == made["dask"],
                "rounds": figures,
            }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "engines.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    print(f"{'job':14} {'local CPU s':>12} {'dask CPU s':>12} {'ratio':>7}  bytes")
    for name, found in results.items():
        cpu = found["cpu_s"]
        same = "equal" if found["same_bytes"] else "DIFFERENT"
        print(f"{name:14} {cpu['local']:12.2f} {cpu['dask']:12.2f} {found['ratio']:7.3f}  {same}")
    held = results["convert"]["ratio"] <= BOUND
    print(f"claim: convert at most {BOUND} x local: {'holds' if held else 'does not hold'}")


if __name__ == "__main__":
    main()
