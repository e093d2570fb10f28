"""Measures ``FastaStore`` against the limit program and the peers; see README.md."""

import argparse
import json
import os
import pickle
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import _contest
import _inputs
import _measure
import numpy as np
from _report import Claims, write_results

import seqmill
from seqmill import FastaStore

HERE = Path(__file__).resolve().parent
_SHORT, _LONG = 1000, 131_072
_OURS = (
    "seqmill",
    "seqmill unchecked",
    "seqmill packed",
    "seqmill onehot",
    "seqmill cached",
)
_BATCHES = ("seqmill batch 1", "seqmill batch 2")
_PEERS = ("pysam", "pyfaidx", "pyfastx")
# pyfaidx keeps the last 100 blocks that it inflated, which is half of a yeast.
_WITHOUT_CACHE = ("pysam", "pyfastx")
_PYFASTX_WINDOWS = 40
_WORKERS = 4
_MIB = 1 << 20

Row = dict[str, Any]


def run_job(python: str, job: str, path: Path, *numbers: int) -> Row:
    """Run one contestant; what failed is told, not counted."""
    command = [python, str(HERE / "_fetch_jobs.py"), job, str(path), *map(str, numbers)]
    calm = os.environ | _measure.CALM
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=calm)
    if done.returncode != 0:
        return {"failure": (done.stderr.strip().splitlines() or ["failed"])[-1]}
    row: Row = json.loads(done.stdout.splitlines()[-1])
    return row


def versions(python: str) -> dict[str, str]:
    """Versions of seqmill and of the peers."""
    code = (
        "import importlib.metadata as m, json; "
        "print(json.dumps({d.name.lower(): d.version for d in m.distributions()}))"
    )
    told = subprocess.run([python, "-c", code], check=True, capture_output=True)
    every = json.loads(told.stdout)
    peers = {name: every[name] for name in (*_PEERS, "biopython", "numpy") if name in every}
    return {"seqmill": seqmill.__version__, **peers}


def run_limit(program: str, path: Path, length: int, count: int) -> Row:
    """CPU of the least work that such windows can be."""
    command = [program, str(path), str(length), str(count), "7"]
    told = [subprocess.run(command, capture_output=True, text=True, check=False) for _ in range(4)]
    if any(done.returncode != 0 for done in told):
        return {"failure": "no window of this length"}
    return {"cpu_us": min(float(done.stdout.split()[0]) for done in told)}


def measure_file(
    path: Path, length: int, count: int, environment: dict[str, str], claims: Claims
) -> dict[str, Row]:
    """All ways to read the same windows of one BGZF file."""
    rows = {"limit": run_limit(environment["limit"], path, length, count)}
    for job in (*_OURS, *_BATCHES):
        rows[job] = run_job(sys.executable, job, path, length, count)
    for job in ("pysam", "pyfaidx", "pyfastx", "pysam onehot", "pysam onehot out"):
        windows = min(count, _PYFASTX_WINDOWS) if job == "pyfastx" else count
        rows[job] = run_job(environment["peers"], job, path, length, windows)
    plain = environment["plain"] / Path(path.stem)
    if not plain.exists():
        with plain.open("wb") as out:
            subprocess.run(["gzip", "-dc", str(path)], stdout=out, check=True)
    FastaStore.open(plain)
    for job in ("seqmill", "seqmill mapped"):
        rows[f"{job}, plain"] = run_job(sys.executable, job, plain, length, count)
    for job in _PEERS:
        windows = min(count, _PYFASTX_WINDOWS) if job == "pyfastx" else count
        rows[f"{job}, plain"] = run_job(environment["peers"], job, plain, length, windows)
    if length == _SHORT and "packed_bytes" in rows["seqmill packed"]:
        bases, exceptions = count_bases(plain)
        size = (rows["seqmill packed"]["packed_bytes"] - exceptions) / bases
        what = f"{path.name.split('.')[0]}: packed, bytes a base without exceptions"
        claims.add(what, size, 0.26, least=False)
    show_rows(path, length, count, rows)
    claim_file(f"{path.name.split('.')[0]} {length}", length, rows, claims)
    return rows


