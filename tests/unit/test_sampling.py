"""Random numbers by counter, orders by formula, windows drawn from a store; no torch needed."""

import collections
import gzip
import os
import pickle
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqmill import FastaStore, errors
from seqmill._intervals import Intervals
from seqmill._random_windows import Chooser
from seqmill._sampling import Permutation, draw_bits, draw_fractions, find_rank


@given(st.integers(1, 5000), st.integers(0, 2**64 - 1), st.integers(0, 1000))
def test_a_permutation_holds_everything_once(count: int, seed: int, epoch: int) -> None:
    places = np.arange(count, dtype=np.uint64)
    order = Permutation(count, seed, epoch)(places)
    assert sorted(order.tolist()) == list(range(count))
    some = places[:: max(count // 7, 1)]
    assert (Permutation(count, seed, epoch)(some) == order[some.astype(int)]).all()


def test_permutations_of_epochs_and_seeds_differ_and_are_even() -> None:
    places = np.arange(1000, dtype=np.uint64)
    orders = [Permutation(1000, seed, epoch)(places) for seed in (0, 1) for epoch in (0, 1)]
    for i, a in enumerate(orders):
        for b in orders[:i]:
            assert (a == b).mean() < 0.02
    # Of six orders of three things, each comes as often as the others.
    three = np.arange(3, dtype=np.uint64)
    seen = collections.Counter(tuple(Permutation(3, 5, e)(three).tolist()) for e in range(6000))
    assert len(seen) == 6
    assert min(seen.values()) > 800
    # A million of places needs no list: the last one alone is quick.
    assert Permutation(10**15, 1, 1)(np.array([10**15 - 1], np.uint64))[0] < 10**15


def test_draws_are_those_of_splitmix_and_even() -> None:
    numbers = np.arange(20_000, dtype=np.uint64)
    bits = draw_bits(numbers, 1, 2, 3)
    assert len(set(bits.tolist())) == len(bits)
    assert (draw_bits(numbers, 1, 2, 4) != bits).all()
    shares = [((bits >> np.uint64(bit)) & np.uint64(1)).mean() for bit in range(64)]
    assert max(abs(share - 0.5) for share in shares) < 0.02
    fractions = draw_fractions(numbers, 9)
    assert fractions.min() >= 0
    assert fractions.max() < 1
    assert np.histogram(fractions, 10, (0, 1))[0].min() > 1800


GOLDEN = 0x9E3779B97F4A7C15


def mix(x: int) -> int:
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
    return x ^ (x >> 31)


@given(st.integers(0, 2**64 - 1), st.lists(st.integers(0, 2**63), min_size=1, max_size=4))
def test_draws_equal_whole_number_arithmetic(number: int, key: list[int]) -> None:
    seed = 0
    for word in key:
        seed = mix((seed + word * GOLDEN + GOLDEN) % 2**64)
    expected = mix(mix((seed + number * GOLDEN) % 2**64))
    assert draw_bits(np.array([number], np.uint64), *key)[0] == expected


def test_rank_is_told_or_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert find_rank(None, None) == (0, 1)
    assert find_rank(2, 5) == (2, 5)
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert find_rank(None, None) == (3, 4)
    for wrong in ((4, 4), (1, None)):
        with pytest.raises(errors.InputError):
            find_rank(*wrong)


@pytest.fixture
def store(tmp_path: Path) -> FastaStore:
    draw = random.Random(1)  # noqa: S311
    for file, sizes in {"a": (5000, 300, 90), "b": (900,)}.items():
        lines = []
        for number, size in enumerate(sizes):
            bases = "".join(draw.choices("ACGT", k=size))
            if number == 0:
                bases = bases[:200] + "N" * 150 + bases[350:]
            lines += [f">c{number}", *(bases[at : at + 60] for at in range(0, size, 60))]
        (tmp_path / f"{file}.fa").write_text("\n".join(lines) + "\n")
    return FastaStore.open(tmp_path)


NUMBERS = np.arange(4000, dtype=np.uint64)


def test_windows_are_drawn_by_weight(store: FastaStore) -> None:
    def shares(weights: object) -> dict[tuple[str, int], float]:
        windows = Chooser.make(store, 100, weights, 1.0, None).choose(store, NUMBERS, 1, 0)
        assert (windows.starts >= 0).all()
        seen = collections.Counter(
            zip(windows.files.tolist(), windows.contigs.tolist(), strict=True)
        )
        return {(store.names[f], c): n / len(NUMBERS) for (f, c), n in seen.items()}

    rooms = {("a", 0): 4901, ("a", 1): 201, ("b", 0): 801}
    expected = {
        "bases": {key: room / 5903 for key, room in rooms.items()},
        "contigs": dict.fromkeys(rooms, 1 / 3),
        "files": {("a", 0): 4901 / 5102 / 2, ("a", 1): 201 / 5102 / 2, ("b", 0): 1 / 2},
    }
    for weights, want in expected.items():
        got = shares(weights)
        assert got.keys() == want.keys()
        assert all(abs(got[key] - want[key]) < 0.03 for key in want)
    assert shares(lambda name, contig, _: float(name == "a" and contig == "c1")) == {("a", 1): 1.0}
    with pytest.raises(errors.InputError, match="longest has 5000"):
        Chooser.make(store, 5001, "bases", 1.0, None)
    with pytest.raises(errors.InputError, match="weights"):
        Chooser.make(store, 10, lambda *_: 0.0, 1.0, None)


def test_windows_avoid_n_and_what_is_excluded(store: FastaStore, tmp_path: Path) -> None:
    bed = tmp_path / "not.bed.gz"
    bed.write_bytes(gzip.compress(b"c1\t0\t150\nc1\t100\t160\nc2\t3\t5\n"))
    windows = Chooser.make(store, 40, "contigs", 0.1, os.fspath(bed)).choose(store, NUMBERS, 3, 1)
    bases = store.fetch_many(windows)
    assert (bases == ord("N")).mean(axis=1).max() <= 0.1
    names = [store.names[f] for f in windows.files]
    for name, contig, start in zip(names, windows.contigs, windows.starts, strict=True):
        if name == "a" and contig == 1:
            assert start >= 160
        if name == "a" and contig == 2:
            assert start >= 5
    everything = Intervals.from_windows(
        store, [(n, c, 0, length) for n in store.names for c, length in store.contigs(n)]
    )
    chooser = Chooser.make(store, 40, "bases", 1.0, everything)
    with pytest.raises(errors.InputError, match="no window"):
        chooser.choose(store, NUMBERS[:1], 1, 1)
    touching = Intervals.from_windows(store, [("a", "c1", 0, 100), ("a", "c1", 140, 300)])
    only = Chooser.make(
        store, 40, lambda name, contig, _: float((name, contig) == ("a", "c1")), 1.0, touching
    ).choose(store, NUMBERS[:5], 1, 1)
    assert only.starts.tolist() == [100] * 5


def test_each_window_depends_on_its_number_alone(store: FastaStore) -> None:
    chooser = pickle.loads(  # noqa: S301 - made here
        pickle.dumps(Chooser.make(store, 100, "bases", 0.2, None))
    )
    whole = chooser.choose(store, NUMBERS, 1, 0)
    backwards = chooser.choose(store, NUMBERS[::-1].copy(), 1, 0)
    assert (whole.starts == backwards.starts[::-1]).all()
    assert (chooser.choose(store, NUMBERS[:100], 1, 1).starts != whole.starts[:100]).any()
    assert (chooser.choose(store, NUMBERS[:100], 2, 0).starts != whole.starts[:100]).any()
    assert chooser.digest() != Chooser.make(store, 100, "files", 0.2, None).digest()
