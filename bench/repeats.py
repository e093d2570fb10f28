"""Measures `seqmill repeats` against REPrise, RepeatScout and Red where they are on PATH.

Every run is a process of its own, waited for with `wait4` by a small parent. CPU of seqmill is
that above its start-up (a run on an empty record), peak memory that above the same. REPrise runs
on one thread and must give the same bytes.
"""

import argparse
import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SHARED = Path(os.environ.get("SEQMILL_SHARED_DATA", HERE.parents[1] / "shared" / "data"))
_MIB = 1 << 20
_REFERENCE_SECONDS = 3600
_GFF_COLUMNS = 9
# Starts a command, waits, prints exit code, CPU seconds, wall seconds and peak bytes.
_PARENT = """
import json, os, sys, time
begun = time.monotonic()
null = os.open(os.devnull, os.O_WRONLY)
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ,
    file_actions=[(os.POSIX_SPAWN_DUP2, null, 1), (os.POSIX_SPAWN_DUP2, null, 2)])
_, status, usage = os.wait4(child, 0)
print(json.dumps([os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime,
    time.monotonic() - begun, usage.ru_maxrss * 1024]))
"""

Spans = dict[str, list[tuple[int, int]]]
# Name, path below the data folder, ratio to REPrise asked for by distance, memory asked for.
_INPUTS: dict[str, tuple[str, dict[int, int], dict[int, int]]] = {
    "sim": ("repeats/sim/genome.fa.gz", {0: 100, 1: 500}, {1: 32}),
    "drosophila chr4": ("real/genome/drosophila_dm3.chr4.fa.gz", {0: 100, 1: 500}, {1: 32}),
    "human 3M": ("real/genome/human3M.repeatscout.fa.gz", {0: 100, 1: 500}, {}),
    "yeast": ("real/yeast/S288C.fa.gz", {0: 150, 1: 500}, {0: 50, 1: 250}),
    "brassica": ("real/genome/brassica_napus.5scaffolds.softmasked.fa.gz", {0: 100}, {}),
}