def count_bases(path: Path) -> tuple[int, int]:
    """Bases of a FASTA, and the bytes that what two bits cannot say takes in a packed sidecar.

    A run of N, of lower case or of U takes 16 bytes, any other letter 8.
    """
    bases = exceptions = 0
    for record in path.read_bytes().split(b">")[1:]:
        text = np.frombuffer(record.partition(b"\n")[2].replace(b"\n", b""), np.uint8)
        letters = text & 0xDF
        bases += len(text)
        for inside in (letters == ord("N"), text != letters, letters == ord("U")):
            starts = inside[1:] & ~inside[:-1]
            exceptions += 16 * int(starts.sum() + inside[:1].sum())
        exceptions += 8 * int((~np.isin(letters, list(b"ACGTUN"))).sum())
    return bases, exceptions


def show_rows(path: Path, length: int, count: int, rows: dict[str, Row]) -> None:
    """Print what one file took."""
    print(f"\n## {path.name}, {count} windows of {length} bases, microseconds a window\n")
    print("| contestant | CPU | wall | same bases |\n|---|---|---|---|")
    wanted = rows["seqmill"].get("digest")
    for name, row in rows.items():
        if "cpu_us" not in row:
            print(f"| {name} | {row.get('failure', 'no window of this length')} | | |")
            continue
        digest = row.get("digest")
        few = name.startswith("pyfastx")
        same = "" if digest is None or few else ("yes" if digest == wanted else "**no**")
        print(f"| {name} | {row['cpu_us']} | {row.get('wall_us', '')} | {same} |")
    sys.stdout.flush()


def best_of(rows: dict[str, Row], names: list[str]) -> float | None:
    """Give the least CPU among peers that have a figure."""
    figures = [rows[name]["cpu_us"] for name in names if "cpu_us" in rows[name]]
    return min(figures) if figures else None


def claim_file(label: str, length: int, rows: dict[str, Row], claims: Claims) -> None:
    """Compare what one file took with what was asked for."""
    if any("cpu_us" not in rows[name] for name in ("limit", *_OURS)):
        return
    cpu = {name: row["cpu_us"] for name, row in rows.items() if "cpu_us" in row}
    claims.add(f"{label}: checked / limit", cpu["seqmill"] / cpu["limit"], 1.15, least=False)
    if "pyfaidx" in cpu:
        ratio = cpu["pyfaidx"] / cpu["seqmill cached"]
        claims.add(f"{label}: pyfaidx / seqmill, both with caches", ratio, 1.25, least=True)
    if (best := best_of(rows, list(_WITHOUT_CACHE))) is not None:
        claims.add(f"{label}: best peer / checked", best / cpu["seqmill"], 1.25, least=True)
        if length == _SHORT:
            ratio = best / cpu["seqmill unchecked"]
            claims.add(f"{label}: best peer / unchecked", ratio, 2, least=True)
        bound = 15 if length == _SHORT else 6
        claims.add(f"{label}: best peer / packed", best / cpu["seqmill packed"], bound, least=True)
    if length == _LONG:
        ratio = cpu["seqmill onehot"] / cpu["seqmill"]
        claims.add(f"{label}: one-hot / reading", ratio, 1.3, least=False)
        for peer, words in (
            ("pysam onehot", "pysam + table[codes]"),
            ("pysam onehot out", "pysam + np.take into an array"),
        ):
            if peer in cpu:
                ratio = cpu[peer] / cpu["seqmill onehot"]
                claims.add(f"{label}: {words} / one-hot", ratio, 3, least=True)
                # Nothing that inflates every block can be further ahead than this.
                ratio = cpu[peer] / cpu["limit"]
                claims.add(f"{label}: {words} / limit program (a bound)", ratio, 3, least=True)
    plain = best_of(rows, [f"{name}, plain" for name in _PEERS])
    if plain is not None:
        ratio = plain / cpu["seqmill, plain"]
        claims.add(f"{label}: best peer / plain", ratio, 1, least=True)
    one, two = (rows[name]["wall_us"] for name in _BATCHES)
    claims.add(f"{label}: one thread / two (wall)", one / two, 1.8, least=True)


