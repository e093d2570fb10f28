"""CPU time a window of `FastaStore` beside the limit program and pysam, as JSON.

`fetch.py FOLDER [--limit PROGRAM] [-n WINDOWS]`: FOLDER holds `.fa.gz` files and can be written.
The limit program is `cargo build --release -p seqmill-fetch --example inflate_limit`.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pysam

from seqmill import FastaStore

LENGTHS = (1000, 131_072)
ROUNDS = 3


def cpu_us(call: Callable[[], object], windows: int) -> float:
    """CPU microseconds a window: the least of some rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.process_time()
        call()
        best = min(best, time.process_time() - start)
    return round(best / windows * 1e6, 3)


def draw(store: FastaStore, length: int, count: int) -> list[tuple[str, int, int]]:
    """Windows of one length, every base equally likely."""
    contigs = [(name, size) for name, size in store.contigs(0) if size > length]
    if not contigs:
        return []
    source = random.Random(7)  # noqa: S311 - a benchmark
    chosen = source.choices(contigs, [size - length for _, size in contigs], k=count)
    starts = [source.randrange(size - length) for _, size in chosen]
    return [(name, at, at + length) for (name, _), at in zip(chosen, starts, strict=True)]


def measure(path: Path, length: int, count: int, limit: str | None) -> dict[str, object]:
    """All ways to read the same windows."""
    checked = FastaStore.open(path, cache_size=0, pack="never")
    unchecked = FastaStore.open(path, cache_size=0, pack="never", verify="none")
    windows = draw(checked, length, count)
    if not windows:
        return {}
    checked.pack(0)
    packed = FastaStore.open(path, pack="require")
    bases = sum(size for _, size in checked.contigs(0))
    peer = pysam.FastaFile(str(path))
    onehot = np.empty((length, 4), np.float32)
    rows = np.empty((len(windows), length), np.uint8)
    places = [(0, contig, start, end) for contig, start, end in windows]

    def each(store: FastaStore, **options: object) -> Callable[[], object]:
        def call() -> None:
            # Results are dropped at once, as a loop that trains drops them: kept, their fresh
            # pages would cost more than reading.
            for window in windows:
                store.fetch(0, *window, **options)  # type: ignore[call-overload]

        return call

    def peer_call() -> None:
        for window in windows:
            peer.fetch(*window)

    n = len(windows)
    figures: dict[str, object] = {
        "file": path.name,
        "length": length,
        "windows": n,
        "crc_us": cpu_us(each(checked), n),
        "unchecked_us": cpu_us(each(unchecked), n),
        "onehot_float32_us": cpu_us(each(checked, encode="onehot", dtype="float32", out=onehot), n),
        "batch_us": cpu_us(lambda: checked.fetch_many(places, out=rows), n),
        "packed_us": cpu_us(each(packed), n),
        "packed_bytes_a_base": round(
            path.parent.joinpath(f"{checked.names[0]}.sqm2").stat().st_size / bases, 4
        ),
        "pysam_us": cpu_us(peer_call, n),
    }
    if limit is not None:
        command = [limit, str(path), str(length), str(n), "7"]
        told = [
            subprocess.run(command, capture_output=True, text=True, check=True).stdout
            for _ in range(ROUNDS)
        ]
        figures["limit_us"] = min(float(text.split()[0]) for text in told)
    same = all(
        checked.fetch(0, *w, encode="str") == peer.fetch(*w) == packed.fetch(0, *w, encode="str")
        for w in windows
    )
    figures["equal_to_pysam"] = same
    return figures


def main() -> None:
    """Measure every file of the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--limit")
    parser.add_argument("-n", type=int, default=2000)
    arguments = parser.parse_args()
    results = []
    for path in sorted(arguments.folder.glob("*.fa.gz")):
        for length in LENGTHS:
            count = arguments.n if length == LENGTHS[0] else max(1, arguments.n // 10)
            if figures := measure(path, length, count, arguments.limit):
                results.append(figures)
                print(json.dumps(figures), file=sys.stderr)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"results": results, "peak_rss_kib": peak}, indent=2))


if __name__ == "__main__":
    main()
