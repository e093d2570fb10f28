"""Measures ``seqmill coverage`` against samtools depth and mosdepth; see README.md."""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import _inputs
import _measure
from _measure import Series
from _report import Claim, write_results

_MOST_OF_SAMTOOLS = 1.0
_MOST_OF_MOSDEPTH = 1.0


def find_mosdepth(scratch: Path) -> list[str] | None:
    """Give the words that run mosdepth, None where it does not run.

    It loads `libhts.so` by that name, which Debian has only in the package for developers: a link
    to the library that is there does as well.
    """
    program = shutil.which("mosdepth")
    if program is None:
        return None
    folder = scratch / "libhts"
    folder.mkdir(exist_ok=True)
    link = folder / "libhts.so"
    listing = shutil.which("ldconfig", path=f"{os.environ.get('PATH', '')}:/sbin:/usr/sbin")
    known = [] if listing is None else _output([listing, "-p"]).split()
    library = next((word for word in known if word.endswith("/libhts.so.3")), None)
    if library is not None and not link.exists():
        link.symlink_to(library)
    for command in ([program], ["env", f"LD_LIBRARY_PATH={folder}", program]):
        if "mosdepth" in _output([*command, "--version"]):
            return command
    return None


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def contestants(
    path: Path, scratch: Path, mosdepth: list[str] | None
) -> dict[str, tuple[list[str], Path]]:
    """Give the commands by name, with what each writes."""
    seqmill = str(Path(sys.executable).parent / "seqmill")
    out, runs, depth = scratch / "coverage", scratch / "runs.bed", scratch / "depth.tsv"
    ours = [seqmill, "coverage", str(path), "-q", "-o", str(out), "-f"]
    found = {
        "samtools depth": (["samtools", "depth", "-o", str(depth), str(path)], depth),
        "seqmill, mates both": ([*ours, "-@", "1"], out),
        "seqmill, mates both, per base": ([*ours, "-@", "1", "--per-base", str(runs)], out),
        "seqmill, mates proper": ([*ours, "-@", "1", "--mates", "proper"], out),
        "seqmill, mates proper, per base": (
            [*ours, "-@", "1", "--mates", "proper", "--per-base", str(runs)],
            out,
        ),
        "seqmill, mates proper, 2 threads": ([*ours, "-@", "2", "--mates", "proper"], out),
    }
    if mosdepth is not None:
        command = [*mosdepth, "-t", "0", str(scratch / "mosdepth"), str(path)]
        found["mosdepth"] = (command, scratch / "mosdepth.per-base.bed.gz")
    return found


def measure_input(
    tools: Any, path: Path, scratch: Path, rounds: int, mosdepth: list[str] | None
) -> dict[str, Series]:
    """Run all contestants in turn, round by round."""
    found: dict[str, Series] = {}
    for _ in range(rounds):
        for name, (command, output) in contestants(path, scratch, mosdepth).items():
            series = found.setdefault(name, Series())
            series.runs.append(_measure.measure(tools, command, output))
    return found


def show(name: str, path: Path, found: dict[str, Series]) -> list[Claim]:
    """Print the table of an input; gives what is claimed."""
    size = path.stat().st_size / 1e6
    print(f"\n## {name} ({size:.0f} MB)\n\n| | CPU s | / samtools | wall s | peak MiB |")
    print("|---|---|---|---|---|")
    base = found["samtools depth"]
    for who, one in found.items():
        if one.failure is not None:
            print(f"| {who} | failed: {one.failure} | | | |")
            continue
        ratio = one.cpu / base.cpu
        print(f"| {who} | {one.cpu:.2f} | {ratio:.2f} | {one.wall:.2f} | {one.rss_mib:.0f} |")
    claims = []
    for ours, theirs, most in (
        ("seqmill, mates both", "samtools depth", _MOST_OF_SAMTOOLS),
        ("seqmill, mates proper", "mosdepth", _MOST_OF_MOSDEPTH),
        ("seqmill, mates proper, per base", "mosdepth", _MOST_OF_MOSDEPTH),
    ):
        pair = [found[who] for who in (ours, theirs) if who in found]
        text = f"{name}: CPU, {ours} / {theirs}"
        if all(one.counts for one in pair) and len(pair) > 1:
            claims.append(Claim(text, pair[0].cpu / pair[1].cpu, most))
        elif not pair[0].counts:
            claims.append(Claim(text, None, most, f"failed: {pair[0].failure}"))
        else:
            claims.append(Claim(text, None, most, f"no {theirs}"))
    return claims


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
    mosdepth = find_mosdepth(scratch)
    tools, machine = _measure.build_tools(), _measure.machine()
    results, claims = {}, []
    for name, path in files.items():
        found = measure_input(tools, path, scratch, arguments.rounds, mosdepth)
        claims += show(name, path, found)
        results[name] = {who: one.to_dict() for who, one in found.items()}
    missing = [] if mosdepth else ["mosdepth"]
    document = {"machine": machine, "missing_peers": missing, "depth": results}
    write_results("coverage", document, claims)
    return 0


if __name__ == "__main__":
    sys.exit(main())
