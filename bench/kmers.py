"""Measures ``seqmill kmers`` against KMC, Jellyfish, yak, FastK and meryl; see README.md.

``python bench/kmers.py`` takes the real inputs of the tests; ``--inputs`` and ``--k`` choose among
them. Peers that are not on PATH are named and left out.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import _inputs
import _measure
from _counters import PEERS, Peer
from _report import Claim, table, write_results

if TYPE_CHECKING:
    from collections.abc import Callable

_HERE = Path(__file__).resolve().parent
_SHARED = Path(os.environ.get("SEQMILL_SHARED_DATA", _HERE.parents[1] / "shared" / "data"))
_REAL = Path(os.environ.get("SEQMILL_REAL_DATA", _SHARED / "real"))
_MIB = 1 << 20
_BUDGETS = ("256M", "128M")
_LOOK_UPS = 1_000_000
# What issue 6 asks for.
_PEER_BOUNDS = {"yak": 0.4, "FastK": 0.3, "KMC": 0.3}
_TWO_THREADS = 1 / 1.8
_SMALL_BUDGET = 1.3
_BYTES_PER_KMER = 6.5
_LOOK_UPS_PER_SECOND = 2e6
_PROFILE = 3.0
# Cost per base of the dearest input of genomes over the cheapest.
_FLAT = 2.0


@dataclass(slots=True)
class Bench:
    """What there is to measure with, and what was found."""

    tools: _measure.Tools
    scratch: Path
    rounds: int
    peer_rounds: int
    peers: dict[str, Peer]
    start: float = 0.0
    start_wall: float = 0.0
    document: dict[str, Any] = field(default_factory=dict)
    claims: list[Claim] = field(default_factory=list)

    def fresh(self) -> Path:
        """Give an empty folder for the files of a contestant."""
        folder = self.scratch / "kmers-run"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    def claim(self, name: str, value: float | None, bound: float, note: str = "") -> None:
        """Note a figure and what it may be at most."""
        self.claims.append(Claim(name, value, bound, note))


def make_inputs(folder: Path) -> dict[str, Path]:
    """Write the inputs as plain text, as all counters read it."""
    folder.mkdir(exist_ok=True)
    yeasts = sorted((_REAL / "yeast").glob("*.fa.gz"))
    sources = {
        "yeast.fa": [_REAL / "yeast" / "S288C.fa.gz"],
        "yeasts7.fa": yeasts,
        "brassica_napus.fa": sorted((_REAL / "genome").glob("brassica_napus*.fa.gz")),
        "giab.fastq": sorted((_REAL / "fastq").glob("giab*.fastq.gz")),
    }
    found = {}
    for name, paths in sources.items():
        target = folder / name
        if not target.exists() and paths and all(path.exists() for path in paths):
            draft = target.with_suffix(".partial")
            with draft.open("wb") as out:
                for path in paths:
                    with gzip.open(path) as packed:
                        shutil.copyfileobj(packed, out)
            draft.replace(target)
        if target.exists():
            found[target.stem] = target
    viruses, target = _REAL / "collections" / "sarscov2_even_51483.fa.zst", folder / "sarscov2.fa"
    if not target.exists() and viruses.exists() and shutil.which("zstd"):
        draft = target.with_suffix(".partial")
        subprocess.run(["zstd", "-qdf", "--long=27", str(viruses), "-o", str(draft)], check=True)
        draft.replace(target)
    if target.exists():
        found["sarscov2"] = target
    return found


def count_bases(path: Path) -> int:
    """Count the bases of a file: lines of sequence without their ends."""
    fastq, bases = path.suffix == ".fastq", 0
    with path.open("rb") as lines:
        for number, line in enumerate(lines):
            if number % 4 == 1 if fastq else not line.startswith(b">"):
                bases += len(line.rstrip())
    return bases


def ours(k: int, path: Path, folder: Path, *options: str) -> list[str]:
    """Give our command: canonical k-mers into a sorted table."""
    program = str(Path(sys.executable).parent / "seqmill")
    command = [program, "kmers", "count", str(path), "-k", str(k), "--canonical", "-q"]
    return [*command, "-o", str(folder / "table.skm"), *options]


def contestants(bench: Bench, k: int) -> dict[str, Callable[[Path, Path], list[str]]]:
    """Give the commands by name; each is made of an input and a folder."""
    found: dict[str, Callable[[Path, Path], list[str]]] = {
        "seqmill": lambda path, folder: ours(k, path, folder, "-@1", f"-m{_BUDGETS[0]}"),
        "seqmill, 128M": lambda path, folder: ours(k, path, folder, "-@1", f"-m{_BUDGETS[1]}"),
        "seqmill, 2 threads": lambda path, folder: ours(k, path, folder, "-@2", f"-m{_BUDGETS[0]}"),
    }
    for name, peer in bench.peers.items():
        if k <= peer.most_k:
            # Bound now: the loop goes on.
            found[name] = lambda path, folder, make=peer.command: make(k, path, folder)
    return found


def measure_input(bench: Bench, name: str, path: Path, k: int) -> dict[str, _measure.Series]:
    """Run all contestants in turn, round by round."""
    series: dict[str, _measure.Series] = {}
    for turn in range(max(bench.rounds, bench.peer_rounds)):
        for who, make in contestants(bench, k).items():
            if turn >= (bench.peer_rounds if who in bench.peers else bench.rounds):
                continue
            folder = bench.fresh()
            run = _measure.measure(bench.tools, make(path, folder))
            if run.failure is None:
                size = _measure.size_of(folder)
                run = _measure.Run(**{**_fields(run), "output_bytes": size})
            series.setdefault(who, _measure.Series()).runs.append(run)
            took = run.failure or f"{run.cpu:.2f} s"
            print(f"  {name}, k = {k}, {who}: {took}", file=sys.stderr, flush=True)
    return series


def _fields(run: _measure.Run) -> dict[str, Any]:
    return {name: getattr(run, name) for name in run.__dataclass_fields__}


def above_start(bench: Bench, series: dict[str, _measure.Series], who: str) -> float | None:
    """Give CPU seconds; of ours without those of the start."""
    one = series.get(who)
    if one is None or not one.counts:
        return None
    return max(one.cpu - bench.start, 1e-3) if who.startswith("seqmill") else one.cpu


def judge_input(bench: Bench, name: str, k: int, series: dict[str, _measure.Series]) -> None:
    """Compare with what is asked for."""
    label = f"{name}, k = {k}"
    own, small, two = (series[who] for who in list(series)[:3])
    cpu = above_start(bench, series, "seqmill")
    if cpu is None:
        bench.claims.append(Claim(label, None, None, f"failed: {own.failure}"))
        return
    for peer, bound in _PEER_BOUNDS.items():
        theirs = above_start(bench, series, peer)
        if theirs is not None:
            bench.claim(f"{label}: CPU above start-up / {peer}", cpu / theirs, bound)
    for series_of, budget in ((own, 256), (small, 128)):
        if series_of.counts:
            bench.claim(f"{label}: peak MiB in {budget}M", series_of.rss_mib, budget)
    less = above_start(bench, series, "seqmill, 128M")
    if less is not None:
        bench.claim(f"{label}: CPU in 128M / in 256M", less / cpu, _SMALL_BUDGET)
    if two.counts:
        note = f"CPU {two.cpu / own.cpu:.2f} x"
        bench.claim(f"{label}: wall of two threads / one", two.wall / own.wall, _TWO_THREADS, note)
        one, both = (max(series_of.wall - bench.start_wall, 1e-3) for series_of in (own, two))
        name = f"{label}: wall above start-up of two threads / one"
        bench.claim(name, both / one, _TWO_THREADS)


def show(bench: Bench, name: str, bases: int, series: dict[str, _measure.Series]) -> None:
    """Print the table of an input."""
    rows = []
    own = above_start(bench, series, "seqmill")
    for who, one in series.items():
        cpu = above_start(bench, series, who)
        if cpu is None:
            rows.append([who, "failed", *["-"] * 5])
            continue
        figures = [f"{one.cpu:.2f}", f"{cpu:.2f}", f"{1e9 * cpu / bases:.1f}"]
        ratio = f"{own / cpu:.2f}" if own else "-"
        figures += [ratio, f"{one.wall:.2f}", f"{one.rss_mib:.0f}", f"{one.output_bytes / 1e6:.1f}"]
        rows.append([who, *figures])
    head = ["", "CPU s", "above start", "ns a base", "seqmill / it", "wall s", "peak MiB", "MB"]
    print(f"\n## {name} ({bases / 1e6:.1f} Mb)\n\n{table(head, rows)}", flush=True)


# Runs in a process of its own: table, genome.
_LOOK_UP_SCRIPT = """
import json, resource, sys, time
import numpy as np
import seqmill

