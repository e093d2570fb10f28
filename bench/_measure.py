"""Runs commands one at a time and says what they took."""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seqmill import _native

ROOT = Path(__file__).resolve().parents[1]
_TARGET = ROOT / "target" / "limit"
_TIMEOUT_SECONDS = 900
# Importing NumPy starts a thread that spins for a while; nobody here multiplies matrices.
CALM = {"OPENBLAS_NUM_THREADS": "1"}
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Tools:
    """The two small Rust programs.

    Attributes
    ----------
    limit
        The least work of a conversion.
    measure
        The parent that runs a command and reports its usage.
    """

    limit: Path
    measure: Path


def build_tools() -> Tools:
    """Build the limit program and the measuring parent."""
    manifest = ROOT / "bench" / "limit" / "Cargo.toml"
    command = ["cargo", "build", "-q", "--release", "--locked"]
    command += ["--manifest-path", str(manifest), "--target-dir", str(_TARGET)]
    subprocess.run(command, check=True)
    release = _TARGET / "release"
    return Tools(limit=release / "seqmill-limit", measure=release / "measure")


@dataclass(frozen=True, slots=True)
class Run:
    """What one run of a command took.

    Attributes
    ----------
    cpu
        CPU seconds (user and system) that count: of a program all of them, of a Python library
        those after its imports.
    cpu_whole
        CPU seconds of the process from its start to its end.
    wall
        Seconds that count, as `cpu`.
    rss_peak
        Peak resident memory of the process in bytes.
    rss_above
        The same above what the interpreter and its imports take (Python libraries).
    output_bytes
        Size of the output.
    answer
        What the command said, as JSON.
    failure
        Why the run does not count.
    """

    cpu: float = 0.0
    cpu_whole: float = 0.0
    wall: float = 0.0
    rss_peak: int = 0
    rss_above: int = 0
    output_bytes: int = 0
    answer: dict[str, Any] = field(default_factory=dict)
    failure: str | None = None


def measure(tools: Tools, command: list[str], output: Path | None = None) -> Run:
    """Run a command as a process of its own; `output` is removed before."""
    if output is not None:
        remove(output)
    # Python compiles once and keeps it, as where a package was installed.
    left_out = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
    environment = {key: value for key, value in os.environ.items() if key not in left_out}
    environment |= {"TQDM_DISABLE": "1", "RUST_LOG": "error", **CALM}
    try:
        done = subprocess.run(
            [str(tools.measure), *command],
            capture_output=True,
            text=True,
            errors="replace",
            env=environment,
            timeout=_TIMEOUT_SECONDS,
            check=True,
        )
    except subprocess.TimeoutExpired:
        return Run(failure=f"more than {_TIMEOUT_SECONDS} s")
    *messages, usage_line = done.stderr.rstrip().splitlines()
    usage = json.loads(usage_line)
    if usage["exit"] != 0:
        said = [line.strip() for line in messages if line.strip()]
        # Some print a stack behind their message.
        errors = [line for line in said if "error" in line.lower() or "panicked" in line]
        return Run(failure=(errors or said or [f"exit {usage['exit']}"])[-1][:300])
    answer = _last_json(done.stdout)
    whole = usage["user"] + usage["sys"]
    return Run(
        cpu=answer.get("cpu", whole),
        cpu_whole=whole,
        wall=answer.get("wall", usage["wall"]),
        rss_peak=usage["rss_peak"],
        rss_above=usage["rss_peak"] - answer.get("rss_imports", 0),
        output_bytes=size_of(output),
        answer=answer,
    )


def _last_json(text: str) -> dict[str, Any]:
    lines = text.rstrip().splitlines()
    if not lines:
        return {}
    try:
        answer = json.loads(lines[-1])
    except ValueError:
        return {"text": lines[-1]}
    return answer if isinstance(answer, dict) else {"value": answer}


def size_of(path: Path | None) -> int:
    """Give the size of a file or of all files in a folder."""
    if path is None or not path.exists():
        return 0
    if path.is_dir():
        return sum(one.stat().st_size for one in path.rglob("*") if one.is_file())
    return path.stat().st_size


def remove(path: Path) -> None:
    """Remove a file or folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@dataclass(slots=True)
class Series:
    """The runs of one contestant at one task."""

    runs: list[Run] = field(default_factory=list)

    @property
    def failure(self) -> str | None:
        """Why the runs do not count, if one failed."""
        return next((run.failure for run in self.runs if run.failure), None)

    @property
    def counts(self) -> bool:
        """Whether there are figures."""
        return bool(self.runs) and self.failure is None

    @property
    def cpu(self) -> float:
        """Median of the CPU seconds."""
        return statistics.median(run.cpu for run in self.runs)

    @property
    def cpu_whole(self) -> float:
        """Median of the CPU seconds of the whole process."""
        return statistics.median(run.cpu_whole for run in self.runs)

    @property
    def wall(self) -> float:
        """Shortest wall time: what else runs on the machine can only make it longer."""
        return min(run.wall for run in self.runs)

    @property
    def rss_mib(self) -> float:
        """Highest peak of the resident memory, in MiB."""
        return max(run.rss_peak for run in self.runs) / _MIB

    @property
    def above_mib(self) -> float:
        """The same above the imports."""
        return max(run.rss_above for run in self.runs) / _MIB

    @property
    def output_bytes(self) -> int:
        """Size of the output."""
        return self.runs[-1].output_bytes

    def to_dict(self) -> dict[str, Any]:
        """Give all figures as JSON values."""
        if not self.counts:
            return {"failure": self.failure or "not run"}
        return {
            "cpu_s": round(self.cpu, 4),
            "cpu_whole_s": round(self.cpu_whole, 4),
            "wall_s": round(self.wall, 4),
            "rss_peak_mib": round(self.rss_mib, 1),
            "rss_above_imports_mib": round(self.above_mib, 1),
            "output_bytes": self.output_bytes,
            "cpu_of_rounds_s": [round(run.cpu, 4) for run in self.runs],
            "wall_of_rounds_s": [round(run.wall, 4) for run in self.runs],
        }


def machine() -> dict[str, Any]:
    """Describe the machine, as every result file does."""
    model = platform.processor()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {
        "cpu": model,
        "cpus": len(os.sched_getaffinity(0)),
        "system": platform.platform(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "simd": _native.features(),
        "when": time.strftime("%Y-%m-%d %H:%M"),
    }
