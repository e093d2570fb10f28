"""Every shared alignment file against what samtools says of it (`data/bam/expected.json`)."""

import json
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import seqmill
from seqmill import errors
from tests.conftest import find_shared_data
from tests.oracles.sam_text import COLUMNS, column_text, md5_of_lines, sam_lines

SHARED = find_shared_data()
FOLDER = None if SHARED is None else SHARED / "bam"
EXPECTED: dict[str, dict[str, Any]] = (
    {} if FOLDER is None else json.loads((FOLDER / "expected.json").read_text())
)
OK = [name for name, facts in EXPECTED.items() if facts["ok"]]
DAMAGED = [name for name, facts in EXPECTED.items() if not facts["ok"]]
INDEXED = [name for name in OK if "regions" in EXPECTED[name]]

CLASSES: dict[str, type[Exception] | tuple[type[Exception], ...]] = {
    "truncated": errors.TruncatedError,
    "crc": errors.ChecksumError,
    "inflate": errors.InflateError,
    "bgzf": errors.BgzfError,
    "empty": errors.EmptyInputError,
    "format": errors.NotAlignmentsError,
    "header": errors.HeaderError,
    "record": errors.RecordError,
    "tag": errors.TagError,
    # A name that SAM does not allow is found in the header already.
    "sam": (errors.SamError, errors.HeaderError),
}
FILTERS: dict[str, dict[str, int]] = {
    "min_mapq_30": {"min_mapq": 30},
    "min_mapq_255": {"min_mapq": 255},
    "exclude_0x904": {"exclude_flags": 0x904},
    "require_0x2": {"require_flags": 2},
    "require_0x1_exclude_0x400": {"require_flags": 1, "exclude_flags": 0x400},
}
# These say so, each in its own way, and are read all the same.
pytestmark = [
    pytest.mark.skipif(FOLDER is None, reason="no shared data"),
    pytest.mark.filterwarnings("ignore:.*missing_eof"),
    pytest.mark.filterwarnings("ignore:.*do not end in NUL"),
    pytest.mark.filterwarnings("ignore:.*gzip"),
    pytest.mark.filterwarnings("ignore:no index"),
    pytest.mark.filterwarnings("ignore:.*index is older"),
    pytest.mark.filterwarnings("ignore:.*flagged as unmapped"),
    pytest.mark.filterwarnings("ignore:.*line 4. a tag"),
]


@cache
def reads(suffix: str) -> bool:
    """Whether this engine reads the kind of file at all."""
    name = next((n for n in OK if n.endswith(suffix)), None)
    if name is None or FOLDER is None:
        return False
    try:
        seqmill.scan_alignments(FOLDER / name).close()
    except (errors.NotAlignmentsError, errors.InputError):
        return False
    return True


def source(name: str) -> Path:
    assert FOLDER is not None
    suffix = Path(name).suffix
    if suffix != ".bam" and not reads(suffix):
        pytest.skip(f"this engine does not read {suffix} yet")
    return FOLDER / name


def table_of(name: str, **options: Any) -> pa.Table:
    with seqmill.scan_alignments(source(name), tags="sam", **options) as scan:
        return scan.to_table()


@pytest.mark.parametrize("name", OK)
def test_all_fields_and_tags_are_there(name: str) -> None:
    expected = EXPECTED[name]
    table = table_of(name, threads=2)
    assert table.num_rows == expected["records"]
    found = {column: md5_of_lines(column_text(table, column)) for column in COLUMNS}
    assert found == expected["column_md5"]
    tags = [text or "" for text in table["tags"].to_pylist()]
    assert md5_of_lines(tags) == expected["tags_text_md5"]
    assert sum(len(text or "") for text in table["seq"].to_pylist()) == expected["bases"]