class Claims:
    """What is asked for, as measured."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str, str]] = []

    def add(self, what: str, value: float, bound: float, *, least: bool) -> None:
        """Note a figure and what it must be at least, or at most."""
        holds = value >= bound if least else value <= bound
        sign = ">=" if least else "<="
        self.rows.append((what, f"{value:.4g}", f"{sign} {bound:g}", "yes" if holds else "**no**"))


def run(command: list[str], environment: dict[str, str] | None = None) -> dict[str, float]:
    """Run a command; gives exit code, CPU, wall and peak."""
    program = shutil.which(command[0]) or command[0]
    whole = [sys.executable, "-S", "-c", _PARENT, program, *command[1:]]
    told = subprocess.run(
        whole,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=True,
        timeout=_REFERENCE_SECONDS,
    )
    code, cpu, wall, peak = json.loads(told.stdout)
    return {"code": code, "cpu": cpu, "wall": wall, "peak": peak}


def ours(path: Path, prefix: Path, *options: str) -> dict[str, float]:
    """Run the command that is installed beside this Python."""
    program = str(Path(sys.executable).parent / "seqmill")
    command = [program, "repeats", str(path), "-o", str(prefix), "-f", "-q", *options]
    return run(command)


def best(rounds: int, path: Path, prefix: Path, *options: str) -> dict[str, float]:
    """Give the least CPU and wall, and the highest peak, of several runs."""
    runs = [ours(path, prefix, *options) for _ in range(rounds)]
    return {
        "code": max(one["code"] for one in runs),
        "cpu": min(one["cpu"] for one in runs),
        "wall": min(one["wall"] for one in runs),
        "peak": max(one["peak"] for one in runs),
    }


def plain(path: Path, folder: Path) -> Path:
    """Unpack a genome for programs that read plain FASTA."""
    target = folder / path.name.removesuffix(".gz")
    with gzip.open(path) as packed, target.open("wb") as out:
        shutil.copyfileobj(packed, out)
    return target


def same_files(one: Path, other: Path) -> bool:
    """Tell whether the files of two prefixes have the same bytes."""
    suffixes = (".freq", ".reprof", ".bed")
    return all(
        one.with_name(one.name + suffix).read_bytes()
        == other.with_name(other.name + suffix).read_bytes()
        for suffix in suffixes
    )


def read_bed(lines: Iterable[str]) -> Spans:
    """Read spans by sequence."""
    spans: Spans = {}
    for line in lines:
        chrom, start, end = line.split("\t")[:3]
        spans.setdefault(chrom, []).append((int(start), int(end)))
    return spans


def union(spans: Spans) -> dict[str, set[int]]:
    """Give the bases of spans."""
    return {c: {i for start, end in own for i in range(start, end)} for c, own in spans.items()}


def agreement(truth: Spans, found: Spans) -> tuple[float, float]:
    """Give sensitivity and precision by bases."""
    real, told = union(truth), union(found)
    both = sum(len(own & told.get(chrom, set())) for chrom, own in real.items())
    wanted, given = (sum(map(len, one.values())) for one in (real, told))
    return both / max(wanted, 1), both / max(given, 1)


def yeast_truth() -> Spans:
    """Ty elements and their long terminal repeats in the annotation of S288C."""
    path = SHARED / "real/yeast/S288C.all_feature.gff.gz"
    spans: Spans = {}
    with gzip.open(path, "rt") as file:
        for line in file:
            fields = line.rstrip("\n").split("\t")
            if line[0] == "#" or len(fields) < _GFF_COLUMNS:
                continue
            text = f"{fields[2]} {fields[8]}".upper()
            if any(word in text for word in ("TY1", "TY2", "TY3", "TY4", "TY5", "LTR")):
                spans.setdefault(fields[0], []).append((int(fields[3]) - 1, int(fields[4])))
    return spans


def soft_mask(path: Path) -> Spans:
    """Stretches of lower case bases."""
    spans: Spans = {}
    name, at, start = "", 0, None
    with gzip.open(path, "rt") as file:
        for line in file:
            text = line.rstrip("\n")
            if text.startswith(">"):
                if start is not None:
                    spans.setdefault(name, []).append((start, at))
                name, at, start = text[1:].split()[0], 0, None
                continue
            for letter in text:
                lower = letter in "acgt"
                if lower and start is None:
                    start = at
                elif not lower and start is not None:
                    spans.setdefault(name, []).append((start, at))
                    start = None
                at += 1
    if start is not None:
        spans.setdefault(name, []).append((start, at))
    return spans


def red_spans(path: Path, folder: Path) -> Spans | None:
    """Give what Red masks, None where it is not on PATH."""
    if shutil.which("Red") is None:
        return None
    genome, found = folder / "red_in", folder / "red_out"
    for one in (genome, found):
        shutil.rmtree(one, ignore_errors=True)
        one.mkdir()
    source = plain(path, genome)
    source.rename(genome / "genome.fa")
    run(["Red", "-gnm", str(genome), "-rpt", str(found), "-frm", "2"])
    spans: Spans = {}
    for line in (found / "genome.rpt").read_text().splitlines():
        chrom, start, end = line.lstrip(">").split("\t")[:3]
        spans.setdefault(chrom.split()[0], []).append((int(start), int(end)))
    return spans


def measure_input(
    name: str, folder: Path, options: argparse.Namespace, start: dict[str, float], claims: Claims
) -> list[dict[str, Any]]:
    """Run all contestants on one genome."""
    path, ratios, memory = _INPUTS[name]
    source = SHARED / path
    rows = []
    for distance in options.distances:
        row: dict[str, Any] = {"input": name, "distance": distance}
        compat = ("--compat", "reprise", "--distance", str(distance))
        one = best(options.rounds, source, folder / "one", *compat, "-@", "1")
        two = best(options.rounds, source, folder / "two", *compat, "-@", "2")
        row["cpu"] = max(one["cpu"] - start["cpu"], 1e-3)
        row["wall"] = max(one["wall"] - start["wall"], 1e-3)
        row["peak_mib"] = (one["peak"] - start["peak"]) / _MIB
        row["two_threads"] = row["wall"] / max(two["wall"] - start["wall"], 1e-3)
        row["same_bytes_with_two"] = same_files(folder / "one", folder / "two")
        label = f"{name}, distance {distance}"
        if distance in memory:
            claims.add(f"{label}: peak MiB", row["peak_mib"], memory[distance], least=False)
        if name == "yeast":
            claims.add(f"{label}: two threads / one", row["two_threads"], 1.7, least=True)
        # With mismatches the reference takes minutes for each megabase.
        feasible = distance == 0 or name in ("sim", "drosophila chr4") or options.patient
        if shutil.which("REPrise") and feasible and not options.no_peers:
            add_reference(row, plain(source, folder), folder, ratios, claims)
        rows.append(row)
        show(row)
    return rows


def add_reference(
    row: dict[str, Any], genome: Path, folder: Path, ratios: dict[int, int], claims: Claims
) -> None:
    """Run REPrise on one thread and compare."""
    distance, prefix = row["distance"], folder / "reference"
    command = ["REPrise", "-input", str(genome), "-output", str(prefix), "-dist", str(distance)]
    quiet = {"OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": "1"}
    # The flag, spelled so, stands last: it swallows the word behind it.
    theirs = run([*command, "-pa", "1", "-additonalfile"], quiet)
    row["reprise_cpu"] = theirs["cpu"]
    row["reprise_peak_mib"] = theirs["peak"] / _MIB
    row["ratio"] = theirs["cpu"] / row["cpu"]
    row["same_as_reprise"] = theirs["code"] == 0 and same_files(folder / "one", prefix)
    if distance in ratios:
        label = f"{row['input']}, distance {distance}: REPrise / seqmill"
        claims.add(label, row["ratio"], ratios[distance], least=True)


def add_repeatscout(name: str, folder: Path, start: dict[str, float], claims: Claims) -> None:
    """Run RepeatScout with its defaults."""
    if shutil.which("RepeatScout") is None or shutil.which("build_lmer_table") is None:
        return
    source = SHARED / _INPUTS[name][0]
    genome, table = plain(source, folder), folder / "lmers"
    first = run(["build_lmer_table", "-sequence", str(genome), "-freq", str(table)])
    output = folder / "scout.fa"
    second = run(
        ["RepeatScout", "-sequence", str(genome), "-freq", str(table), "-output", str(output)]
    )
    mine = best(1, source, folder / "scout_ours", "-@", "1")
    ratio = (first["cpu"] + second["cpu"]) / max(mine["cpu"] - start["cpu"], 1e-3)
    claims.add(f"{name}: RepeatScout / seqmill", ratio, 100, least=True)


def show(row: dict[str, Any]) -> None:
    """Print a row at once: a bench takes long."""
    figures = {k: f"{v:.3g}" if isinstance(v, float) else v for k, v in row.items()}
    print("  ".join(f"{name}={value}" for name, value in figures.items()), flush=True)


def annotations(folder: Path) -> list[dict[str, Any]]:
    """Compare with real annotations."""
    rows = []
    brassica = SHARED / _INPUTS["brassica"][0]
    for name, truth in (("yeast", yeast_truth()), ("brassica", soft_mask(brassica))):
        source = SHARED / _INPUTS[name][0]
        for label, flags in (
            ("distance 0", ()),
            ("distance 0, annotate", ("--annotate",)),
            ("distance 1", ("--distance", "1")),
        ):
            ours(source, folder / "real", "--format", "bed", *flags)
            found = read_bed((folder / "real.bed").read_text().splitlines())
            sensitivity, precision = agreement(truth, found)
            rows.append(
                {
                    "truth": name,
                    "tool": f"seqmill {label}",
                    "sensitivity": sensitivity,
                    "precision": precision,
                }
            )
            show(rows[-1])
        masked = red_spans(source, folder)
        if masked is not None:
            sensitivity, precision = agreement(truth, masked)
            rows.append(
                {"truth": name, "tool": "Red", "sensitivity": sensitivity, "precision": precision}
            )
            show(rows[-1])
    return rows


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", nargs="*", default=list(_INPUTS), choices=list(_INPUTS))
    parser.add_argument("--distances", nargs="*", type=int, default=[0, 1])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--no-annotations", action="store_true")
    parser.add_argument("--patient", action="store_true", help="REPrise on all, which takes hours")
    options = parser.parse_args()
    claims = Claims()
    for peer in ("REPrise", "RepeatScout", "Red"):
        print(f"{peer}: {shutil.which(peer) or 'not on PATH'}")
    with tempfile.TemporaryDirectory(dir=os.environ.get("SEQMILL_BENCH_DIR")) as scratch:
        folder = Path(scratch)
        bare = folder / "bare.fa"
        bare.write_text(">bare\n")
        start = best(options.rounds, bare, folder / "bare", "-@", "1")
        print(f"start-up: {start['cpu']:.3f} CPU s, {start['peak'] / _MIB:.1f} MiB")
        rows = [
            row
            for name in options.inputs
            for row in measure_input(name, folder, options, start, claims)
        ]
        if not options.no_peers:
            for name in options.inputs:
                add_repeatscout(name, folder, start, claims)
        if "yeast" in options.inputs:
            source = SHARED / _INPUTS["yeast"][0]
            small = ours(source, folder / "small", "--compat", "reprise", "-m", "64M", "-@", "1")
            ours(source, folder / "whole", "--compat", "reprise", "-@", "1")
            same = small["code"] == 0 and same_files(folder / "small", folder / "whole")
            claims.add("yeast in 64 MiB: same bytes", float(same), 1, least=True)
            claims.add("yeast in 64 MiB: peak MiB", small["peak"] / _MIB, 64, least=False)
        real = [] if options.no_annotations else annotations(folder)
    print("\n| claim | measured | asked | holds |\n|---|---|---|---|")
    for claim in claims.rows:
        print(f"| {' | '.join(claim)} |")
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    document = {"runs": rows, "annotations": real, "claims": claims.rows}
    (results / "repeats.json").write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
