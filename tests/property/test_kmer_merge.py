"""Operations on tables against plain counters, also where tables end early or share nothing."""

import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import seqmill
from seqmill.kmers import OPERATIONS, combine_kmers


def write_table(path: Path, counts: "Counter[str]") -> None:
    text = path.with_suffix(".txt")
    text.write_text("".join(f"{kmer} {count}\n" for kmer, count in sorted(counts.items())))
    seqmill.merge_kmers(text, output=path, k=9, canonical=False)


def expected(operation: str, tables: "list[Counter[str]]") -> dict[str, int]:
    first, others = tables[0], tables[1:]
    sums: Counter[str] = sum(others, Counter())
    if operation == "union-sum":
        return dict(first + sums)
    if operation == "intersect-min":
        common = set(first).intersection(*others)
        return {kmer: min(table[kmer] for table in tables) for kmer in common}
    if operation == "subtract":
        return dict(first - sums)
    return {kmer: count for kmer, count in first.items() if kmer not in sums}


@pytest.mark.parametrize(
    "sizes", [(700,), (0, 900), (40_000, 25_000), (30_000, 3, 0, 9000, 20_000)]
)
def test_operations_are_those_of_counters(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    chance = random.Random(len(sizes))  # noqa: S311 - a test's numbers
    tables = []
    for number, size in enumerate(sizes):
        letters: Any = "ACGT" if number % 2 == 0 else "ACG"
        kmers = ("".join(chance.choices(letters, k=9)) for _ in range(size))
        tables.append(Counter({kmer: chance.choice([1, 2, 3, 300, 1 << 40]) for kmer in kmers}))
        write_table(tmp_path / f"{number}.skm", tables[-1])
    paths = [str(tmp_path / f"{number}.skm") for number in range(len(sizes))]
    for operation in OPERATIONS:
        output = tmp_path / f"{operation}.tsv"
        combine_kmers(operation, paths, output=output)
        lines = (line.split("\t") for line in output.read_text().splitlines())
        found = [(kmer, int(count)) for kmer, count in lines]
        assert found == sorted(expected(operation, tables).items()), operation


@pytest.mark.parametrize("k", [11, 31, 45, 90])
def test_threads_and_budgets_merge_to_the_same_bytes(tmp_path: Path, k: int) -> None:
    chance = random.Random(k)  # noqa: S311 - a test's numbers
    shared = "".join(chance.choices("ACGT", k=9000))
    paths = []
    for number in range(5):
        own = "".join(chance.choices("ACGT", k=20_000))
        sequence = tmp_path / f"{number}.fa"
        # Many of one k-mer: its count has no room beside a k-mer, others have.
        same = "A" * (70_000 if number == 3 else 9)
        sequence.write_text(f">a\n{shared}\n>b\n{own}\n>c\n{same}\n")
        paths.append(tmp_path / f"{number}.skm")
        seqmill.count_kmers(sequence, k=k, output=paths[-1])
    whole = tmp_path / "whole.skm"
    sequences = [str(tmp_path / f"{number}.fa") for number in range(5)]
    seqmill.count_kmers(sequences, k=k, output=whole)
    for threads, memory in ((1, "1G"), (2, "64M"), (3, "1G"), (8, "128M")):
        output = tmp_path / "merged.skm"
        # A process of its own: this one may have more memory than the budget already.
        run = [sys.executable, "-m", "seqmill", "kmers", "merge", *map(str, paths)]
        options = ["-o", str(output), "-@", str(threads), "-m", memory, "-q", "-f"]
        subprocess.run([*run, *options], check=True)
        assert output.read_bytes() == whole.read_bytes(), (threads, memory)
    for operation in ("intersect-min", "difference"):
        found = set()
        for threads in (1, 3):
            output = tmp_path / f"{operation}-{threads}.skm"
            combine_kmers(operation, [str(p) for p in paths], output=output, threads=threads)
            found.add(output.read_bytes())
        assert len(found) == 1, operation
