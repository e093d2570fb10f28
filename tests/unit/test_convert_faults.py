"""Inputs that once gave wrong tables without a word; expected values are worked out by hand."""

import struct
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest

import seqmill
from seqmill.errors import (
    BgzfError,
    ChecksumError,
    FormatError,
    InflateError,
    InputError,
    SequenceFormatError,
    TagError,
    TruncatedError,
)
from seqmill.simulate import bgzf
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


def blocks_of(data: bytes) -> list[int]:
    """Offsets of the BGZF blocks."""
    found, at = [], 0
    while at < len(data):
        found.append(at)
        at += struct.unpack_from("<H", data, at + 16)[0] + 1
    return found


def read_until_damage(path: Path, **options: Any) -> tuple[list[dict[str, Any]], FormatError]:
    """Rows that come before the error, and the error."""
    rows: list[dict[str, Any]] = []
    try:
        for batch in seqmill.scan_alignments(path, **options):
            rows += batch.to_pylist()
    except FormatError as error:
        return rows, error
    pytest.fail("the damage was not noticed")


@pytest.fixture(scope="module")
def straddling(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[int]]:
    """Records of several units that go on from block to block, and where each ends, inflated."""
    head = len(bam_bytes.header(REFERENCES))
    records = [
        bam_bytes.record(pos=pos, tags=b"XXZ" + b"x" * (1000 + pos % 7) + b"\0")
        for pos in range(3000)
    ]
    path = tmp_path_factory.mktemp("straddling") / "whole.bam"
    bam_bytes.write(path, REFERENCES, records)
    ends, end = [], head
    for record in records:
        end += len(record)
        ends.append(end)
    return path, ends


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("block", [0.2, 0.5, 0.9])
@pytest.mark.parametrize(
    "damage",
    [(-8, ChecksumError), (-4, InflateError), (0, BgzfError), (None, TruncatedError)],
)
def test_damage_is_named_with_the_record_that_it_falls_on(
    straddling: tuple[Path, list[int]],
    tmp_path: Path,
    threads: int,
    block: float,
    damage: tuple[int | None, type[FormatError]],
) -> None:
    path, ends = straddling
    where, error = damage
    data = bytearray(path.read_bytes())
    starts = blocks_of(bytes(data))
    number = int(block * (len(starts) - 2))
    begin, behind = starts[number : number + 2]
    if where is None:
        del data[begin + 100 :]
    else:
        data[begin if where == 0 else behind + where] ^= 1
    damaged = tmp_path / "damaged.bam"
    damaged.write_bytes(data)
    sizes = [struct.unpack_from("<I", path.read_bytes(), start - 4)[0] for start in starts[1:]]
    whole = sum(end <= sum(sizes[:number]) for end in ends)
    rows, caught = read_until_damage(damaged, threads=threads)
    assert type(caught) is error
    assert (caught.record, caught.offset) == (whole, begin)
    assert [row["pos"] for row in rows] == [*range(1, whole + 1)]


def test_no_part_of_a_record_comes_before_the_damage(tmp_path: Path) -> None:
    text = b"".join(b">s%d\n%s\n" % (number, b"ACGT" * 10_000) for number in range(100))
    path = tmp_path / "sequences.fa.gz"
    with bgzf.BgzfWriter(path) as file:
        file.write(text)
    data = bytearray(path.read_bytes())
    starts = blocks_of(bytes(data))
    data[starts[40] - 8] ^= 1
    path.write_bytes(data)
    rows, caught = read_until_damage(path, batch_rows=1)
    assert isinstance(caught, ChecksumError)
    assert {len(row["sequence"]) for row in rows} == {40_000}
    with pytest.raises(ChecksumError):
        seqmill.scan_alignments(path, limit=len(rows) + 1).to_table()


@pytest.mark.parametrize("text", ["@r1\n", "@ab\n", "@r1\tx\n", "@r1\nACGT\n", "@r1\nACGT\n+\n"])
def test_the_beginning_of_a_read_is_no_header(tmp_path: Path, text: str) -> None:
    path = tmp_path / "cut.fq"
    path.write_text(text)
    with pytest.raises(FormatError) as caught:
        seqmill.scan_alignments(path).to_table()
    assert isinstance(caught.value, TruncatedError | SequenceFormatError)


