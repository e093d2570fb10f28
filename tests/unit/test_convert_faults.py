"""Inputs that once gave wrong tables without a word; expected values are worked out by hand."""

import struct
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import seqmill
from seqmill.errors import InputError
from tests.oracles import bam_bytes

REFERENCES = [("chr1", 1_000_000), ("chr2", 1_000_000)]


def positions(path: Path, **options: Any) -> list[int]:
    scan = seqmill.scan_alignments(path, columns="pos", **options)
    found: list[int] = scan.to_table()["pos"].to_pylist()
    assert scan.count() == len(found)
    return found


@pytest.fixture
def hundred(tmp_path: Path) -> Path:
    """Records at positions 1 to 100."""
    records = [bam_bytes.record(pos=pos) for pos in range(100)]
    return bam_bytes.write(tmp_path / "hundred.bam", REFERENCES, records)


@pytest.mark.parametrize("offset", [0, 1, 99, 100, 101])
@pytest.mark.parametrize("limit", [None, 0, 1, 200])
def test_an_offset_leaves_out_the_first_records_alone(
    hundred: Path, offset: int, limit: int | None
) -> None:
    expected = list(range(1, 101))[offset:][:limit]
    assert positions(hundred, offset=offset, limit=limit) == expected
    done = seqmill.convert(hundred, hundred.with_suffix(".parquet"), offset=offset, limit=limit)
    assert done.records == len(expected)


def test_regions_by_a_chunk_index_are_whole_in_unsorted_files(tmp_path: Path) -> None:
    # References take turns in stretches of several units, so one that is behind all regions is
    # followed by some that are in them.
    long = b"XXZ" + b"x" * 2000 + b"\0"
    records = [
        bam_bytes.record(reference=number // 600 % 2, pos=number, tags=long)
        for number in range(6000)
    ]
    path = bam_bytes.write(tmp_path / "unsorted.bam", REFERENCES, records)
    seqmill.convert(path, index_only=True)
    expected = [number + 1 for number in range(6000) if number // 600 % 2 == 0]
    assert positions(path, regions="chr1") == expected


def test_the_first_tag_of_a_name_is_the_one_of_the_field(tmp_path: Path) -> None:
    records = [
        bam_bytes.record(pos=0, tags=b"NMC\x02"),
        bam_bytes.record(pos=1, tags=b"NMZx\0NMC\x02"),
        bam_bytes.record(pos=2, tags=b"NMC\x03NMC\x02"),
        bam_bytes.record(pos=3, tags=b"NMC\x02"),
    ]
    path = bam_bytes.write(tmp_path / "twice.bam", REFERENCES, records)
    scan = seqmill.scan_alignments(path)
    table = scan.to_table()
    assert [row["NM"] for row in table["tags"].to_pylist()] == [2, None, 3, 2]
    others = [
        [tuple(item.values()) for item in row or ()] for row in table["tags_other"].to_pylist()
    ]
    assert others == [[], [("NM", "Z", "x"), ("NM", "i", "2")], [("NM", "i", "2")], []]
    # What polars sees is what the engine's filter sees.
    is_two = pl.col("tags").struct.field("NM") == 2
    lazy = scan.to_polars(lazy=True).filter(is_two).select("pos").collect()
    assert lazy["pos"].to_list() == [1, 4] == positions(path, filter="tags.NM == 2")


def test_arrays_of_another_range_do_not_make_room_for_a_second_tag(tmp_path: Path) -> None:
    short, wide = b"XBBc\1\0\0\0\xff", b"XBBi" + struct.pack("<Ii", 1, 70_000)
    records = [bam_bytes.record(tags=tags) for tags in (short, wide + short, short)]
    path = bam_bytes.write(tmp_path / "arrays.bam", REFERENCES, records)
    table = seqmill.scan_alignments(path, tag_types=["XB:B:c"]).to_table()
    assert [row["XB"] for row in table["tags"].to_pylist()] == [[-1], None, [-1]]
    values = [[item["value"] for item in row or ()] for row in table["tags_other"].to_pylist()]
    assert values == [[], ["i,70000", "c,-1"], []]


def test_an_array_is_not_missing(tmp_path: Path) -> None:
    records = [
        bam_bytes.record(pos=0, tags=b"MLBC\1\0\0\0\x05"),
        bam_bytes.record(pos=1),
        bam_bytes.record(pos=2, tags=b"MLBC\0\0\0\0"),
    ]
    path = bam_bytes.write(tmp_path / "arrays.bam", REFERENCES, records)
    assert positions(path, filter="tags.ML is None") == [2]
    assert positions(path, filter="tags.ML is not None") == [1, 3]
    assert positions(path, filter="tags.ML == 5") == []
    assert positions(path, filter="tags.ML not in (5, 6)") == [1, 3]


def test_floats_without_a_field_keep_every_digit(tmp_path: Path) -> None:
    values = [0.1, 343.4029235839844, 16777217.0, 1.401298464324817e-45, -0.0]
    single = [struct.unpack("<f", struct.pack("<f", value))[0] for value in values]
    records = [bam_bytes.record(tags=b"XFf" + struct.pack("<f", value)) for value in single]
    records.append(bam_bytes.record(tags=b"XFBf" + struct.pack("<I5f", 5, *single)))
    path = bam_bytes.write(tmp_path / "floats.bam", REFERENCES, records)
    table = seqmill.scan_alignments(path, max_tags=0).to_table()
    texts = [item["value"] for row in table["tags_other"].to_pylist() for item in row]

    def read(text: str) -> bytes:
        return struct.pack("<f", float(text))

    assert [read(text) for text in texts[:-1]] == [struct.pack("<f", v) for v in single]
    assert texts[-1] == ",".join(["f", *texts[:-1]])
    # As samtools prints them, wherever that is enough.
    assert texts[0] == "0.1"
    assert texts[1] == "343.40292"


@pytest.mark.parametrize("mask", ["0x10000", "65536", "-1"])
def test_masks_beyond_the_flags_are_refused(hundred: Path, mask: str) -> None:
    with pytest.raises(InputError, match="is not understood"):
        seqmill.scan_alignments(hundred, filter=f"flag & {mask} == {mask}")
