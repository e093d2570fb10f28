"""What a store costs each worker: private memory, measured in the worker by the kernel."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from seqmill import FastaStore
from tests.peaks import SEQMILL, run_measured

MIB = 1 << 20
FILES = 1000
WORKERS = 4
ALLOWED = 2 * MIB
# Opens, or unpickles, a store in a fresh process and reads; tells its private memory before and
# after. What every import and every first call brings is there before.
WORKER = """
import ctypes, gc, json, pickle, sys
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # No pages of 2 MiB where 4 KiB are asked for.
import numpy as np
from seqmill import FastaStore
def private():
    with open("/proc/self/smaps_rollup") as file:
        return sum(int(l.split()[1]) << 10 for l in file if l.startswith("Private_"))
def use(store, windows):
    out = np.empty((64, 1000), np.uint8)
    for at in range(0, len(windows), 64):
        store.fetch_many(windows[at : at + 64], out=out[: len(windows[at : at + 64])])
        for window in windows[at : at + 4]:
            store.fetch(*window)
if __name__ == "__main__":
    from seqmill._intervals import Intervals
    small, big, windows = sys.argv[1:]
    windows = json.loads(windows)
    warm = FastaStore.open(small, cache_size=0)
    use(warm, [("w", "c", 0, 1000)] * 64)
    gc.collect()
    before = private()
    with open(big, "rb") as file:
        store = pickle.load(file)
    use(store, windows)
    gc.collect()
    print(json.dumps([before, private()]))
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    draw = random.Random(1)  # noqa: S311
    bases = "".join(draw.choices("ACGT", k=60_000))
    for number in range(FILES):
        at = number * 17
        lines = "\n".join(bases[i : i + 60] for i in range(at, at + 1800, 60))
        scaffolds = "".join(f">s{i}\nACGT\n" for i in range(20))
        (folder / f"f{number:04}.fa").write_text(f">c\n{lines}\n{scaffolds}")
    return folder


def draw_windows(count: int) -> list[tuple[str, str, int, int]]:
    draw = random.Random(2)  # noqa: S311
    windows = []
    for _ in range(count):
        start = draw.randrange(800)
        windows.append((f"f{draw.randrange(FILES):04}", "c", start, start + 1000))
    return windows


def test_spawned_workers_share_the_index(root: Path, tmp_path: Path) -> None:
    import pickle  # noqa: PLC0415

    small = tmp_path / "w.fa"
    small.write_text(">c\n" + "ACGT" * 300 + "\n")
    store = FastaStore.open(root, cache_size=0)
    (tmp_path / "store.pickle").write_bytes(pickle.dumps(store))
    command = [sys.executable, "-c", WORKER, small, tmp_path / "store.pickle"]
    started = [
        subprocess.Popen(
            [*map(os.fspath, command), json.dumps(draw_windows(1500))],
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(WORKERS)
    ]
    for worker in started:
        before, after = json.loads(worker.communicate(timeout=120)[0])
        assert after - before <= ALLOWED, (before, after)


# Forks workers that read, and as many that do nothing, from a process that holds little else.
FORKS = """
import ctypes, gc, json, os, sys
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)
import numpy as np
from seqmill import FastaStore
def private():
    with open("/proc/self/smaps_rollup") as file:
        return sum(int(l.split()[1]) << 10 for l in file if l.startswith("Private_"))
def work(store, windows):
    out = np.empty((64, 1000), np.uint8)
    for at in range(0, len(windows), 64):
        batch = windows[at : at + 64]
        if store is None:
            out[:] = 1
        else:
            store.fetch_many(batch, out=out[: len(batch)])
    return private()
def fork(store, windows):
    receiver, sender = os.pipe()
    if os.fork() == 0:
        os.write(sender, str(work(store, windows)).encode())
        os._exit(0)
    os.close(sender)
    told = int(os.read(receiver, 100))
    os.close(receiver)
    os.wait()
    return told
store = FastaStore.open(sys.argv[1], cache_size=0)
windows = json.loads(sys.argv[2])
work(store, windows[:64])
gc.freeze()
idle = [fork(None, windows) for _ in range(4)]
busy = [fork(store, windows) for _ in range(4)]
print(json.dumps([min(idle), max(busy)]))
"""


def test_forked_workers_share_the_index(root: Path) -> None:
    command = [sys.executable, "-c", FORKS, os.fspath(root), json.dumps(draw_windows(1500))]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    idle, busy = json.loads(told)
    assert busy - idle <= ALLOWED, (idle, busy)


def test_packing_is_bounded_whatever_the_letters(
    tmp_path: Path, command_environment: dict[str, str]
) -> None:
    """Lower case that begins and ends at every second base takes 16 bytes each in the sidecar."""
    path = tmp_path / "c.fa"
    bases = "AcGtNr" * 1_500_000
    path.write_text(f">c\n{bases}\n")
    ended = run_measured([SEQMILL, "fetch", path, "--pack", "-m", 64 * MIB], command_environment)
    assert ended.code == 0, ended.errors
    assert ended.peak <= 64 * MIB
    store = FastaStore.open(path)
    for start in (0, 1 << 20, len(bases) - 1000):
        assert store.fetch("c", "c", start, start + 1000, encode="str") == bases[start:][:1000]