def test_a_header_alone_has_its_end_marker(tmp_path: Path) -> None:
    path = bam_bytes.write(tmp_path / "header.bam", REFERENCES, [])
    scan = seqmill.scan_alignments(path, strict=True)
    assert scan.to_table().num_rows == 0
    data = path.read_bytes()
    path.write_bytes(data[: -len(bgzf.END_MARKER)])
    with pytest.warns(UserWarning, match="missing_eof"):
        assert seqmill.scan_alignments(path).count() == 0


def rows_by_folder(folder: Path) -> dict[str, int]:
    files = sorted(folder.rglob("part-*.parquet"))
    rows = (pq.ParquetFile(file).metadata.num_rows for file in files)
    return {str(file.parent.relative_to(folder)): n for file, n in zip(files, rows, strict=True)}


def test_partitions_by_an_index_hold_records_without_a_position(tmp_path: Path) -> None:
    text = "@HD\tVN:1.6\tSO:coordinate\n@RG\tID:one\n"
    names = [("chr0", 1000), *REFERENCES, ("chr3", 1000)]
    records = [bam_bytes.record(reference=1, pos=-1, flag=4)]
    records += [bam_bytes.record(reference=1, pos=pos, tags=b"RGZone\0") for pos in range(3)]
    records += [bam_bytes.record(reference=2, pos=-1, flag=4)]
    records += [bam_bytes.record(reference=2, pos=900_000, tags=b"RGBC\1\0\0\0\1")]
    records += [bam_bytes.record(reference=-1, pos=-1, flag=4)]
    path = bam_bytes.write(tmp_path / "sorted.bam", names, records, text)
    expected = {"rname=__HIVE_DEFAULT_PARTITION__": 1, "rname=chr1": 4, "rname=chr2": 2}
    for indexed in (False, True):
        if indexed:
            pysam = pytest.importorskip("pysam")
            pysam.index(str(path))
        folder = tmp_path / f"by-name-{indexed}"
        seqmill.convert(path, out_dir=folder, partition_by="rname")
        assert rows_by_folder(folder) == expected
        folder = tmp_path / f"by-both-{indexed}"
        seqmill.convert(path, out_dir=folder, partition_by="rname,read_group")
        found = rows_by_folder(folder)
        assert sum(found.values()) == len(records)
        assert found["rname=chr1/read_group=one"] == 3
    # A region asks for places, which such records have not.
    assert positions(path, regions="chr1") == [1, 2, 3]


def test_partitions_are_never_written_over_nor_counted_one_by_one(tmp_path: Path) -> None:
    record = bam_bytes.record()
    first = bam_bytes.write(tmp_path / "x.bam", REFERENCES, [record])
    (tmp_path / "more").mkdir()
    second = bam_bytes.write(tmp_path / "more" / "x.bam", REFERENCES, [record])
    folder = tmp_path / "parts"
    with pytest.raises(InputError, match="would both be source="):
        seqmill.convert([first, second], out_dir=folder, partition_by="source,rname")
    for option in ({"limit": 1}, {"offset": 1}):
        with pytest.raises(InputError, match="partition_by makes several"):
            seqmill.convert(first, out_dir=folder, partition_by="rname", **option)
        with pytest.raises(InputError, match="shards makes several"):
            seqmill.convert(first, out_dir=folder, shards=2, **option)
    assert not folder.exists()


@pytest.mark.parametrize("long", [False, True])
def test_metadata_are_those_of_the_schema_and_of_the_file(tmp_path: Path, long: bool) -> None:  # noqa: FBT001
    text = "@HD\tVN:1.6\tSO:coordinate\n@CO\t" + "x" * (1 << 20 if long else 10) + "\n"
    path = bam_bytes.write(tmp_path / "in.bam", REFERENCES, [bam_bytes.record()], text)
    output = tmp_path / "out.parquet"
    seqmill.convert(path, output)
    file = pq.read_metadata(output).metadata
    assert file[b"sam.header"].decode().startswith(text)
    assert file[b"sam.sort_order"] == b"coordinate"
    schema = pq.read_schema(output).metadata or {}
    del file[b"ARROW:schema"]
    # Beyond a MiB they are held once.
    assert schema == ({} if long else file)


