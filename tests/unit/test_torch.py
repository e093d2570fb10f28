"""`seqmill.torch` with real torch: workers, ranks, shuffles, resume, the threaded loader.

`make test` runs this with the system's torch where the environment itself has none.
"""

import multiprocessing
import os
import pickle
import random
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; `make test` uses Debian's")

from torch.utils.data import DataLoader  # noqa: E402

from seqmill import FastaStore, errors  # noqa: E402
from seqmill.torch import (  # noqa: E402
    Loader,
    RandomWindows,
    WindowDataset,
    WindowStream,
    collate,
    worker_init,
)

METHODS = ["fork", "spawn", "forkserver"]


@pytest.fixture(autouse=True)
def _one_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with warnings.catch_warnings():
        # Advice about the number of workers, and about forking beside threads.
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        yield


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FastaStore:
    folder = tmp_path_factory.mktemp("torch")
    draw = random.Random(1)  # noqa: S311
    for name, sizes in {"a": (4000, 700), "b": (900,)}.items():
        lines = []
        for number, size in enumerate(sizes):
            bases = "".join(draw.choices("ACGTN", [9, 9, 9, 9, 1], k=size))
            lines += [f">c{number}", *(bases[at : at + 60] for at in range(0, size, 60))]
        (folder / f"{name}.fa").write_text("\n".join(lines) + "\n")
    return FastaStore.open(folder)


def windows(count: int) -> list[tuple[str, str, int, int, str]]:
    draw = random.Random(2)  # noqa: S311
    starts = [draw.randrange(3900) for _ in range(count)]
    return [("a", "c0", start, start + 80, draw.choice("+-")) for start in starts]


def rows(batches: Any) -> list[list[int]]:
    return [row.flatten().tolist() for batch in batches for row in batch]


@pytest.mark.parametrize(
    ("encode", "dtype", "expected"),
    [
        ("onehot", "float32", torch.float32),
        ("onehot", "bool", torch.bool),
        ("tokens", "int64", torch.int64),
        ("array", None, torch.uint8),
        ("softmask", None, torch.bool),
        ("2bit", None, torch.uint8),
    ],
)
def test_samples_are_what_fetch_gives(
    store: FastaStore, encode: Any, dtype: str | None, expected: Any
) -> None:
    wanted = windows(20)
    dataset = WindowDataset(store, wanted, encode=encode, dtype=dtype)
    assert len(dataset) == 20
    for index, (*window, strand) in enumerate(wanted):
        sample = dataset[index]
        assert sample.dtype == expected
        want = store.fetch(*window, strand=strand, encode=encode, dtype=dtype, out_of_range="pad")
        assert sample.numpy().tobytes() == want.tobytes()
    (batch,) = DataLoader(dataset, batch_size=20, collate_fn=collate)
    (default,) = DataLoader(dataset, batch_size=20)
    assert torch.equal(batch, default)
    assert torch.equal(batch, torch.stack([dataset[i] for i in range(20)]))
    with pytest.raises(IndexError):
        dataset[20]
    with pytest.raises(errors.InputError, match="no tensor"):
        WindowDataset(store, wanted, encode="bytes")


def test_our_collate_copies_nothing(store: FastaStore) -> None:
    dataset = WindowDataset(store, windows(8), encode="array")
    samples = dataset.__getitems__([3, 1])
    batch = collate(samples)
    assert batch.data_ptr() == samples[0].data_ptr()
    assert torch.equal(batch[1], dataset[1])


@pytest.mark.parametrize("method", METHODS)
def test_layout_of_workers_does_not_show(store: FastaStore, method: str) -> None:
    dataset = WindowDataset(store, windows(30), 64, encode="tokens", rc="random", jitter=9, seed=5)
    expected = rows(DataLoader(dataset, batch_size=4, num_workers=0))
    assert rows([[dataset[i] for i in range(30)]]) == expected
    for workers in (1, 3):
        loader = DataLoader(
            dataset,
            batch_size=4,
            num_workers=workers,
            multiprocessing_context=method,
            worker_init_fn=worker_init,
            collate_fn=collate,
        )
        assert rows(loader) == expected
    dataset.set_epoch(1)
    assert rows(DataLoader(dataset, batch_size=4)) != expected


def test_jitter_and_strands(store: FastaStore) -> None:
    wanted = [("a", "c0", 1000, 1080)] * 400
    dataset = WindowDataset(store, wanted, jitter=3, rc="random", encode="array")
    moved = dataset.windows_of(np.arange(400, dtype=np.uint64))
    assert set((moved.starts - 1000).tolist()) == set(range(-3, 4))
    assert (moved.ends - moved.starts == 80).all()
    assert 0.4 < (moved.strands < 0).mean() < 0.6
    both = WindowDataset(store, windows(5), rc="both", encode="onehot")
    assert len(both) == 10
    for i in range(5):
        assert torch.equal(both[2 * i + 1], both[2 * i].flip(0, 1))
    doubled = WindowDataset(store, wanted[:3], encode="array", transform=lambda row: row.sum())
    (batch,) = DataLoader(doubled, batch_size=3)
    assert batch.shape == (3,)


