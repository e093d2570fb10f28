"""Filters by the engine against a slow evaluation of the same expression on the finished table."""

import operator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import seqmill
from seqmill._filters import FLAG_BITS, parse_filter

COMPARISONS = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
NUMBERS = {
    "mapq": st.sampled_from([0, 1, 30, 59, 60, 255]),
    "pos": st.integers(-1, 60_001),
    "pnext": st.integers(0, 60_000),
    "tlen": st.integers(-400, 400),
    "end": st.integers(0, 60_000),
    "flag": st.sampled_from([4, 99, 147, 1024]),
    "tags.NM": st.integers(-1, 4),
    "tags.AS": st.integers(0, 101) | st.floats(0, 100),
}
TEXTS = {
    "rname": st.sampled_from(["chr1", "chr2", "HLA-A*01:01", "nowhere"]),
    "rnext": st.sampled_from(["chr1", "chrM"]),
    "tags.RG": st.sampled_from(["rg1", "rg2", ""]),
    "tags.CB": st.sampled_from(["A", "ACGT-1", "T"]),
}


@st.composite
def comparisons(draw: st.DrawFn) -> str:
    column = draw(st.sampled_from([*NUMBERS, *TEXTS]))
    values = {**NUMBERS, **TEXTS}[column]
    form = draw(st.sampled_from(["compare", "turned", "in", "null"]))
    word = draw(st.sampled_from([*COMPARISONS]))
    if form == "null":
        return f"{column} is {draw(st.sampled_from(['None', 'not None']))}"
    if form == "in":
        items = ", ".join(repr(value) for value in draw(st.lists(values, min_size=1, max_size=3)))
        return f"{column} {draw(st.sampled_from(['in', 'not in']))} [{items}]"
    value = repr(draw(values))
    return f"{column} {word} {value}" if form == "compare" else f"{value} {word} {column}"


FLAGS = st.sampled_from([f"flag.{name}" for name in FLAG_BITS] + ["flag & 0x904 == 0", "True"])
EXPRESSIONS = st.recursive(
    comparisons() | FLAGS,
    lambda inner: st.one_of(
        inner.map(lambda text: f"not ({text})"),
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(
            lambda parts: f"({parts[0]}) {parts[1]} ({parts[2]})"
        ),
    ),
    max_leaves=6,
)


def value_of(row: dict[str, Any], name: str) -> Any:
    return row["tags"][name[5:]] if name.startswith("tags.") else row[name]


def holds(expression: dict[str, Any], row: dict[str, Any]) -> bool | None:
    """Three-valued logic: None is neither true nor false."""
    ((kind, content),) = expression.items()
    answer: bool | None
    if kind == "constant":
        answer = bool(content)
    elif kind == "flag":
        answer = bool(row["flag"] & content)
    elif kind == "not":
        inner = holds(content, row)
        answer = None if inner is None else not inner
    elif kind in ("and", "or"):
        answers = [holds(part, row) for part in content]
        missing = None in answers
        answer = kind == "or" if (kind == "or") in answers else None if missing else kind == "and"
    elif kind == "is_null":
        answer = value_of(row, content) is None
    else:
        value = value_of(row, content[0])
        found = kind == "in" and value in content[1]
        if kind == "compare" and value is not None:
            found = COMPARISONS[content[1]](value, content[2])
        answer = None if value is None else found
    return answer


@pytest.fixture(scope="module")
def rows(example_data: Path) -> list[dict[str, Any]]:
    with seqmill.scan_alignments(example_data / "small.bam") as scan:
        return scan.to_table().to_pylist()  # type: ignore[no-any-return]


@settings(max_examples=150, deadline=None)
@given(text=EXPRESSIONS, threads=st.integers(1, 3))
def test_engine_and_oracle_agree(
    example_data: Path, rows: list[dict[str, Any]], text: str, threads: int
) -> None:
    wanted = sum(holds(parse_filter(text), row) is True for row in rows)
    path = example_data / "small.bam"
    with seqmill.scan_alignments(path, filter=text, threads=threads) as scan:
        assert scan.count() == wanted


@settings(max_examples=60, deadline=None)
@given(
    offset=st.integers(0, 900),
    limit=st.integers(0, 900),
    batch_rows=st.integers(1, 400),
    threads=st.integers(1, 4),
    mapq=st.sampled_from([0, 30]),
)
def test_offset_and_limit_are_a_slice(  # noqa: PLR0917 - drawn together
    example_data: Path,
    rows: list[dict[str, Any]],
    offset: int,
    limit: int,
    batch_rows: int,
    threads: int,
    mapq: int,
) -> None:
    kept = [row["qname"] for row in rows if row["mapq"] >= mapq][offset : offset + limit]
    with seqmill.scan_alignments(
        example_data / "small.bam",
        columns="qname",
        min_mapq=mapq,
        offset=offset,
        limit=limit,
        batch_rows=batch_rows,
        threads=threads,
    ) as scan:
        batches = list(scan)
        assert [batch.num_rows for batch in batches[:-1]] == [batch_rows] * (len(batches) - 1)
        assert [name for batch in batches for name in batch["qname"].to_pylist()] == kept
        assert scan.count() == len(kept)