def cpu():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime

table = seqmill.KmerTable(sys.argv[1])
keys, counts = table.to_numpy()
random = np.random.default_rng(6)
number = int(sys.argv[3])
half = keys[random.integers(0, len(keys), number // 2)]
absent = random.integers(0, 1 << (2 * table.k), number - len(half), dtype=np.uint64)
wanted = random.permutation(np.concatenate([half, absent]))
del keys, counts
times = []
for _ in range(5):
    begin = cpu()
    found = table.query(wanted)
    times.append(cpu() - begin)
present = int((found > 0).sum())
assert len(half) <= present, (present, len(half))
parts = []
for line in open(sys.argv[2]):
    if line.startswith(">"):
        parts.append([])
    else:
        parts[-1].append(line.strip())
genome = ["".join(part) for part in parts]
begin = cpu()
windows = sum(len(table.profile(part)) for part in genome)
print(json.dumps({"look_ups": number / min(times), "profile_s": cpu() - begin, "windows": windows}))
"""


def measure_look_ups(bench: Bench, genome: Path, counting: float | None) -> None:
    """Look k-mers up in the table of a yeast, through NumPy, and take its profile."""
    folder = bench.fresh()
    made = _measure.measure(bench.tools, ours(31, genome, folder, "-@1"))
    if made.failure is not None:
        bench.claims.append(Claim("look-ups", None, None, f"failed: {made.failure}"))
        return
    path = folder / "table.skm"
    command = [sys.executable, "-c", _LOOK_UP_SCRIPT, str(path), str(genome), str(_LOOK_UPS)]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    answer = json.loads(told.stdout)
    stats = subprocess.run(
        [str(Path(sys.executable).parent / "seqmill"), "kmers", "stats", str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    distinct = json.loads(stats.stdout)["distinct"]
    bytes_each = path.stat().st_size / distinct
    bench.claim("yeast: bytes a distinct 31-mer", bytes_each, _BYTES_PER_KMER)
    rate = answer["look_ups"]
    note = f"{rate / 1e6:.2f} M/s"
    bench.claim("yeast: 2 M/s / random look-ups a second", _LOOK_UPS_PER_SECOND / rate, 1.0, note)
    if counting is not None:
        ratio = answer["profile_s"] / counting
        bench.claim("yeast: profile / counting", ratio, _PROFILE, f"{answer['profile_s']:.2f} s")
    bench.document["look_ups"] = answer | {"bytes_per_kmer": bytes_each}


def find_start(bench: Bench) -> _measure.Series:
    """Measure what the command takes on an empty record."""
    path = bench.scratch / "empty.fa"
    path.write_text(">empty\n")
    series = _measure.Series()
    for _ in range(2 * bench.rounds + 1):
        series.runs.append(_measure.measure(bench.tools, ours(31, path, bench.fresh(), "-@1")))
    return series


def run_inputs(bench: Bench, inputs: dict[str, Path], lengths: list[int]) -> None:
    """Measure every input with every k, and the look-ups."""
    costs: dict[str, float] = {}
    counting = None
    for name, path in inputs.items():
        bases = count_bases(path)
        for k in lengths:
            series = measure_input(bench, name, path, k)
            show(bench, f"{name}, k = {k}", bases, series)
            judge_input(bench, name, k, series)
            figures = {who: one.to_dict() for who, one in series.items()}
            cpu = above_start(bench, series, "seqmill")
            if cpu is not None and k == lengths[0]:
                costs[name] = 1e9 * cpu / bases
                counting = cpu if name == "yeast" else counting
                figures["seqmill"]["ns_per_base"] = round(costs[name], 2)
            bench.document[f"{name}, k = {k}"] = {"count": figures}
    if "yeast" in inputs:
        measure_look_ups(bench, inputs["yeast"], counting)
    print("\nns of CPU a base: " + ", ".join(f"{n} {cost:.1f}" for n, cost in costs.items()))
    # Reads are cut into records and mostly seen once; genomes of any size cost about the same.
    genomes = {name: cost for name, cost in costs.items() if name != "giab"}
    if len(genomes) > 1:
        text = ", ".join(f"{name} {cost:.1f}" for name, cost in genomes.items())
        dearest = max(genomes.values()) / genomes.get("yeast", min(genomes.values()))
        bench.claim("cost a base: dearest genome / yeast", dearest, _FLAT, text)
    bench.document["ns_per_base"] = costs


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", nargs="*", help="names, such as yeast giab (default: all)")
    parser.add_argument("--k", nargs="*", type=int, default=[31, 21, 51])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer-rounds", type=int, default=1)
    parser.add_argument("--peers", nargs="*", choices=list(PEERS), default=list(PEERS))
    options = parser.parse_args()
    scratch = _inputs.scratch_folder()
    inputs = make_inputs(scratch / "kmers")
    if options.inputs:
        inputs = {name: path for name, path in inputs.items() if name in options.inputs}
    if not inputs:
        print("no inputs: set SEQMILL_REAL_DATA to the folder of the real genomes")
        return 1
    peers = {name: PEERS[name] for name in options.peers}
    missing = [name for name, peer in peers.items() if shutil.which(peer.program) is None]
    peers = {name: peer for name, peer in peers.items() if name not in missing}
    if missing:
        print("not on PATH: " + ", ".join(missing))
    tools = _measure.build_tools()
    bench = Bench(tools, scratch, options.rounds, options.peer_rounds, peers)
    start = find_start(bench)
    bench.start, bench.start_wall = start.cpu, start.wall
    print(f"start-up: {bench.start:.3f} CPU s, {bench.start_wall:.3f} s")
    machine = _measure.machine()
    run_inputs(bench, inputs, options.k)
    shutil.rmtree(bench.scratch / "kmers-run", ignore_errors=True)
    document = {
        "machine": machine,
        "missing_peers": missing,
        "start_up_cpu_s": bench.start,
        "start_up_wall_s": bench.start_wall,
        **bench.document,
    }
    write_results("kmers", document, bench.claims)
    return 0


if __name__ == "__main__":
    sys.exit(main())
