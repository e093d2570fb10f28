"""One contestant of `bench/fetch.py` in a process of its own; prints one line of JSON.

`_fetch_jobs.py JOB FILE LENGTH WINDOWS`: the same windows for everybody, drawn from the `.fai`.
"""

import ctypes
import hashlib
import json
import math
import pickle
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROUNDS = 8
# Clocks of a process are kept by the tick on some machines: a round is to last for many.
LEAST_S = 0.1
SEED = 7
_PR_SET_THP_DISABLE = 41

Window = tuple[str, int, int]


def draw(path: str, length: int, count: int) -> list[Window]:
    """Windows of one length, every base equally likely."""
    rows = [line.split("\t") for line in Path(f"{path}.fai").read_text().splitlines()]
    contigs = [(row[0], int(row[1])) for row in rows if int(row[1]) > length]
    source = random.Random(SEED)  # noqa: S311 - a benchmark
    chosen = source.choices(contigs, [size - length for _, size in contigs], k=count)
    starts = [source.randrange(size - length) for _, size in chosen]
    return [(name, at, at + length) for (name, _), at in zip(chosen, starts, strict=True)]


def figures(call: Callable[[], object], count: int) -> dict[str, float]:
    """CPU and wall microseconds a window: the least of some rounds."""
    begin = time.perf_counter()
    call()
    turns = max(1, math.ceil(LEAST_S / (time.perf_counter() - begin)))
    count *= turns
    cpu = wall = float("inf")
    for _ in range(ROUNDS):
        started = time.process_time(), time.perf_counter()
        for _ in range(turns):
            call()
        cpu = min(cpu, time.process_time() - started[0])
        wall = min(wall, time.perf_counter() - started[1])
    return {"cpu_us": round(cpu / count * 1e6, 3), "wall_us": round(wall / count * 1e6, 3)}


def each(one: Callable[..., object], windows: list[Window]) -> Callable[[], object]:
    """Read one window after the other; results are dropped at once, as a loop that trains does."""

    def call() -> None:
        for window in windows:
            one(*window)

    return call


def seqmill_job(job: str, path: str, windows: list[Window]) -> dict[str, object]:
    """Jobs of seqmill."""
    from seqmill import FastaStore  # noqa: PLC0415 - the peers' environment has it not

    options: dict[str, object] = {"cache_size": 0, "pack": "never"}
    if job == "seqmill unchecked":
        options["verify"] = "none"
    more: dict[str, object] = {}
    if job == "seqmill packed":
        options["pack"] = "require"
        more["packed_bytes"] = FastaStore.open(path).pack(0)[1]
    if job == "seqmill mapped":
        options["io"] = "mmap"
    if job == "seqmill cached":
        options["cache_size"] = 16 << 20
    store = FastaStore.open(path, **options)  # type: ignore[arg-type]
    length = windows[0][2] - windows[0][1]
    if job == "seqmill onehot":
        out = np.empty((length, 4), np.float32)
        call = each(
            lambda c, a, b: store.fetch(0, c, a, b, encode="onehot", dtype="float32", out=out),
            windows,
        )
    elif job.startswith("seqmill batch"):
        # Where the windows lie is settled before, as a dataset does it.
        from seqmill._intervals import Intervals  # noqa: PLC0415

        rows = np.empty((len(windows), length), np.uint8)
        places = Intervals.from_windows(store, [(0, *window) for window in windows])
        threads = int(job.rsplit(" ", 1)[1])
        return figures(
            lambda: store.fetch_many(places, out=rows, threads=threads), len(windows)
        ) | {"digest": None}
    else:
        call = each(lambda c, a, b: store.fetch(0, c, a, b), windows)
    found = figures(call, len(windows))
    return found | more | {"digest": digest(lambda *w: store.fetch(0, *w, encode="str"), windows)}


def peer_job(job: str, path: str, windows: list[Window]) -> dict[str, object]:
    """Jobs of the peers."""
    if job.startswith("pysam"):
        import pysam  # noqa: PLC0415

        one: Callable[..., str] = pysam.FastaFile(path).fetch
    elif job == "pyfaidx":
        import pyfaidx  # noqa: PLC0415

        fasta = pyfaidx.Fasta(path, as_raw=True, rebuild=False)

        def one(contig: str, start: int, end: int) -> str:
            return str(fasta[contig][start:end])
    else:
        import pyfastx  # noqa: PLC0415

        index = pyfastx.Fasta(path)

        def one(contig: str, start: int, end: int) -> str:
            return str(index.fetch(contig, (start + 1, end)))

    if job.startswith("pysam onehot"):
        table = np.zeros((256, 4), np.float32)
        for channel, letters in enumerate(("Aa", "Cc", "Gg", "TtUu")):
            table[[ord(letter) for letter in letters], channel] = 1

        out = np.empty((windows[0][2] - windows[0][1], 4), np.float32)

        def call() -> None:
            for window in windows:
                codes = np.frombuffer(one(*window).encode(), np.uint8)
                if job == "pysam onehot":
                    table[codes]
                else:
                    np.take(table, codes, axis=0, out=out, mode="clip")

        return figures(call, len(windows)) | {"digest": None}
    return figures(each(one, windows), len(windows)) | {"digest": digest(one, windows)}


def digest(one: Callable[..., str], windows: list[Window]) -> str:
    """Hash what was read, so that contestants can be compared."""
    hasher = hashlib.blake2b(digest_size=8)
    for window in windows:
        hasher.update(one(*window).encode())
    return hasher.hexdigest()


def worker_job(pickled: str) -> dict[str, object]:
    """Private memory that a store costs a spawned worker."""
    from seqmill import FastaStore  # noqa: PLC0415

    # The kernel gives 2 MiB at once where it can; what is asked for is counted here.
    ctypes.CDLL(None).prctl(_PR_SET_THP_DISABLE, 1, 0, 0, 0)

    def private() -> int:
        lines = Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()
        return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Private_"))

    names, root, warm_path = json.loads(Path(f"{pickled}.json").read_text(encoding="utf-8"))
    warm = FastaStore.open(warm_path, cache_size=0, pack="never")
    contig, size = warm.contigs(0)[0]
    for at in range(0, size - 1000, 1000):
        warm.fetch(0, contig, at, at + 1000)
    before = private()
    store: FastaStore = pickle.loads(Path(pickled).read_bytes())  # noqa: S301 - of this run
    source = random.Random(SEED)  # noqa: S311
    for name in source.choices(names, k=3000):
        contig, size = store.contigs(name)[0]
        at = source.randrange(max(size - 1000, 1))
        store.fetch(name, contig, at, min(at + 1000, size))
    return {"private_bytes": private() - before, "root": root}


def main() -> None:
    """Run one job."""
    job, path, *numbers = sys.argv[1:]
    if job == "worker":
        print(json.dumps(worker_job(path)))
        return
    length, count = map(int, numbers)
    windows = draw(path, length, count)
    if not windows:
        print(json.dumps({}))
        return
    run = seqmill_job if job.startswith("seqmill") else peer_job
    print(json.dumps(run(job, path, windows)))


if __name__ == "__main__":
    main()