def measure_memory(folder: Path, names: list[str], warm: Path, claims: Claims) -> None:
    """Private memory of workers that a store of 1,000 files costs, spawned and forked."""
    # Read whole, so that no page of the index counts as private to the first who touches it.
    store = FastaStore.open(folder, cache_size=0, verify_index=True)
    pickled = folder.parent / "store.pickle"
    pickled.write_bytes(pickle.dumps(store))
    told = [names, str(folder), str(warm)]
    Path(f"{pickled}.json").write_text(json.dumps(told), encoding="utf-8")
    command = [sys.executable, str(HERE / "_fetch_jobs.py"), "worker", str(pickled)]
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(_WORKERS)
    ]
    spawned = [json.loads(one.communicate()[0])["private_bytes"] for one in started]
    forked = [fork_and_read(store, names) for _ in range(_WORKERS)]
    for how, figures in (("spawned", spawned), ("forked", forked)):
        what = f"private memory of a {how} worker, {len(names)} files, no block cache, MiB"
        claims.add(what, max(figures) / _MIB, 2, least=False)


def fork_and_read(store: FastaStore, names: list[str]) -> int:
    """Private memory that reading adds to a child that was forked."""
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        before = read_private()
        for number in range(3000):
            name = names[number * 7 % len(names)]
            contig, size = store.contigs(name)[0]
            store.fetch(name, contig, 0, min(1000, size))
        os.write(sender, str(read_private() - before).encode())
        os._exit(0)
    os.close(sender)
    told = os.read(receiver, 100)
    os.waitpid(child, 0)
    os.close(receiver)
    return int(told)


def read_private() -> int:
    """Private memory of this process."""
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Private_"))


def measure_index(folder: Path, claims: Claims, *, small: bool) -> None:
    """Size of the index beside that of the side files, or by file and contig."""
    store = FastaStore.open(folder)
    sides = sum(p.stat().st_size for s in ("fai", "gzi") for p in folder.rglob(f"*.{s}"))
    if not small:
        what = f"index of {folder.name} / side files"
        claims.add(what, store.index_bytes / sides, 1, least=False)
        return
    names = sum(len(n) for n in store.names)
    contigs = [contig for name in store.names for contig, _ in store.contigs(name)]
    allowed = 4096 + 256 * len(store) + 64 * len(contigs) + names + sum(map(len, contigs))
    claims.add(f"index of {folder.name} / allowed", store.index_bytes / allowed, 1, least=False)


def measure_opening(folder: Path, claims: Claims) -> None:
    """First load, validated and unvalidated re-open of a folder of many files."""
    files = len(FastaStore.open(folder))
    index = folder / ".seqmill-fasta-index-v1"
    index.unlink()
    begin = time.process_time()
    FastaStore.open(folder)
    cpu = time.process_time() - begin
    print(
        f"\nfirst load of {files} files: {cpu * 1e3:.1f} ms CPU, {cpu / files * 1e6:.1f} us a file"
    )
    for validate, bound in (("stat", 60.0), ("none", 2.0)):
        walls = []
        for _ in range(7):
            begin = time.perf_counter()
            FastaStore.open(folder, validate=validate)  # type: ignore[arg-type]
            walls.append(time.perf_counter() - begin)
        what = f"re-open of {files} files, validate={validate!r}, ms"
        claims.add(what, min(walls) * 1e3, bound, least=False)