@pytest.mark.parametrize("options", [{}, {"max_tags": 0}, {"max_tags": 0, "compat": True}])
def test_tables_without_tag_fields_are_read_by_everybody(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    duckdb = pytest.importorskip("duckdb")
    tags = b"NMC\x05" if options else b""
    path = bam_bytes.write(tmp_path / "in.bam", REFERENCES, [bam_bytes.record(tags=tags)])
    output = tmp_path / "out.parquet"
    seqmill.convert(path, output, **options)
    others = [{"tag": "NM", "type": "i", "value": "5"}] if options else None
    assert pl.read_parquet(output)["tags_other"].to_list() == [others]
    relation = duckdb.read_parquet(str(output)).select("pos", "tags_other")
    assert relation.fetchall() == [(1, others)]
    table = pq.read_table(output)
    assert ("tags" in table.schema.names, table["pos"].to_pylist()) == (False, [1])
    with pytest.raises(InputError, match="no column is left"):
        seqmill.convert(path, tmp_path / "none.parquet", columns="tags", **options)


def test_damaged_tags_are_noticed_where_no_field_is_known(tmp_path: Path) -> None:
    records = [bam_bytes.record(tags=b"NMC\x05") for _ in range(20_000)]
    records.append(bam_bytes.record(tags=b"XXQ\x05"))
    path = bam_bytes.write(tmp_path / "in.bam", REFERENCES, records)
    for columns in ("qname,tags", "qname,tags_other", "qname,tags,tags_other", "qname"):
        with pytest.raises(TagError):
            seqmill.convert(path, tmp_path / "out.parquet", columns=columns, max_tags=0)


# The most bases that one operation of a CIGAR can have.
LONGEST = 2**28 - 1


@pytest.mark.parametrize("column", ["end", "aligned_len"])
def test_an_end_behind_the_last_position_is_bad_input(tmp_path: Path, column: str) -> None:
    last = 2**31 - 1
    fits = [(LONGEST, "N")] * 8
    records = [
        bam_bytes.record(name="fits", pos=last - 8 * LONGEST, cigar=fits, seq=""),
        bam_bytes.record(name="behind", pos=1, cigar=[*fits, (LONGEST, "D")], seq=""),
        bam_bytes.record(name="after", pos=5),
    ]
    path = bam_bytes.write(tmp_path / "x.bam", REFERENCES, records)
    table = seqmill.scan_alignments(path, columns=f"qname,{column}", limit=1).to_table()
    assert table[column].to_pylist() == [last if column == "end" else 8 * LONGEST]
    with pytest.raises(FormatError, match="cigar reaches behind position 2147483647") as caught:
        seqmill.convert(path, tmp_path / "x.parquet", columns=f"qname,{column}")
    assert caught.value.record == 1
    assert not (tmp_path / "x.parquet").exists()
    with pytest.warns(UserWarning, match="1 damaged records were skipped"):
        seqmill.convert(
            path, tmp_path / "x.parquet", columns=f"qname,{column}", on_bad_record="skip"
        )
    assert pq.read_table(tmp_path / "x.parquet")["qname"].to_pylist() == ["fits", "after"]
    # Where no column needs the end, nothing is wrong with the record.
    names = seqmill.scan_alignments(path, columns="qname,cigar").to_table()["qname"].to_pylist()
    assert names == ["fits", "behind", "after"]


def test_a_position_beyond_31_bits_is_bad_input(tmp_path: Path) -> None:
    good, bad = (bam_bytes.record(pos=2**31 - 1 - step) for step in (1, 0))
    path = bam_bytes.write(tmp_path / "x.bam", REFERENCES, [good])
    assert positions(path) == [2**31 - 1]
    path = bam_bytes.write(tmp_path / "x.bam", REFERENCES, [good, bad])
    with pytest.raises(FormatError, match="pos is above 2147483646"):
        positions(path)


@pytest.mark.parametrize(
    "options",
    [{"tags": "none"}, {"tags": "sam"}, {"tags": "binary"}, {"columns": "qname,pos"}],
    ids=str,
)
def test_a_list_of_tags_without_fields_is_refused(hundred: Path, options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="tag names fields of the tags, and there are none"):
        seqmill.convert(hundred, hundred.with_suffix(".parquet"), tag_types=["NM:i"], **options)
    assert not hundred.with_suffix(".parquet").exists()
