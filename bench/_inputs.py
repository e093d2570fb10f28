"""Builds the inputs of the benchmarks, once, in a scratch folder."""

from __future__ import annotations

import gzip
import os
import shutil
import struct
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from seqmill import _native, simulate

if TYPE_CHECKING:
    from collections.abc import Iterator

LEAST_BYTES = 100_000_000
SHORT_RECORDS = 1_900_000
MANY_FILES = 8

_SIMULATED_PAIRS = 760_000
_SIMULATED_LONG_READS = 9_000
_SIMULATED_CONTIGS = (("chr1", 4_000_000), ("chr2", 2_000_000), ("chr3", 1_000_000))
_SOURCES = {
    "short": "HG002_illumina_wgs_10regions.merged.bam",
    "long": "pacbio_hifi_fiberseq_MM_ML.bam",
}
_FOOTER_BYTES = 8
_HEAD_BYTES = 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """A file to measure on.

    Attributes
    ----------
    name
        Short name.
    path
        Where it is; None if it could not be made.
    about
        What it holds, or why it is missing.
    """

    name: str
    path: Path | None
    about: str


def scratch_folder() -> Path:
    """Give the folder of inputs, peers and outputs; it is kept between runs."""
    chosen = os.environ.get("SEQMILL_BENCH_DIR")
    folder = Path(chosen) if chosen else Path(tempfile.gettempdir()) / "seqmill-bench"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def real_folder() -> Path | None:
    """Give the folder with the real BAM files, if it is there."""
    root = Path(__file__).resolve().parents[1]
    chosen = os.environ.get("SEQMILL_REAL_DATA")
    candidates = (
        [Path(chosen)] if chosen else [root / "data/real", root.parent / "shared/data/real"]
    )
    return next((folder / "bam" for folder in candidates if (folder / "bam").is_dir()), None)


def build_inputs(scratch: Path) -> dict[str, Input]:
    """Make what is missing and give all inputs by name."""
    folder = scratch / "inputs"
    folder.mkdir(exist_ok=True)
    inputs = [
        _repeated(
            folder / "short.bam",
            "real Illumina reads (HG002, 2x150)",
            least_records=SHORT_RECORDS,
        ),
        _repeated(
            folder / "long.bam",
            "real PacBio HiFi reads with base modifications (Fiber-seq, up to 38 kb)",
        ),
        _simulated(folder / "simulated.bam"),
        _simulated_long(folder / "simulated-long.bam"),
    ]
    return {one.name: one for one in inputs}


def build_many(scratch: Path) -> list[Path]:
    """Give eight files of equal size for the run over many files, none if there is no data."""
    real = real_folder()
    if real is None:
        return []
    folder = scratch / "inputs" / "many"
    folder.mkdir(parents=True, exist_ok=True)
    source = real / _SOURCES["short"]
    paths = [folder / f"sample{number}.bam" for number in range(MANY_FILES)]
    for path in paths:
        if not path.exists():
            shutil.copyfile(source, path)
    return paths


def originals() -> dict[str, Path]:
    """Give the real files that the inputs repeat, by the names of the inputs."""
    real = real_folder()
    return {} if real is None else {name: real / file for name, file in _SOURCES.items()}


def _repeated(path: Path, about: str, *, least_records: int = 0) -> Input:
    real = real_folder()
    if real is None:
        reason = "missing: no folder of real data (SEQMILL_REAL_DATA)"
        return Input(name=path.stem, path=None, about=reason)
    if not path.exists():
        repeat_bam(real / _SOURCES[path.stem], path, least_records=least_records)
    return Input(name=path.stem, path=path, about=about)


def _genome() -> simulate.Genome:
    return simulate.simulate_genome(simulate.GenomeOptions(contigs=_SIMULATED_CONTIGS), seed=20)


def _simulated(path: Path) -> Input:
    indexed = indexed_simulated(path.parent.parent)
    if not path.exists():
        indexed.parent.mkdir(exist_ok=True)
        options = simulate.ShortReadOptions(pairs=_SIMULATED_PAIRS)
        simulate.simulate_short_reads(_genome(), options, seed=20).write_bam(indexed)
        # Beside an index, polars-bio gives up the order of the records.
        shutil.copyfile(indexed, path)
    about = "simulated short reads (2x150, sorted)"
    return Input(name=path.stem, path=path, about=about)


def indexed_simulated(scratch: Path) -> Path:
    """Give the simulated file that has its index beside it."""
    return scratch / "inputs" / "indexed" / "simulated.bam"


def _simulated_long(path: Path) -> Input:
    if not path.exists():
        options = simulate.LongReadOptions(
            reads=_SIMULATED_LONG_READS, mean_length=12_000, longest=100_000
        )
        simulate.simulate_long_reads(_genome(), options, seed=20).write_bam(path, index=False)
    about = "simulated long reads with base modifications (up to 100 kb, sorted)"
    return Input(name=path.stem, path=path, about=about)


def repeat_bam(source: Path, target: Path, *, least_records: int = 0) -> None:
    """Write the records of a BAM file again and again, block by block.

    Blocks are copied as they are, so that the result is compressed as its writer compressed it;
    only the block in which the header ends is made anew, without the header.

    Parameters
    ----------
    source
        File to repeat.
    target
        File to write: at least :data:`LEAST_BYTES` long.
    least_records
        Records it has at least.
    """
    content = source.read_bytes()
    sizes = [(start, end) for start, end in _blocks(content) if _inflated_size(content, end)]
    with gzip.open(source) as file:
        data = file.read()
    begin = _header_end(data)
    records = _count_records(data, begin)
    # The block in which the records begin.
    at = 0
    while begin >= _inflated_size(content, sizes[at][1]):
        begin -= _inflated_size(content, sizes[at][1])
        at += 1
    first_start, first_end = sizes[at]
    body = content[first_start : sizes[-1][1]]
    if begin:
        inflated = zlib.decompress(content[first_start:first_end], wbits=31)
        body = _native.bgzf_compress(inflated[begin:]) + content[first_end : sizes[-1][1]]
    copies = max(-(-LEAST_BYTES // len(body)), -(-least_records // records))
    draft = target.with_suffix(".partial")
    with draft.open("wb") as file:
        file.write(content[: sizes[-1][1]])
        for _ in range(copies - 1):
            file.write(body)
        file.write(_native.BGZF_EOF)
    draft.replace(target)


def _blocks(content: bytes) -> Iterator[tuple[int, int]]:
    at = 0
    while at + _HEAD_BYTES <= len(content):
        # The real files are written by htslib: BC is the first and only subfield.
        end = at + int.from_bytes(content[at + 16 : at + 18], "little") + 1
        yield at, end
        at = end


def _inflated_size(content: bytes, end: int) -> int:
    return int.from_bytes(content[end - _FOOTER_BYTES // 2 : end], "little")


def _header_end(data: bytes) -> int:
    (text,) = struct.unpack_from("<i", data, 4)
    (references,) = struct.unpack_from("<i", data, 8 + text)
    at = 12 + text
    for _ in range(references):
        (name,) = struct.unpack_from("<i", data, at)
        at += 8 + name
    return at


def _count_records(data: bytes, at: int) -> int:
    records = 0
    while at < len(data):
        (size,) = struct.unpack_from("<I", data, at)
        at += 4 + size
        records += 1
    return records
