"""Measures `seqmill repeats` against REPrise, RepeatScout and Red where they are on PATH.

Every run is a process of its own, waited for with `wait4` by a small parent. CPU of seqmill is
that above its start-up (a run on an empty record), peak memory that above the same. REPrise runs
on one thread and must give the same bytes. What peers did is kept in `--peers FOLDER` and used
again (`_repeat_peers.py`): it has to be of the same sitting.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import _measure
import numpy as np
from _repeat_peers import PATHS, PEERS, SHARED, Peers, run
from _report import Claims, write_results

from seqmill._repeat_known import KnownRepeats, compare, merge_spans, read_known

_MIB = 1 << 20
_NEAR_LINEAR = 1.5
# Ratio to REPrise asked for by distance, memory asked for.
_ASKED: dict[str, tuple[dict[int, int], dict[int, int]]] = {
    "sim": ({0: 100, 1: 500}, {1: 32}),
    "drosophila chr4": ({0: 100, 1: 500}, {1: 32}),
    "human 3M": ({0: 100, 1: 500}, {}),
    "yeast": ({0: 150, 1: 500}, {0: 50, 1: 250}),
    "brassica": ({0: 100}, {}),
}
_KNOWN = {
    "yeast": ("real/yeast/S288C.all_feature.gff.gz", "TY*,*LTR*"),
    "brassica": (PATHS["brassica"], ""),
}


def ours(path: Path, prefix: Path, *options: str) -> dict[str, float]:
    """Run the command that is installed beside this Python."""
    program = str(Path(sys.executable).parent / "seqmill")
    command = [program, "repeats", str(path), "-o", str(prefix), "-f", "-q", *options]
    return run(command)


def best(rounds: int, path: Path, prefix: Path, *options: str) -> dict[str, float]:
    """Give the least CPU and wall, and the highest peak, of several runs."""
    return best_of([ours(path, prefix, *options) for _ in range(rounds)])


def best_of(runs: list[dict[str, float]]) -> dict[str, float]:
    """Give the least CPU and wall, and the highest peak."""
    return {
        "code": max(one["code"] for one in runs),
        "cpu": min(one["cpu"] for one in runs),
        "wall": min(one["wall"] for one in runs),
        "peak": max(one["peak"] for one in runs),
    }


def in_turn(
    rounds: int, path: Path, folder: Path, *options: str
) -> tuple[dict[str, float], dict[str, float]]:
    """Run on one thread and on two in turn, so that what else the machine does meets both."""
    runs: dict[str, list[dict[str, float]]] = {"one": [], "two": []}
    for _ in range(rounds):
        for name, threads in (("one", "1"), ("two", "2")):
            runs[name].append(ours(path, folder / name, *options, "-@", threads))
    return best_of(runs["one"]), best_of(runs["two"])


def same_files(one: Path, other: Path) -> bool:
    """Tell whether the files of two prefixes have the same bytes."""
    suffixes = (".freq", ".reprof", ".bed")
    return all(
        one.with_name(one.name + suffix).read_bytes()
        == other.with_name(other.name + suffix).read_bytes()
        for suffix in suffixes
    )


def measure_input(
    name: str,
    folder: Path,
    options: argparse.Namespace,
    start: dict[str, float],
    claims: Claims,
    *,
    peers: Peers,
) -> list[dict[str, Any]]:
    """Run all contestants on one genome."""
    ratios, memory = _ASKED[name]
    source = SHARED / PATHS[name]
    rows = []
    for distance in options.distances:
        row: dict[str, Any] = {"input": name, "distance": distance}
        row["bases"] = bases_of(source)
        compat = ("--compat", "reprise", "--distance", str(distance))
        one, two = in_turn(options.rounds, source, folder, *compat)
        row["cpu"] = max(one["cpu"] - start["cpu"], 1e-3)
        row["wall"] = max(one["wall"] - start["wall"], 1e-3)
        row["cpu_of_two"] = max(two["cpu"] - start["cpu"], 1e-3)
        row["peak_mib"] = (one["peak"] - start["peak"]) / _MIB
        row["two_threads"] = row["wall"] / max(two["wall"] - start["wall"], 1e-3)
        row["same_bytes_with_two"] = same_files(folder / "one", folder / "two")
        label = f"{name}, distance {distance}"
        claims.add(
            f"{label}: same bytes with two threads", row["same_bytes_with_two"], 1, least=True
        )
        if distance in memory:
            claims.add(f"{label}: peak MiB", row["peak_mib"], memory[distance], least=False)
        if name == "yeast":
            claims.add(f"{label}: two threads / one", row["two_threads"], 1.7, least=True)
        # With mismatches the reference takes minutes for each megabase.
        feasible = distance == 0 or options.patient or peers.kept("REPrise", name, distance)
        if feasible or name in ("sim", "drosophila chr4"):
            add_reference(row, folder, peers, ratios, claims)
        if distance == 0:
            add_repeatscout(row, peers, claims)
        rows.append(row)
        show(row)
    return rows


def bases_of(source: Path) -> int:
    """Count the letters of a genome."""
    import gzip  # noqa: PLC0415 - here alone

    with gzip.open(source, "rb") as file:
        return sum(len(line) - 1 for line in file if not line.startswith(b">"))


def add_reference(
    row: dict[str, Any], folder: Path, peers: Peers, ratios: dict[int, int], claims: Claims
) -> None:
    """Compare with REPrise on one thread."""
    distance = row["distance"]
    found = peers.get("REPrise", row["input"], distance)
    if found is None:
        return
    theirs, kept = found
    row["reprise_cpu"] = theirs["cpu"]
    row["reprise_peak_mib"] = theirs["peak"] / _MIB
    row["ratio"] = theirs["cpu"] / row["cpu"]
    row["same_as_reprise"] = theirs["code"] == 0 and same_files(folder / "one", kept / "out")
    label = f"{row['input']}, distance {distance}"
    claims.add(f"{label}: same bytes as REPrise", row["same_as_reprise"], 1, least=True)
    if distance in ratios:
        claims.add(f"{label}: REPrise / seqmill", row["ratio"], ratios[distance], least=True)


def add_repeatscout(row: dict[str, Any], peers: Peers, claims: Claims) -> None:
    """Compare with RepeatScout and its defaults."""
    found = peers.get("RepeatScout", row["input"])
    if found is None or found[0]["code"] != 0:
        return
    row["repeatscout_cpu"] = found[0]["cpu"]
    ratio = found[0]["cpu"] / row["cpu"]
    claims.add(f"{row['input']}: RepeatScout / seqmill", ratio, 100, least=True)


def show(row: dict[str, Any]) -> None:
    """Print a row at once: a bench takes long."""
    figures = {k: f"{v:.3g}" if isinstance(v, float) else v for k, v in row.items()}
    print("  ".join(f"{name}={value}" for name, value in figures.items()), flush=True)


def spans_of(lines: list[str], columns: tuple[int, int, int], last: int) -> dict[str, Any]:
    """Read spans by sequence from columns of a table; `last`: what makes an end half-open."""
    rows: dict[str, list[tuple[int, int]]] = {}
    for line in lines:
        fields = line.lstrip(">").split("\t")
        chrom, start, end = (fields[i] for i in columns)
        if start.isdigit() and end.isdigit():
            rows.setdefault(chrom.split()[0], []).append((int(start), int(end) + last))
    return {chrom: merge_spans(np.array(own)) for chrom, own in rows.items()}


def judged(known: KnownRepeats, spans: dict[str, Any]) -> tuple[float, float]:
    """Give sensitivity and precision of what another program found."""
    whole = sum(int((own[:, 1] - own[:, 0]).sum()) for own in spans.values())
    empty = np.zeros((0, 2), dtype=np.int64)
    told = compare(known, lambda chrom: spans.get(chrom, empty), whole)
    return told.sensitivity, told.precision


def annotations(folder: Path, peers: Peers) -> list[dict[str, Any]]:
    """Compare with real annotations."""
    rows: list[dict[str, Any]] = []

    def add(name: str, tool: str, figures: tuple[float, float]) -> None:
        row = {"truth": name, "tool": tool, "sensitivity": figures[0], "precision": figures[1]}
        rows.append(row)
        show(row)

    for name, (path, types) in _KNOWN.items():
        known = SHARED / path
        source = SHARED / PATHS[name]
        told = ("--known", str(known), *(("--known-types", types) if types else ()))
        for label, flags in (
            ("distance 0", ()),
            ("distance 0, annotate", ("--annotate",)),
            ("distance 1", ("--distance", "1")),
            ("distance 1, annotate", ("--distance", "1", "--annotate")),
        ):
            metrics = folder / "known.json"
            ours(source, folder / "real", *told, *flags, "--metrics", str(metrics))
            document = json.loads(metrics.read_text())
            figures = document["detail"]["known"]
            add(name, f"seqmill {label}", (figures["sensitivity"], figures["precision"]))
        read = read_known(known, [word for word in types.split(",") if word])
        red = peers.get("Red", name)
        if red is not None:
            lines = (red[1] / "genome.bed").read_text().splitlines()
            add(name, "Red", judged(read, spans_of(lines, (0, 1, 2), 0)))
        scout = peers.get("RepeatScout", name)
        if scout is not None and scout[0]["code"] == 0:
            # Its own elements: what its families were extended over.
            lines = (scout[1] / "ranges").read_text().splitlines()
            add(name, "RepeatScout", judged(read, spans_of(lines, (0, 1, 2), 0)))
    return rows


def add_growth(rows: list[dict[str, Any]], claims: Claims) -> None:
    """Say how the cost grows from about 1 Mb to about 22 Mb."""
    exact = {row["input"]: row for row in rows if row["distance"] == 0}
    for row in exact.values():
        row["ns_per_base"] = 1e9 * row["cpu"] / row["bases"]
        print(f"{row['input']}: {row['bases']:,} bases, {row['ns_per_base']:.1f} ns a base")
    if {"sim", "brassica"} <= set(exact):
        small, large = (exact[name]["ns_per_base"] for name in ("sim", "brassica"))
        claims.add("cost of a base, 22 Mb / 1 Mb", large / small, _NEAR_LINEAR, least=False)


def small_budget(folder: Path, distances: list[int], claims: Claims) -> None:
    """Run the yeast in 64 MiB."""
    source = SHARED / PATHS["yeast"]
    for distance in distances:
        compat = ("--compat", "reprise", "--distance", str(distance), "-@", "1")
        small = ours(source, folder / "small", *compat, "-m", "64M")
        ours(source, folder / "whole", *compat)
        same = small["code"] == 0 and same_files(folder / "small", folder / "whole")
        label = f"yeast in 64 MiB, distance {distance}"
        claims.add(f"{label}: same bytes", float(same), 1, least=True)
        claims.add(f"{label}: peak MiB", small["peak"] / _MIB, 64, least=False)


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", nargs="*", default=list(PATHS), choices=list(PATHS))
    parser.add_argument("--distances", nargs="*", type=int, default=[0, 1])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--peers", type=Path, help="folder that keeps what peers did")
    parser.add_argument("--no-annotations", action="store_true")
    parser.add_argument("--patient", action="store_true", help="REPrise on all, which takes hours")
    options = parser.parse_args()
    claims, machine = Claims(), _measure.machine()
    with tempfile.TemporaryDirectory(dir=os.environ.get("SEQMILL_BENCH_DIR")) as scratch:
        folder = Path(scratch)
        peers = Peers(options.peers or folder / "peers", off=options.no_peers)
        for peer in PEERS:
            print(f"{peer}: {'left out' if options.no_peers else peers.where(peer)}")
        bare = folder / "bare.fa"
        bare.write_text(">bare\n")
        start = best(options.rounds, bare, folder / "bare", "-@", "1")
        print(f"start-up: {start['cpu']:.3f} CPU s, {start['peak'] / _MIB:.1f} MiB")
        rows = [
            row
            for name in options.inputs
            for row in measure_input(name, folder, options, start, claims, peers=peers)
        ]
        add_growth(rows, claims)
        if "yeast" in options.inputs:
            small_budget(folder, options.distances, claims)
        real = [] if options.no_annotations else annotations(folder, peers)
    document = {
        "machine": machine,
        "missing_peers": [name for name in PEERS if options.no_peers or not peers.is_there(name)],
        "runs": {f"{row['input']}, distance {row['distance']}": contestants(row) for row in rows},
        "annotations": by_truth(real),
    }
    write_results("repeats", document, claims)


def contestants(row: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Lay out what all took on an input, ours without the start-up."""
    found = {
        "seqmill": {"cpu_s": row["cpu"], "wall_s": row["wall"], "rss_peak_mib": row["peak_mib"]},
        "seqmill, 2 threads": {
            "cpu_s": row["cpu_of_two"],
            "wall_s": row["wall"] / row["two_threads"],
        },
    }
    for peer, name in (("REPrise", "reprise"), ("RepeatScout", "repeatscout")):
        if f"{name}_cpu" in row:
            found[peer] = {"cpu_s": row[f"{name}_cpu"]}
            if f"{name}_peak_mib" in row:
                found[peer]["rss_peak_mib"] = row[f"{name}_peak_mib"]
    return found


def by_truth(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Lay out what was found of real annotations, by annotation and tool."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        figures = {key: row[key] for key in ("sensitivity", "precision")}
        found.setdefault(row["truth"], {})[row["tool"]] = figures
    return found


if __name__ == "__main__":
    main()