def test_windows_at_the_ends_are_padded_or_refused(store: FastaStore) -> None:
    over = [("b", "c0", -10, 20), ("b", "c0", 890, 920)]
    dataset = WindowDataset(store, over, encode="tokens")
    assert dataset[0][:10].tolist() == [4] * 10
    with pytest.raises(errors.OutOfRangeError):
        WindowDataset(store, over, encode="tokens", pad=False)[0]


def test_numbers_of_samples_count_from_either_end(store: FastaStore) -> None:
    dataset = WindowDataset(store, windows(6), encode="tokens", rc="both")
    last = dataset[len(dataset) - 1]
    assert dataset[-1].tolist() == last.tolist() == dataset.__getitems__([-1])[0].tolist()
    for wrong in (12, -13):
        with pytest.raises(IndexError, match="of 12"):
            dataset.__getitems__([0, wrong])
    with pytest.raises(TypeError):
        dataset[1.5]  # type: ignore[index]


def streams(store: FastaStore, **options: Any) -> dict[str, Any]:
    dataset = WindowDataset(store, windows(53), encode="tokens", jitter=5, seed=3)
    return {
        "in order": WindowStream(dataset, **options),
        "shuffled": WindowStream(dataset, shuffle=True, **options),
        "random": RandomWindows(
            store, 50, seed=4, samples=53, rc="random", encode="tokens", **options
        ),
    }


@pytest.mark.parametrize("kind", ["in order", "shuffled", "random"])
def test_all_shards_together_are_the_whole(store: FastaStore, kind: str) -> None:
    whole = rows([streams(store)[kind]])
    assert len(whole) == 53
    for world, workers in ((1, 0), (1, 3), (2, 0), (3, 2)):
        shards = []
        for rank in range(world):
            stream = streams(store, rank=rank, world=world)[kind]
            loader = DataLoader(stream, batch_size=None, num_workers=workers)
            shards.append(rows([list(loader)]))
        if workers == 0:
            for rank, shard in enumerate(shards):
                assert shard == whole[rank::world]
        assert sorted(row for shard in shards for row in shard) == sorted(whole)
    again = streams(store)[kind]
    again.set_epoch(2)
    other = rows([again])
    assert other != whole
    if kind == "shuffled":
        again.dataset.set_epoch(0)  # Jitter of the first epoch, order of the third.
        assert sorted(rows([again])) == sorted(whole)


def test_rank_is_carried_into_spawned_workers(
    store: FastaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = rows([streams(store)["shuffled"]])
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    copy = pickle.loads(pickle.dumps(streams(store)["shuffled"]))  # noqa: S301 - made here
    monkeypatch.delenv("RANK")
    monkeypatch.delenv("WORLD_SIZE")
    assert rows([copy]) == whole[1::2]


@pytest.mark.parametrize("kind", ["in order", "shuffled", "random"])
def test_resume_at_the_exact_next_sample(store: FastaStore, kind: str) -> None:
    stream = streams(store)[kind]
    stream.set_epoch(3)
    whole = rows([stream])
    for stop in (0, 1, 17, 52, 53):
        first = streams(store)[kind]
        first.set_epoch(3)
        samples = iter(first)
        before = rows([[next(samples) for _ in range(stop)]])
        state = first.state_dict()
        assert len(pickle.dumps(state)) < 500
        second = streams(store)[kind]
        second.load_state_dict(state)
        assert before + rows([second]) == whole
        assert rows([second]) == whole  # The epoch that follows begins at its beginning.


class Worker:
    """What a stateful loader does in a worker: asks the dataset for its state after a batch."""

    def __init__(self, stream: Any, state: dict[str, Any] | None, stop: int) -> None:
        self.stream, self.state, self.stop = stream, state, stop

    def __call__(self, worker: int, workers: int, queue: Any) -> None:
        from torch.utils.data import _utils  # noqa: PLC0415

        _utils.worker._worker_info = _utils.worker.WorkerInfo(
            id=worker, num_workers=workers, seed=0, dataset=self.stream
        )
        if self.state is not None:
            self.stream.load_state_dict(self.state)
        samples = iter(self.stream)
        given = [row.tolist() for row, _ in zip(samples, range(self.stop), strict=False)]
        queue.put((given, self.stream.state_dict()))


def run_worker(work: Worker, worker: int, workers: int) -> tuple[list[list[int]], dict[str, Any]]:
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=work, args=(worker, workers, queue))
    process.start()
    told: tuple[list[list[int]], dict[str, Any]] = queue.get(timeout=60)
    process.join(60)
    return told


