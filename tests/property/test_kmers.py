"""Laws of counting, with threads, budgets and units drawn together."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import seqmill
from seqmill.kmers import count_batch, count_sequence, plan_chunks


@pytest.fixture(autouse=True, scope="module")
def room_for_the_tests() -> Iterator[None]:
    """What the process of the tests holds counts too: give jobs room beside it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQMILL_MEMORY", "8G")
        yield


SEQUENCES = st.lists(st.text("ACGTacgtN", max_size=120), min_size=1, max_size=4)


def write(folder: Path, name: str, sequences: list[str]) -> Path:
    path = folder / name
    path.write_text("".join(f">{name}{i}\n{s}\n" for i, s in enumerate(sequences)))
    return path


def content(table: seqmill.KmerTable) -> tuple[bytes, bytes, int]:
    keys, counts = table.to_numpy()
    return keys.tobytes(), counts.tobytes(), table.total


@settings(max_examples=25, deadline=None)
@given(first=SEQUENCES, second=SEQUENCES, k=st.sampled_from([1, 4, 9, 12, 13, 17, 31, 40]))
def test_counts_add_up(first: list[str], second: list[str], k: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = [write(folder, "a", first), write(folder, "b", second)]
        for canonical in (False, True):
            both = seqmill.count_kmers(paths, k=k, canonical=canonical, threads=2)
            parts = [
                seqmill.count_kmers(p, k=k, canonical=canonical, output=f"{p}{canonical}.skm")
                for p in paths
            ]
            assert content(both) == content(seqmill.merge_kmers([p.path for p in parts]))
            expected: dict[str, int] = {}
            for sequence in first + second:
                for kmer, count in count_sequence(sequence, k, canonical=canonical).items():
                    expected[kmer] = expected.get(kmer, 0) + count
            columns = both.to_arrow(text=True).to_pydict()
            found = dict(zip(columns["kmer"], columns["count"], strict=True))
            assert found == dict(sorted(expected.items()))


@settings(max_examples=20, deadline=None)
@given(
    sequences=SEQUENCES,
    k=st.integers(1, 14),
    more=st.integers(0, 30),
    batch_bases=st.integers(1, 200),
)
def test_any_split_into_chunks(sequences: list[str], k: int, more: int, batch_bases: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = write(folder, "a", sequences)
        plan = plan_chunks(path, k=k, chunk_size=k + more, batch_bases=batch_bases)
        whole = seqmill.count_kmers(path, k=k)
        if plan.batches == 0 or plan.batches > 12:
            return
        parts = [
            count_batch(path, plan, b, output=folder / f"{b}.skm") for b in range(plan.batches)
        ]
        assert content(seqmill.merge_kmers(parts, plan=plan)) == content(whole)
