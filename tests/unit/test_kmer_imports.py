"""Counts that come as text: what they say of themselves, sums, partials of a plan."""

import json
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

import seqmill
from seqmill.errors import FormatError
from seqmill.kmers import combine_kmers, plan_chunks

if TYPE_CHECKING:
    from conftest import RunCommand

MAX = (1 << 64) - 1


def as_dict(table: seqmill.KmerTable) -> dict[str, int]:
    columns = table.to_arrow(text=True).to_pydict()
    return dict(zip(columns["kmer"], columns["count"], strict=True))


def write(path: Path, document: Any) -> Path:
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


@pytest.mark.parametrize(
    "document",
    [
        {"kmers": {"AAA": 1, "ACG": 2}, "metadata": {"k": 3, "strand": "canonical"}},
        {"metadata": {"k": 3, "strand": "canonical"}, "kmers": {"AAA": 1, "ACG": 2}},
        {"kmer_map": {"AAA": 1, "ACG": 2}, "chunk_id": 0, "strand": "canonical", "k": 3},
    ],
)
def test_the_strand_holds_wherever_it_is_said(tmp_path: Path, document: Any) -> None:
    table = seqmill.merge_kmers([write(tmp_path / "x.json", document)])
    assert (table.strand, as_dict(table)) == ("canonical", {"AAA": 1, "ACG": 2})
    forward = write(tmp_path / "y.json", {"kmer_map": {"AAA": 1}, "strand": "forward"})
    with pytest.raises(FormatError, match=r"canonical in .*x\.json, but k = 3, forward in .*y\.js"):
        seqmill.merge_kmers([tmp_path / "x.json", forward])


@pytest.mark.parametrize(
    ("document", "match"),
    [
        ({"kmer_map": {"AAA": 1}, "k": 4}, "says k = 4, but its k-mers have 3 bases"),
        ({"kmer_map": {"TTT": 1}, "strand": "canonical"}, "is not the lesser strand"),
        ({"kmer_map": {"TTT": 1}, "strand": "both"}, "strand is forward or canonical"),
        (f"AAA {MAX}\nAAA 1\n", "the sum of counts is beyond 64 bits"),
        (f"AAA {MAX}\nAAC 1\n", "the sum of counts is beyond 64 bits"),
        ("", "holds no k-mer: tell by -k"),
    ],
)
def test_contradictions_and_sums_beyond_counts(tmp_path: Path, document: Any, match: str) -> None:
    with pytest.raises(FormatError, match=match):
        seqmill.merge_kmers([write(tmp_path / "x", document)])


def test_totals_beyond_64_bits(tmp_path: Path) -> None:
    parts = [write(tmp_path / f"{kmer}.txt", f"{kmer} {1 << 63}\n") for kmer in ("AAA", "CCC")]
    with pytest.raises(FormatError, match="the sum of all counts is beyond 64 bits"):
        seqmill.merge_kmers(parts)
    assert seqmill.merge_kmers([write(tmp_path / "one.txt", f"AAA {MAX}\n")]).total == MAX


def test_texts_without_a_k_mer_take_on_the_length_of_others(tmp_path: Path) -> None:
    empty = [write(tmp_path / "a.json", {}), write(tmp_path / "b.txt", "")]
    table = seqmill.merge_kmers([*empty, write(tmp_path / "c.txt", "ACG 2\n")])
    assert as_dict(table) == {"ACG": 2}
    partial = {"chunk_id": 0, "k": 5, "strand": "forward", "kmer_map": {}}
    assert seqmill.merge_kmers([write(tmp_path / "d.json", partial)]).k == 5


def test_partials_of_a_plan_as_json(tmp_path: Path) -> None:
    reference = tmp_path / "x.fa"
    reference.write_text(">a\nACGTACG\n")
    plan = plan_chunks(reference, k=3, chunk_size=4)
    parts = []
    for chunk in plan.chunks:
        kmers = seqmill.kmers.count_sequence("ACGTACG"[chunk.start : chunk.end], 3)
        document = {"chunk_id": chunk.chunk_id, "k": 3, "strand": "forward", "kmer_map": kmers}
        parts.append(write(tmp_path / f"{chunk.chunk_id}.json", document))
    assert as_dict(seqmill.merge_kmers(parts, plan=plan)) == as_dict(
        seqmill.count_kmers(reference, k=3)
    )
    for wrong, match in ((parts[1:], "missing: 0"), ([*parts, parts[0]], "twice: 0")):
        with pytest.raises(FormatError, match=match):
            seqmill.merge_kmers(wrong, plan=plan)


def test_totals_of_operations_on_filtered_tables(tmp_path: Path) -> None:
    path = tmp_path / "x.fa"
    path.write_text(">a\nAAAAACGT\n")
    whole = seqmill.count_kmers(path, k=3, output=tmp_path / "a.skm")
    some = seqmill.count_kmers(path, k=3, min_count=2, output=tmp_path / "b.skm")
    totals = {"union-sum": 12, "intersect-min": 3, "subtract": 3, "difference": 3}
    for operation, total in totals.items():
        made = combine_kmers(
            operation,  # type: ignore[arg-type]
            [whole.path, some.path],
            allow_filtered=True,  # type: ignore[call-arg]
        )
        assert made.total == total, operation
        made.verify()


def test_more_tables_than_fit_are_merged_in_rounds(
    tmp_path: Path, run_seqmill: "RunCommand", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEQMILL_MEMORY", "8G")
    random = Random(5)  # noqa: S311 - a seed, not a secret
    shared, parts = "".join(random.choices("ACGT", k=260)), []
    for number in range(220):
        bases = "".join(random.choices("ACGT", k=260))
        reads = write(tmp_path / "x.fa", f">a\n{bases}\n>b\n{shared}\n")
        parts.append(tmp_path / f"{number}.skm")
        seqmill.count_kmers(reads, k=255, output=parts[-1], threads=1)
    whole = seqmill.merge_kmers(parts, output=tmp_path / "whole.skm")
    assert (len(whole), whole.total, whole[shared[:255]]) == (221 * 6, 440 * 6, 220)
    told = run_seqmill("kmers", "merge", *parts, "-m", "64M", "-q", "-o", tmp_path / "some.skm")
    assert told.returncode == 0, told.stderr
    assert (tmp_path / "some.skm").read_bytes() == (tmp_path / "whole.skm").read_bytes()
    assert not list(tmp_path.glob("*.seqmill"))
