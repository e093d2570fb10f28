"""Measures ``seqmill convert`` against the limit program and the peers; see README.md."""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import _contest
import _inputs
import _measure
import _report
from _contest import SUFFIXES, TASKS, Environment
from _measure import Run, Series, measure, remove
from _report import Claim, Results

from seqmill import _native

if TYPE_CHECKING:
    from pathlib import Path

_MIB = 1 << 20
_REGIONS = 200
_REGION_BASES = 10_000
_SMALL_BUDGET = "64MiB"
_OWN_CPU = 0.93
_THREE = "three columns as Parquet"

Variants = dict[str, Series]


def main() -> None:
    """Build, measure, print."""
    arguments = _arguments()
    scratch = _inputs.scratch_folder()
    environment = _environment(scratch, with_peers=not arguments.no_peers)
    print(_head(environment), flush=True)
    inputs = _inputs.build_inputs(scratch)
    chosen = [inputs[name] for name in arguments.inputs or inputs]
    document: dict[str, Any] = {"machine": _measure.machine(), "versions": environment.versions}
    document["missing_peers"] = environment.missing
    claims: list[Claim] = []
    for one in chosen:
        if one.path is None:
            print(f"\n## {one.name}: {one.about}", flush=True)
            continue
        size = one.path.stat().st_size
        print(f"\n## {one.name}: {one.about}, {size / 1e6:.1f} MB", flush=True)
        results = _measure_tasks(environment, one.path, arguments)
        for task in TASKS:
            print(f"\n{_report.TITLES[task]}\n")
            print(_report.task_table(results, task, _contestants(environment)), flush=True)
        claims += _report.task_claims(one.name, results, _contest.PEERS)
        sizes = _measure_sizes(environment, one, results)
        claims += sizes
        variants = _measure_variants(environment, one.path, arguments.rounds)
        print("\nseqmill with other threads and memory\n")
        print(_variants_table(variants), flush=True)
        claims += _variant_claims(one.name, variants, results)
        document[one.name] = {
            "bytes": size,
            "tasks": {f"{t} {c}": s.to_dict() for (t, c), s in results.series.items()},
            "holds": {f"{t} {c}": check for (t, c), check in results.checks.items()},
            "variants": {name: series.to_dict() for name, series in variants.items()},
        }
    if not arguments.inputs:
        claims += _measure_many(environment, arguments.rounds)
        claims += _measure_regions(environment, arguments.rounds)
    _report.write_results("convert", document, claims)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds (default: 5)")
    parser.add_argument("--peer-rounds", type=int, default=3, help="rounds with peers (default: 3)")
    parser.add_argument("--inputs", nargs="*", help="only these inputs, and nothing beside them")
    parser.add_argument("--no-peers", action="store_true", help="without the peers")
    return parser.parse_args()


def _environment(scratch: Path, *, with_peers: bool) -> Environment:
    tools = _measure.build_tools()
    samtools = _contest.find_samtools()
    python, missing = _contest.install_peers(scratch) if with_peers else (None, {})
    versions = {"seqmill": _native.version(), **_contest.versions(python, samtools)}
    return Environment(tools, scratch, python, missing, versions, samtools)


def _contestants(environment: Environment) -> list[str]:
    peers = [] if environment.peers_python is None else list(_contest.PEERS)
    return ["limit", "seqmill", "samtools", *(p for p in peers if p not in environment.missing)]


def _head(environment: Environment) -> str:
    machine = _measure.machine()
    lines = [
        f"{machine['when']}, load {machine['load']:.1f}",
        f"{machine['cpu']}, {machine['cpus']} CPUs, {machine['system']}",
        ", ".join(f"{name} {version}" for name, version in environment.versions.items()),
        *(f"MISSING: {name}: {reason}" for name, reason in environment.missing.items()),
    ]
    if environment.samtools is None:
        lines.append("MISSING: samtools (Debian: apt-get install samtools)")
    if environment.peers_python is None:
        lines.append("MISSING: all peers (--no-peers)")
    if _native.debug_build():
        lines.append("WARNING: this build is not optimised")
    return "\n".join(lines)


