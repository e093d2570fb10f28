"""Says how much of a BAM file a table holds: ``_check.py TRUTH TABLE`` and ``_check.py BAM``.

With a BAM file it writes down, as JSON, how many records there are, the types of all tags, and a
sample of records as SAM text: from the beginning, the middle and the end, and the first ones of
each tag. With that and a table it compares the sample: which columns are there and right, whether
all tags are, and whether the rows are as many and in the same order.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from collections.abc import Iterator

ALIASES = {
    "qname": ("qname", "name"),
    "flag": ("flag", "flags"),
    "rname": ("rname", "chrom", "reference"),
    "pos": ("pos", "start"),
    "mapq": ("mapq", "mapping_quality"),
    "cigar": ("cigar",),
    "rnext": ("rnext", "mate_chrom", "mate_reference"),
    "pnext": ("pnext", "mate_start"),
    "tlen": ("tlen", "template_length"),
    "seq": ("seq", "sequence"),
    "qual": ("qual", "quality_scores", "quality_score"),
}
_NUMBERS = ("flag", "pos", "mapq", "pnext", "tlen")
_PER_PLACE = 300
_BYTES_PER_PLACE = 4_000_000
_PER_TAG = 5
_TAG_NAME_LENGTH = 2
_SUBTYPES = ("c", "C", "s", "S", "i", "I", "f")

Value = str | tuple[float, ...]


def sample(source: str) -> dict[str, Any]:
    """Read a BAM file and give its facts."""
    import pysam  # noqa: PLC0415 - not where the table is compared

    kinds: dict[str, str] = {}
    seen: dict[str, int] = {}
    with pysam.AlignmentFile(source, check_sq=False) as file:
        records = sum(1 for _ in file.fetch(until_eof=True))
    mean = Path(source).stat().st_size // records
    per_place = max(20, min(_PER_PLACE, _BYTES_PER_PLACE // (4 * mean)))
    places = [range(start, start + per_place) for start in (0, records // 2, records - per_place)]
    lines: dict[int, str] = {}
    with pysam.AlignmentFile(source, check_sq=False) as file:
        for number, record in enumerate(file.fetch(until_eof=True)):
            wanted = any(number in place for place in places)
            for name, value, kind in record.get_tags(with_value_type=True):
                if seen.get(name, 0) < _PER_TAG:
                    seen[name] = seen.get(name, 0) + 1
                    wanted = True
                if name not in kinds:
                    kinds[name] = _sam_type(kind, value)
            if wanted:
                lines[number] = record.to_string()
    tags = sorted(kinds.items())
    return {"records": records, "tags": tags, "lines": {str(k): v for k, v in lines.items()}}


def _sam_type(kind: str, value: Any) -> str:
    if kind == "B":
        return "B:" + value.typecode.translate(str.maketrans("bBhH", "cCsS"))
    return "i" if kind in "cCsSiI" else kind


def _batches(table: str) -> Iterator[Any]:
    if table.endswith(".parquet"):
        yield from pq.ParquetFile(table).iter_batches()
        return
    with pa.memory_map(table) as file:
        reader = pa.ipc.open_file(file)
        for number in range(reader.num_record_batches):
            yield reader.get_batch(number)


def compare(truth: dict[str, Any], table: str) -> dict[str, Any]:
    """Compare a table with the facts of its BAM file."""
    numbers = sorted(int(number) for number in truth["lines"])
    rows = 0
    found: dict[int, dict[str, Any]] = {}
    names: list[str] = []
    at = 0
    for batch in _batches(table):
        names = batch.schema.names
        while at < len(numbers) and numbers[at] < rows + batch.num_rows:
            number = numbers[at]
            found[number] = batch.slice(number - rows, 1).to_pylist()[0]
            at += 1
        rows += batch.num_rows
    wrong: list[str] = []
    missing: list[str] = []
    for column, aliases in ALIASES.items():
        name = next((alias for alias in aliases if alias in names), None)
        if name is None:
            missing.append(column)
        elif not _column_is_right(column, name, truth["lines"], found):
            wrong.append(column)
    return {
        "rows": rows,
        "rows_right": rows == truth["records"],
        "missing": missing,
        "wrong": wrong,
        "tags": _tags_verdict(truth, found),
    }


def _column_is_right(
    column: str, name: str, lines: dict[str, str], found: dict[int, dict[str, Any]]
) -> bool:
    index = list(ALIASES).index(column)
    shifts = set()
    for number, row in found.items():
        fields = lines[str(number)].split("\t")
        expected, value = fields[index], row[name]
        if column == "rnext" and expected == "=":
            expected = fields[2] if value != "=" else "="
        if column in _NUMBERS:
            given = None if value is None else int(value)
            if column in ("pos", "pnext"):
                if given is not None and expected != "0":
                    shifts.add(int(expected) - given)
                continue
            if given != int(expected):
                return False
        else:
            if isinstance(value, list):
                value = "".join(chr(int(q) + 33) for q in value)
            if isinstance(value, bytes):
                value = value.decode()
            if (value or "*") != expected:
                return False
    # 1-based or 0-based, but the same everywhere.
    return len(shifts) <= 1 and shifts <= {0, 1}


def _tags_verdict(truth: dict[str, Any], found: dict[int, dict[str, Any]]) -> str:
    expected_all = given_all = equal = 0
    for number, row in found.items():
        fields = truth["lines"][str(number)].split("\t")[11:]
        rest = _tags_of(row, {text[:2]: text[3] for text in fields})
        expected_all += len(fields)
        given_all += len(rest)
        for text in fields:
            value = _plain(text[5:], text[3])
            for at, (name, given) in enumerate(rest):
                if name == text[:2] and _same(value, given):
                    del rest[at]
                    equal += 1
                    break
    if expected_all == 0 or (equal == expected_all == given_all):
        return "all"
    if given_all == 0:
        return "none"
    return f"{100 * equal / expected_all:.1f} %"


def _tags_of(row: dict[str, Any], kinds: dict[str, str]) -> list[tuple[str, Value]]:
    """Give the tags of a row, in whatever form the table has them."""
    tags = row.get("tags")
    pairs: list[tuple[str, Any]] = [
        (name, value) for name, value in row.items() if len(name) == _TAG_NAME_LENGTH
    ]
    if isinstance(tags, dict):
        pairs += tags.items()
    elif isinstance(tags, list):
        pairs += [(item["tag"], item["value"]) for item in tags]
    elif isinstance(tags, str):
        pairs += [(text[:2], text[5:]) for text in tags.split("\t") if text]
    given = [(name, _plain(v, kinds.get(name, "Z"))) for name, v in pairs if v is not None]
    others = row.get("tags_other") or []
    return given + [(item["tag"], _plain(item["value"], item["type"][0])) for item in others]


def _plain(value: Any, kind: str) -> Value:
    """Bring a tag's value into one form: text, or numbers."""
    if kind == "B":
        if isinstance(value, str):
            value = [item for item in value.strip("[]").split(",") if item.strip()]
            if value and value[0].strip() in _SUBTYPES:
                value = value[1:]
        return tuple(_number(item) for item in value)
    if kind in "if":
        return (_number(value),)
    return value if isinstance(value, str) else repr(value)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _same(one: Value, other: Value) -> bool:
    """Compare values; SAM text has six digits of a float."""
    if one == other or isinstance(one, str) or isinstance(other, str):
        return one == other
    close = (math.isclose(a, b, rel_tol=1e-5) for a, b in zip(one, other, strict=False))
    return len(one) == len(other) and all(close)


def main() -> None:
    """Print facts of a BAM file, or a comparison."""
    if len(sys.argv) == len(("program", "bam")):
        print(json.dumps(sample(sys.argv[1])))
    else:
        truth = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
        print(json.dumps(compare(truth, sys.argv[2])))


if __name__ == "__main__":
    main()
