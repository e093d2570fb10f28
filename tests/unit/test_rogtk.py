import inspect
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seqmill import rogtk

BASIC = ["name", "chrom", "start", "end", "flags", "sequence", "quality_scores"]
RECORDS = 835


def test_signatures_are_theirs() -> None:
    start = "batch_size=50000 include_sequence=True include_quality=True"
    packed = "compression='snappy' compression_level=3 limit=None"
    expected = {
        "bam_to_parquet": f"bam_path parquet_path {start} {packed}",
        "bams_to_parquet": f"bam_paths parquet_path {start} {packed} include_source_file=False",
        "bam_to_arrow_ipc": f"bam_path arrow_ipc_path {start} limit=None",
        "bams_to_arrow_ipc": f"bam_paths arrow_ipc_path {start} limit=None "
        "include_source_file=False",
        "bam_to_arrow_ipc_parallel": f"bam_path arrow_ipc_path {start} num_threads=4 "
        "preserve_order=False limit=None",
    }
    for name, words in expected.items():
        parameters = inspect.signature(getattr(rogtk, name)).parameters.values()
        found = [p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in parameters]
        assert found == words.split()
    assert set(expected) == set(rogtk.__all__)


def test_parquet(example_data: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.parquet"
    for compression in ("snappy", "zstd", "gzip", "lz4", "uncompressed"):
        rogtk.bam_to_parquet(example_data / "small.bam", output, 100, compression=compression)
        table = pq.read_table(output)
        assert (table.column_names, table.num_rows) == (BASIC, RECORDS)
    rogtk.bam_to_parquet(example_data / "small.bam", output, include_sequence=False, limit=7)
    table = pq.read_table(output)
    assert table.num_rows == 7
    assert table.column_names == [name for name in BASIC if name != "sequence"]


def test_arrow(example_data: Path, tmp_path: Path) -> None:
    one, other = tmp_path / "one.arrow", tmp_path / "other.arrow"
    rogtk.bam_to_arrow_ipc(example_data / "small.bam", one, 100)
    rogtk.bam_to_arrow_ipc_parallel(example_data / "small.bam", other, 100, num_threads=3)
    assert one.read_bytes() == other.read_bytes()
    with pa.ipc.open_file(one) as file:
        assert file.get_batch(0).num_rows == 100
        assert file.read_all().num_rows == RECORDS


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_several(example_data: Path, tmp_path: Path, suffix: str) -> None:
    output = tmp_path / f"out.{suffix}"
    inputs = [example_data / "small.bam", example_data / "long.bam"]
    function = rogtk.bams_to_parquet if suffix == "parquet" else rogtk.bams_to_arrow_ipc
    for with_source in (False, True):
        assert function(inputs, output, include_source_file=with_source).records == RECORDS + 32
        found = (
            pq.read_table(output) if suffix == "parquet" else pa.ipc.open_file(output).read_all()
        )
        assert found.column_names == BASIC + ["source"] * with_source
