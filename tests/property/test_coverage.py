"""Coverage of random alignments and sequence against a count base by base."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seqmill.coverage import measure_coverage
from tests.oracles.coverage import Aligned, count_depth, runs_of

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

LENGTHS = (60, 0, 45)
NAMES = ("s", "none", "t")
FLAGS = (0, 4, 16, 65, 129, 99, 147, 0x100, 0x200, 0x400, 0x800, 0x841)
CALM = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@st.composite
def aligned(draw: st.DrawFn) -> Aligned:
    reference = draw(st.sampled_from((0, 2)))
    operations = draw(
        st.lists(st.tuples(st.sampled_from("MMM=XDNISP"), st.integers(1, 12)), max_size=5)
    )
    bases = sum(n for operation, n in operations if operation in "M=XIS")
    quals = draw(st.lists(st.integers(0, 60), min_size=bases, max_size=bases))
    return Aligned(
        draw(st.sampled_from("abc")),
        draw(st.sampled_from(FLAGS)),
        reference,
        draw(st.integers(0, LENGTHS[reference] - 1)),
        operations,
        draw(st.integers(0, 60)),
        quals,
    )


def write_sam(path: Path, records: list[Aligned]) -> None:
    lines = [f"@SQ\tSN:{name}\tLN:{n}" for name, n in zip(NAMES, LENGTHS, strict=True)]
    for record in records:
        cigar = "".join(f"{n}{operation}" for operation, n in record.cigar) or "*"
        quals = "".join(chr(33 + q) for q in record.quals) or "*"
        seq = "A" * len(record.quals) or "*"
        fields = (record.name, record.flag, NAMES[record.reference], record.pos + 1, record.mapq)
        lines.append("\t".join(map(str, (*fields, cigar, "*", 0, 0, seq, quals))))
    path.write_text("\n".join(lines) + "\n")


@CALM
@given(
    records=st.lists(aligned(), max_size=25),
    once=st.booleans(),
    deletions=st.booleans(),
    floors=st.tuples(st.sampled_from((0, 30)), st.sampled_from((0, 25))),
)
def test_depth_of_every_base(
    tmp_path: Path,
    *,
    records: list[Aligned],
    once: bool,
    deletions: bool,
    floors: tuple[int, int],
) -> None:
    # Three records of a name are no template of two.
    names: dict[tuple[str, int], int] = {}
    kept = []
    for record in sorted(records, key=lambda r: (r.reference, r.pos)):
        place = (record.name, record.reference)
        names[place] = names.get(place, 0) + (record.flag & 1)
        if not record.flag & 1 or names[place] <= 2:
            kept.append(record)
    path, runs = tmp_path / "x.sam", tmp_path / "runs.bed"
    write_sam(path, kept)
    min_mapq, min_baseq = floors
    measure_coverage(
        path,
        per_base=runs,
        mates="once" if once else "both",
        count_deletions=deletions,
        min_mapq=min_mapq,
        min_baseq=min_baseq,
        force=True,
    )
    expected = count_depth(
        kept, LENGTHS, once=once, deletions=deletions, min_mapq=min_mapq, min_baseq=min_baseq
    )
    lines = [
        f"{name}\t{begin}\t{end}\t{depth}"
        for name, bases in zip(NAMES, expected, strict=True)
        for begin, end, depth in runs_of(bases)
    ]
    assert runs.read_text().splitlines() == lines


def describe(sequence: str, k: int, *, canonical: bool) -> dict[str, Any]:
    turn = str.maketrans("ACGT", "TGCA")
    upper = sequence.upper()
    windows = [upper[i : i + k] for i in range(max(0, len(upper) - k + 1))]
    kmers = [window for window in windows if not set(window) - set("ACGT")]
    keys = {min(x, x[::-1].translate(turn)) if canonical else x for x in kmers}
    acgt = sum(letter in "ACGT" for letter in upper)
    return {
        "length": len(sequence),
        "acgt": acgt,
        "gc": sum(letter in "GC" for letter in upper),
        "n": upper.count("N"),
        "other": len(sequence) - acgt - upper.count("N"),
        "lower": sum(letter.islower() for letter in sequence),
        "kmers": len(kmers),
        "distinct_kmers": len(keys),
    }


@CALM
@given(
    sequence=st.text("ACGTacgtNnRU-*", max_size=90),
    width=st.integers(1, 40),
    k=st.sampled_from((1, 2, 3, 31, 33)),
    canonical=st.booleans(),
    data=st.data(),
)
def test_content_of_every_region(
    tmp_path: Path, *, sequence: str, width: int, k: int, canonical: bool, data: st.DataObject
) -> None:
    path = tmp_path / "x.fa"
    lines = [sequence[i : i + width] for i in range(0, len(sequence), width)]
    path.write_text(">first\nAC\n>x y\n" + "".join(f"{line}\n" for line in lines))
    regions: list[tuple[str, int, int]] = []
    if sequence:
        ends = st.tuples(st.integers(0, len(sequence) - 1), st.integers(1, len(sequence)))
        drawn = data.draw(st.lists(ends.filter(lambda e: e[0] < e[1]), min_size=1, max_size=5))
        regions = [("x", begin, end) for begin, end in drawn]
    table = measure_coverage(path, regions or ["x"], k=k, canonical=canonical, bins=3)
    for row, (_, begin, end) in zip(table, regions or [("x", 0, 0)], strict=True):
        expected = describe(sequence[begin:end], k, canonical=canonical)
        assert {name: row[name] for name in expected} == expected
    lines = (table.path / "merged_coverage.txt").read_text().splitlines()
    values = [int(line.split()[1]) for line in lines]
    assert sum(values) == sum(row["kmers"] for row in table)


def test_the_oracle_counts_what_it_should() -> None:
    records = [Aligned("a", 65, 0, 0, [("M", 3)]), Aligned("a", 129, 0, 1, [("M", 3)])]
    assert count_depth(records, [5])[0] == [1, 2, 2, 1, 0]
    assert count_depth(records, [5], once=True)[0] == [1, 1, 1, 1, 0]
    with pytest.raises(IndexError):
        count_depth(records, [])