def _measure_tasks(
    environment: Environment, source: Path, arguments: argparse.Namespace
) -> Results:
    """Run every contestant at every task, in turn, round by round."""
    results = Results()
    facts = _contest.facts_of(environment, source)
    options = {"threads": 1, "tags": facts["tags"] if facts else []}
    source.read_bytes()
    for number in range(arguments.rounds):
        for task in TASKS:
            for contestant in _contestants(environment):
                if contestant in _contest.PEERS and number >= arguments.peer_rounds:
                    continue
                output = environment.scratch / f"out-{contestant}{SUFFIXES.get(task, '')}"
                command = environment.command(contestant, task, source, output, options)
                series = results.series.setdefault((task, contestant), Series())
                if command is None or series.failure:
                    continue
                series.runs.append(measure(environment.tools, command, output))
                known = (task, contestant) in results.checks or contestant == "limit"
                if task in SUFFIXES and facts and series.counts and not known:
                    check = _contest.check_table(environment, source, output)
                    results.checks[task, contestant] = check
                remove(output)
    results.series = {key: one for key, one in results.series.items() if one.runs}
    return results


def _measure_sizes(environment: Environment, one: _inputs.Input, results: Results) -> list[Claim]:
    """Compare sizes of the Parquet files.

    A peer that keeps a dictionary of whole sequences stores a repeated file once: sizes of the
    repeated inputs say nothing, so those of the original are compared.
    """
    original = _inputs.originals().get(one.name)
    text = f"{one.name}: Parquet size / smallest complete peer"
    if original is None:
        sizes = {
            peer: series.output_bytes
            for peer in _contest.PEERS
            if results.is_complete("parquet", peer)
            and (series := results.get("parquet", peer)) is not None
        }
        own = results.get("parquet", "seqmill")
        own_bytes = own.output_bytes if own else 0
    else:
        text += " (original file)"
        sizes = {}
        own_bytes = 0
        facts = _contest.facts_of(environment, one.path) if one.path else None
        options = {"threads": 1, "tags": facts["tags"] if facts else []}
        output = environment.scratch / "out-size.parquet"
        for peer in ("seqmill", *_contest.PEERS):
            if peer != "seqmill" and not results.is_complete("parquet", peer):
                continue
            command = environment.command(peer, "parquet", original, output, options)
            if command is None:
                continue
            run = measure(environment.tools, command, output)
            if run.failure is None and peer == "seqmill":
                own_bytes = run.output_bytes
            elif run.failure is None:
                sizes[peer] = run.output_bytes
            remove(output)
    if not sizes or not own_bytes:
        return [Claim(text, None, 0.85, "no complete peer")]
    smallest = min(sizes, key=lambda peer: sizes[peer])
    note = f"{own_bytes / 1e6:.2f} MB, {smallest}: {sizes[smallest] / 1e6:.2f} MB"
    return [Claim(text, own_bytes / sizes[smallest], 0.85, note)]


def _measure_variants(environment: Environment, source: Path, rounds: int) -> Variants:
    """Run seqmill with one and two threads, and with the least memory."""
    variants: Variants = {}
    for _ in range(rounds):
        for task in ("parquet", "ipc", "stream"):
            output = environment.scratch / f"out-variant{SUFFIXES.get(task, '')}"
            for threads in (1, 2):
                options: dict[str, Any] = {"threads": threads, "tags": []}
                command = environment.command("seqmill", task, source, output, options) or []
                series = variants.setdefault(f"{task}, {threads} threads", Series())
                series.runs.append(measure(environment.tools, command, output))
                if task not in SUFFIXES:
                    continue
                small = [*command, "--memory", _SMALL_BUDGET]
                series = variants.setdefault(
                    f"{task}, {threads} threads, --memory {_SMALL_BUDGET}", Series()
                )
                series.runs.append(measure(environment.tools, small, output))
            remove(output)
        # Few columns are the other extreme for memory: many records are one batch.
        for threads in (1, 2):
            output = environment.scratch / "out-variant.parquet"
            three = ["--columns", "pos,flag,mapq"]
            command = environment.convert([source], output=output, threads=threads, more=three)
            small = ["--memory", _SMALL_BUDGET]
            for name, more in ((_THREE, []), (f"{_THREE}, --memory {_SMALL_BUDGET}", small)):
                series = variants.setdefault(f"{name}, {threads} threads", Series())
                series.runs.append(measure(environment.tools, [*command, *more], output))
            remove(output)
    return variants