def link_names(sources: list[Path], folder: Path, count: int) -> list[str]:
    """Link single genomes, with their side files, to so many names."""
    folder.mkdir(parents=True)
    names = []
    for number in range(count):
        source = sources[number % len(sources)]
        names.append(f"g{number:05}")
        for suffix in ("", ".fai", ".gzi"):
            os.link(f"{source}{suffix}", folder / f"g{number:05}.fa.gz{suffix}")
    return names


def prepare(scratch: Path) -> dict[str, Path]:
    """Copy the inputs; side files are built before anything is measured."""
    bam = _inputs.real_folder()
    if bam is None:
        raise SystemExit("MISSING: the real data; SEQMILL_REAL_DATA names their folder")
    folder = scratch / "fetch"
    shutil.rmtree(folder, ignore_errors=True)
    made = {}
    for name, pattern in (
        ("yeast", "yeast/*.fa.gz"),
        ("genome", "genome/brassica_napus*.fa.gz"),
        ("single", "collections/sarscov2_300/*.fa.gz"),
    ):
        made[name] = folder / name
        made[name].mkdir(parents=True)
        for path in sorted(bam.parent.glob(pattern)):
            shutil.copyfile(path, made[name] / path.name)
        FastaStore.open(made[name])
    (folder / "plain").mkdir()
    made["plain"] = folder / "plain"
    return made


def main() -> None:
    """Prepare, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=4000, help="windows of 1 kb (default: 4000)")
    parser.add_argument("--files", type=int, default=9, help="genomes to measure (default: all)")
    arguments = parser.parse_args()
    scratch = _inputs.scratch_folder()
    folders = prepare(scratch)
    build = ["cargo", "build", "-q", "--release", "-p", "seqmill-fetch", "--example"]
    subprocess.run([*build, "inflate_limit"], check=True, cwd=_measure.ROOT)
    peers = _contest.install_into(scratch / "peers-fetch", HERE / "peers-fetch.txt")
    environment: dict[str, Any] = {
        "limit": str(_measure.ROOT / "target/release/examples/inflate_limit"),
        "peers": str(peers),
        "plain": folders["plain"],
    }
    claims = Claims()
    document: dict[str, Any] = {"machine": _measure.machine(), "versions": versions(str(peers))}
    genomes = [
        *sorted(folders["genome"].glob("*.fa.gz")),
        *sorted(folders["yeast"].glob("*.fa.gz")),
    ]
    for path in genomes[: arguments.files]:
        for length in (_SHORT, _LONG):
            count = arguments.n if length == _SHORT else max(arguments.n // 10, 20)
            document[f"{path.name} {length}"] = measure_file(
                path, length, count, environment, claims
            )
    single = sorted(folders["single"].glob("*.fa.gz"))
    thousand, many = (folders["single"].parent / name for name in ("thousand", "many"))
    names = link_names(single, thousand, 1000)
    link_names(single, many, 5000)
    measure_memory(thousand, names, genomes[0], claims)
    for path in folders["genome"].iterdir():
        shutil.copy2(path, folders["yeast"]) if path.name[0] != "." else None
    measure_index(folders["yeast"], claims, small=False)
    measure_index(thousand, claims, small=True)
    measure_opening(many, claims)
    measure_fastar(many)
    write_results("fetch", document, claims)
    shutil.rmtree(scratch / "fetch")


def measure_fastar(folder: Path) -> None:
    """First load of the peer whose names `seqmill.fastar` has, where it can be imported."""
    code = (
        "import sys, time; from fastar_loader import FastarLoader; t = time.process_time(); "
        "FastarLoader(sys.argv[1], force_build=True); print(time.process_time() - t)"
    )
    command = [sys.executable, "-c", code, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        print(f"first load by fastar-loader: {float(done.stdout.split()[-1]) * 1e3:.1f} ms CPU")
    else:
        print("MISSING: fastar-loader cannot be imported; first load is told by file only")


if __name__ == "__main__":
    main()