@pytest.mark.parametrize("name", OK)
def test_tag_counts_and_types_in_the_struct(name: str) -> None:
    expected = EXPECTED[name]["tags"]
    with seqmill.scan_alignments(source(name)) as scan:
        table = scan.to_table()
    counts: Counter[str] = Counter()
    types: dict[str, set[str]] = {}
    for field in table.schema.field("tags").type:
        values = table["tags"].combine_chunks().field(field.name)
        counts[field.name] += len(values) - values.null_count
        if len(values) != values.null_count:
            kind = field.metadata[b"sam_type"].decode().replace(":", "")
            types.setdefault(field.name, set()).add(kind)
    for others in table["tags_other"].to_pylist():
        for other in others or ():
            counts[other["tag"]] += 1
            types.setdefault(other["tag"], set()).add(other["type"].replace(":", ""))
    assert {tag: n for tag, n in counts.items() if n} == {
        tag: facts["count"] for tag, facts in expected.items()
    }
    for tag, facts in expected.items():
        # A field of arrays has the narrowest type that holds all of them.
        arrays = {kind for kind in facts["types"] if kind.startswith("B")}
        assert types[tag] - arrays <= set(facts["types"]) | {f"B{t}" for t in "sSiI"}
        assert set(facts["types"]) - arrays <= types[tag]


@pytest.mark.parametrize("name", OK)
def test_filters(name: str) -> None:
    with seqmill.scan_alignments(source(name)) as scan:
        assert scan.count() == EXPECTED[name]["records"]
    for key, options in FILTERS.items():
        with seqmill.scan_alignments(source(name), **options) as scan:  # type: ignore[arg-type]
            assert (key, scan.count()) == (key, EXPECTED[name]["filters"][key])


@pytest.mark.parametrize("name", INDEXED)
def test_regions(name: str) -> None:
    expected = EXPECTED[name]
    for region, facts in expected["regions"].items():
        table = table_of(name, regions=region)
        assert (region, table.num_rows) == (region, facts["records"])
        assert md5_of_lines(sam_lines(table)) == facts["sam_text_md5"], region
    several = expected["multi_region"]
    table = table_of(name, regions=several["regions"], threads=2)
    assert table.num_rows == several["records"]
    assert md5_of_lines(sam_lines(table)) == several["sam_text_md5"]


@pytest.mark.parametrize("threads", [1, 2, 8])
@pytest.mark.parametrize("name", DAMAGED)
def test_damage_has_its_class_and_leaves_nothing(name: str, threads: int, tmp_path: Path) -> None:
    path = source(name)
    classes = tuple(CLASSES[kind] for kind in EXPECTED[name]["expect"].split("|"))
    strict = path.suffix == ".sam"
    for suffix in ("parquet", "arrow", "arrows"):
        with pytest.raises(errors.FormatError) as caught:
            seqmill.convert(path, tmp_path / f"out.{suffix}", threads=threads, strict=strict)
        assert isinstance(caught.value, classes), caught.value
        assert caught.value.path is not None
        assert Path(caught.value.path).name == path.name
    assert list(tmp_path.iterdir()) == []
    with (
        pytest.raises(errors.FormatError) as caught,
        seqmill.scan_alignments(path, threads=threads, strict=strict) as scan,
    ):
        for _ in scan:
            pass
    assert isinstance(caught.value, classes), caught.value


@pytest.mark.filterwarnings("ignore:.*damaged records were skipped")
@pytest.mark.parametrize("name", [n for n in DAMAGED if n.startswith("edge/bad_record")])
def test_damaged_records_are_skipped_or_end_the_run(name: str, tmp_path: Path) -> None:
    output, listed = tmp_path / "out.parquet", tmp_path / "bad.tsv"
    if "blocksize" in name:
        # Where the size of a record is wrong the next one cannot be found.
        with pytest.raises(errors.FormatError):
            seqmill.convert(source(name), output, on_bad_record="skip", bad_records=listed)
        assert not output.exists()
        return
    done = seqmill.convert(source(name), output, on_bad_record="skip", bad_records=listed)
    assert done.metrics.detail["records_bad"] == 1
    assert done.warnings == ("1 damaged records were skipped",)
    assert done.records >= EXPECTED[name]["records_before_damage"]
    heading, line = listed.read_text().splitlines()
    assert heading.split("\t") == ["ordinal", "voffset", "reason"]
    assert line.split("\t")[0] == str(EXPECTED[name]["records_before_damage"])