def _variants_table(variants: Variants) -> str:
    rows = []
    for name, one in variants.items():
        if not one.counts:
            rows.append([name, *["-"] * 4, f"failed: {one.failure}"])
            continue
        figures = [f"{one.cpu:.2f}", f"{one.wall:.2f}", f"{one.rss_mib:.0f}"]
        rows.append([name, *figures, f"{one.above_mib:.0f}", ""])
    return _report.table(["", "CPU s", "wall s", "peak MiB", "above imports", ""], rows)


def _variant_claims(name: str, variants: Variants, results: Results) -> list[Claim]:
    claims = []

    def get(key: str) -> Series | None:
        one = variants.get(key)
        return one if one is not None and one.counts else None

    for task in ("parquet", "ipc", "stream"):
        one, two = get(f"{task}, 1 threads"), get(f"{task}, 2 threads")
        wall = two.wall / one.wall if one and two else None
        cpu = two.cpu / one.cpu if one and two else None
        claims.append(Claim(f"{name}: {task}, wall of two threads / one", wall, 0.56, _busy(one)))
        claims.append(Claim(f"{name}: {task}, CPU of two threads / one", cpu, 1.15))
        for series, threads, bound in ((one, 1, 100), (two, 2, 200)):
            whose = "peak MiB above the imports" if task == "stream" else "peak MiB"
            value = None
            if series is not None:
                value = series.above_mib if task == "stream" else series.rss_mib
            claims.append(Claim(f"{name}: {task}, {whose}, {threads} threads", value, bound))
        if task not in SUFFIXES:
            continue
        whole = results.get(task, "seqmill")
        for threads in (1, 2):
            small = get(f"{task}, {threads} threads, --memory {_SMALL_BUDGET}")
            text = f"{name}: {task}, peak MiB with --memory {_SMALL_BUDGET}, {threads} threads"
            if small is None or whole is None:
                claims.append(Claim(text, None, 64, "failed"))
                continue
            same = small.output_bytes == whole.output_bytes
            note = "" if same else "another size than with the default"
            claims.append(Claim(text, small.rss_mib if same else math.inf, 64, note))
    for threads, bound in ((1, 100), (2, 200)):
        for title, most in ((_THREE, bound), (f"{_THREE}, --memory {_SMALL_BUDGET}", 64)):
            series = variants.get(f"{title}, {threads} threads")
            value = series.rss_mib if series is not None and series.counts else None
            note = f"failed: {series.failure}" if series is not None and series.failure else ""
            claims.append(Claim(f"{name}: {title}, peak MiB, {threads} threads", value, most, note))
    return claims


def _busy(one: Series | None) -> str:
    """Say so if other programs kept a run with one thread from having a CPU of its own."""
    if one is None or not one.counts:
        return "failed"
    share = max(run.cpu_whole / run.wall for run in one.runs)
    return "" if share >= _OWN_CPU else f"busy machine: one thread had {share:.0%} of a CPU at most"


