"""Measures ``seqmill coverage`` against samtools depth and mosdepth; see README.md."""

import argparse
import json
import shutil
import statistics
import sys
from pathlib import Path
from typing import Any

import _inputs
import _measure

_RESULTS = Path(__file__).resolve().parent / "results"
_MOST_OF_SAMTOOLS = 1.0
_MOST_OF_MOSDEPTH = 1.0


def contestants(path: Path, scratch: Path) -> dict[str, tuple[list[str], Path]]:
    """Give the commands by name, with what each writes."""
    seqmill = str(Path(sys.executable).parent / "seqmill")
    out, runs, depth = scratch / "coverage", scratch / "runs.bed", scratch / "depth.tsv"
    ours = [seqmill, "coverage", str(path), "-q", "-o", str(out), "-f"]
    found = {
        "samtools depth": (["samtools", "depth", "-o", str(depth), str(path)], depth),
        "seqmill, mates both": ([*ours, "-@", "1"], out),
        "seqmill, mates both, per base": ([*ours, "-@", "1", "--per-base", str(runs)], out),
        "seqmill, mates once": ([*ours, "-@", "1", "--mates", "once"], out),
        "seqmill, mates once, 2 threads": ([*ours, "-@", "2", "--mates", "once"], out),
    }
    if shutil.which("mosdepth") is not None:
        command = ["mosdepth", "-t", "0", str(scratch / "mosdepth"), str(path)]
        found["mosdepth"] = (command, scratch / "mosdepth.per-base.bed.gz")
    return found


def measure_input(tools: Any, path: Path, scratch: Path, rounds: int) -> dict[str, dict[str, Any]]:
    """Run all contestants in turn, round by round."""
    runs: dict[str, list[Any]] = {}
    for _ in range(rounds):
        for name, (command, output) in contestants(path, scratch).items():
            runs.setdefault(name, []).append(_measure.measure(tools, command, output))
    rows: dict[str, dict[str, Any]] = {}
    for name, list_ in runs.items():
        failure = next((run.failure for run in list_ if run.failure is not None), None)
        rows[name] = {
            "cpu": statistics.median(run.cpu for run in list_),
            "wall": min(run.wall for run in list_),
            "peak": max(run.rss_peak for run in list_),
            "failure": failure,
        }
    return rows


def show(name: str, path: Path, rows: dict[str, dict[str, Any]]) -> bool:
    """Print the table of an input; tells whether what is claimed holds."""
    size = path.stat().st_size / 1e6
    print(f"\n## {name} ({size:.0f} MB)\n\n| | CPU s | / samtools | wall s | peak MiB |")
    print("|---|---|---|---|---|")
    base = rows["samtools depth"]
    for who, row in rows.items():
        if row["failure"] is not None:
            print(f"| {who} | failed: {row['failure']} | | | |")
            continue
        ratio = row["cpu"] / base["cpu"]
        peak = row["peak"] / (1 << 20)
        print(f"| {who} | {row['cpu']:.2f} | {ratio:.2f} | {row['wall']:.2f} | {peak:.0f} |")
    holds = rows["seqmill, mates both"]["cpu"] <= _MOST_OF_SAMTOOLS * base["cpu"]
    print(f"\nCPU <= {_MOST_OF_SAMTOOLS} x samtools depth: {'yes' if holds else '**no**'}")
    mosdepth = rows.get("mosdepth")
    if mosdepth is not None and mosdepth["failure"] is None:
        fits = rows["seqmill, mates once"]["cpu"] <= _MOST_OF_MOSDEPTH * mosdepth["cpu"]
        print(f"CPU <= {_MOST_OF_MOSDEPTH} x mosdepth: {'yes' if fits else '**no**'}")
        holds = holds and fits
    return holds


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("files", nargs="*", type=Path, help="sorted BAM files of your own")
    arguments = parser.parse_args()
    if shutil.which("samtools") is None:
        print("samtools is not on PATH: nothing to compare with")
        return 1
    scratch = _inputs.scratch_folder()
    files = {path.name: path for path in arguments.files}
    if not files:
        simulated = _inputs.build_inputs(scratch)["simulated"].path
        files = {} if simulated is None else {"simulated": simulated}
    tools = _measure.build_tools()
    results, holds = {}, True
    for name, path in files.items():
        rows = measure_input(tools, path, scratch, arguments.rounds)
        holds = show(name, path, rows) and holds
        results[name] = rows
    _RESULTS.mkdir(exist_ok=True)
    (_RESULTS / "coverage.json").write_text(json.dumps(results, indent=2))
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