@pytest.mark.parametrize("kind", ["shuffled", "random"])
def test_resume_in_every_worker(store: FastaStore, kind: str) -> None:
    whole = rows([streams(store)[kind]])
    for worker in range(3):
        before, state = run_worker(Worker(streams(store)[kind], None, 5), worker, 3)
        assert (state["shard"], state["shards"]) == (worker, 3)
        # zip takes one sample more than it gives.
        state["next"] = len(before)
        after, _ = run_worker(Worker(streams(store)[kind], state, 99), worker, 3)
        assert before + after == whole[worker::3]


def test_stateful_data_loader_resumes(store: FastaStore) -> None:
    torchdata = pytest.importorskip(
        "torchdata.stateful_dataloader", reason="torchdata needs torch 2"
    )
    for workers in (0, 2):
        stream = streams(store)["shuffled"]
        whole = rows(torchdata.StatefulDataLoader(stream, 4, num_workers=workers))
        loader = torchdata.StatefulDataLoader(stream, 4, num_workers=workers)
        batches = iter(loader)
        before = rows([next(batches) for _ in range(3)])
        state = loader.state_dict()
        again = torchdata.StatefulDataLoader(streams(store)["shuffled"], 4, num_workers=workers)
        again.load_state_dict(state)
        assert before + rows(again) == whole


def test_a_state_of_other_windows_or_shards_is_refused(store: FastaStore) -> None:
    state = streams(store)["shuffled"].state_dict()
    for other in (
        streams(store)["in order"],
        streams(store)["random"],
        WindowStream(WindowDataset(store, windows(52), encode="tokens", jitter=5, seed=3)),
        streams(store, rank=1, world=2)["shuffled"],
    ):
        with pytest.raises(errors.InputError, match="the state is of"):
            other.load_state_dict(state)
    with pytest.raises(errors.InputError, match="version"):
        streams(store)["shuffled"].load_state_dict({**state, "version": 9})
    for broken in ({"version": 1}, {}, None):
        with pytest.raises(errors.InputError, match="no state"):
            streams(store)["shuffled"].load_state_dict(broken)
    with pytest.warns(UserWarning, match="index has changed"):
        streams(store)["shuffled"].load_state_dict({**state, "index_build_id": 1})


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("kind", ["in order", "shuffled", "random"])
def test_loader_gives_the_same_batches_and_resumes(
    store: FastaStore, kind: str, threads: int
) -> None:
    expected = rows(DataLoader(streams(store)[kind], batch_size=8))
    loader = Loader(streams(store)[kind], 8, threads=threads)
    assert len(loader) == 7
    assert rows(loader) == expected
    assert rows(loader) == expected
    batches = iter(loader)
    before = rows([next(batches), next(batches)])
    state = loader.state_dict()
    assert state["next"] == 16
    batches.close()
    again = Loader(streams(store)[kind], 8, threads=threads)
    again.load_state_dict(state)
    assert before + rows(again) == expected
    dropped = Loader(streams(store)[kind], 8, threads=threads, drop_last=True)
    assert len(dropped) == 6
    assert rows(dropped) == expected[:48]


def test_loader_of_a_dataset_and_its_limits(store: FastaStore) -> None:
    dataset = WindowDataset(store, windows(10), encode="onehot", dtype="float32")
    shuffled = rows(Loader(dataset, 5, shuffle=True))
    assert shuffled != rows(Loader(dataset, 5))
    assert sorted(shuffled) == sorted(rows(Loader(dataset, 5)))
    batch = 5 * 80 * 16
    assert Loader(dataset, 5, threads=4, memory=3 * batch).prefetch == 2
    with pytest.raises(errors.BudgetError):
        Loader(dataset, 5, memory=batch - 1)
    broken = WindowDataset(store, [("b", "c0", -5, 2)], pad=False)
    with pytest.raises(errors.OutOfRangeError):
        list(Loader(broken, 1))
    endless = Loader(RandomWindows(store, 30), 4, threads=2)
    with pytest.raises(TypeError):
        len(endless)
    assert [next(iter(endless)).shape for _ in range(2)] == [(4, 30, 4)] * 2


def test_torch_is_not_imported_before_it_is_asked_for() -> None:
    program = "import sys, seqmill; seqmill.FastaStore; print('torch' in sys.modules)"
    told = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert told.stdout == "False\n"


def test_the_example_trains(tmp_path: Path) -> None:
    example = Path(__file__).resolve().parents[2] / "docs" / "examples" / "train.py"
    told = subprocess.run(
        [sys.executable, example, tmp_path, "--steps", "60"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert told.returncode == 0, told.stderr
    losses = [float(line.split()[-1]) for line in told.stdout.splitlines() if "loss" in line]
    assert losses[-1] < losses[0]