def _measure_many(environment: Environment, rounds: int) -> list[Claim]:
    """Convert eight files with one and with two threads."""
    files = _inputs.build_many(environment.scratch)
    text = "eight files: wall of two threads / one"
    if not files:
        return [Claim(text, None, 0.55, "no real data")]
    print(f"\n## {len(files)} files of {files[0].stat().st_size / 1e6:.1f} MB to Parquet\n")
    folder = environment.scratch / "out-many"
    variants: Variants = {}
    for _ in range(rounds):
        for threads in (1, 2):
            command = [*environment.seqmill, "convert", *map(str, files), "--out-dir", str(folder)]
            command += ["-@", str(threads), "--progress", "none", "-q"]
            series = variants.setdefault(f"{threads} threads", Series())
            series.runs.append(measure(environment.tools, command, folder))
    remove(folder)
    print(_variants_table(variants), flush=True)
    one, two = variants["1 threads"], variants["2 threads"]
    both = one.counts and two.counts
    return [Claim(text, two.wall / one.wall if both else None, 0.55, _busy(one))]


def _windows(environment: Environment, source: Path) -> list[str]:
    """Choose windows that hold records: around alignments, spread over the file."""
    listing = subprocess.run(
        [environment.samtools or "samtools", "view", "-F", "4", "-s", "7.01", str(source)],
        check=True,
        capture_output=True,
        text=True,
    )
    places = [line.split("\t", 4)[2:4] for line in listing.stdout.splitlines()]
    chosen = random.Random(7).sample(places, min(_REGIONS, len(places)))  # noqa: S311
    windows = []
    for name, pos in chosen:
        begin = max(1, int(pos) - _REGION_BASES // 2)
        windows.append(f"{name}:{begin}-{begin + _REGION_BASES - 1}")
    return windows


def _measure_regions(environment: Environment, rounds: int) -> list[Claim]:
    """Query windows of 10 kb in one process.

    samtools starts anew for each command; its start is left out by asking for one window and for
    all of them in one command each, and dividing the difference by the number of the others.
    """
    candidates = {"simulated": _inputs.indexed_simulated(environment.scratch)}
    real = _inputs.originals().get("short")
    if real is not None:
        candidates["short, original file"] = real
    claims = []
    print(f"\n## Region queries, {_REGION_BASES // 1000} kb, CPU ms each\n")
    rows = []
    for name, source in candidates.items():
        text = f"{name}: region query / samtools view -c"
        if environment.samtools is None:
            claims.append(Claim(text, None, 2.0, "no samtools"))
            continue
        windows = _windows(environment, source)
        options = {"threads": 1, "regions": windows, "tags": []}
        job = [str(_contest.HERE / "_jobs.py"), "seqmill", "region", str(source), "-"]
        own = [sys.executable, *job, json.dumps(options)]
        view = [environment.samtools, "view", "-c", str(source)]
        runs: dict[str, list[Run]] = {"own": [], "one": [], "all": []}
        for _ in range(rounds):
            runs["own"].append(measure(environment.tools, own))
            runs["one"].append(measure(environment.tools, [*view, windows[0]]))
            runs["all"].append(measure(environment.tools, [*view, *windows]))
        failure = next((run.failure for part in runs.values() for run in part if run.failure), None)
        if failure:
            claims.append(Claim(text, None, 2.0, failure))
            continue
        one, every = (statistics.median(run.cpu for run in runs[k]) for k in ("one", "all"))
        samtools = (every - one) / (len(windows) - 1)
        figures = {
            key: statistics.median(run.answer[f"{key}_s"] for run in runs["own"])
            for key in ("count", "batches")
        }
        rows.append([name, *(f"{1e3 * v:.2f}" for v in (samtools, *figures.values())), ""])
        expected = int(runs["all"][0].answer["value"])
        answer = runs["own"][0].answer
        wrong = {answer["count_rows"], answer["batches_rows"]} - {expected}
        note = f"all columns: {figures['batches'] / samtools:.2f}"
        if wrong:
            note = f"samtools counts {expected}, seqmill {sorted(wrong)}"
        claims.append(Claim(f"{text}, count", figures["count"] / samtools, 2.0, note))
    print(_report.table(["", "samtools", "count", "batches", ""], rows), flush=True)
    return claims


if __name__ == "__main__":
    main()
