"""The keywords that `convert` and `scan_alignments` take, with their types and meanings."""

import os
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias, TypedDict

__all__ = ["ConvertOptions", "PathLike", "Region", "ScanOptions", "Texts"]

PathLike: TypeAlias = str | os.PathLike[str]
Region: TypeAlias = str | tuple[str, int, int | None]
"""A region string (1-based, inclusive), or a name with begin and end (0-based, half-open)."""
Texts: TypeAlias = str | Sequence[str]


class ScanOptions(TypedDict, total=False):
    """Keywords that `convert` and `scan_alignments` share.

    Attributes
    ----------
    profile
        Names and types of the columns: ``"sam"`` (default), ``"bio"`` or ``"basic"``.
    columns
        Columns in the order of the output; names with a ``+`` are added to the default ones.
    exclude_columns
        Columns left out.
    tags
        How tags appear: ``"struct"`` (default), ``"columns"``, ``"sam"``, ``"binary"``, ``"none"``.
    tag_types
        Tags with their SAM types, such as ``{"NM": "i", "ML": "B:C"}``, instead of looking for
        them; also pairs, or texts like ``"NM:i"``.
    tags_from
        Whether tags that are not in `tag_types` go to `tags_other` (``"all"``, default) or are
        dropped (``"listed"``).
    discover
        Find the tags in a ``"sample"`` (default) or in a ``"full"`` pass over the input.
    max_tags
        Most tag fields, the most frequent first; 256 by default.
    coords
        ``"11"`` (default): 1-based, both ends included; ``"01"``: 0-based, half-open.
    cigar
        ``"text"`` (default), ``"ops"`` (packed as in BAM) or ``"struct"``.
    seq
        ``"text"`` (default) or ``"packed"`` (BAM's nibbles and a column `seq_len`).
    qual
        ``"text"`` (default, Phred+33) or ``"phred"`` (raw values).
    record_paths
        Full paths instead of base names in the column `source` and in the metadata.
    regions
        Region strings (1-based, inclusive), or tuples (name, begin, end) that are 0-based and
        half-open; an end of None is that of the reference. ``"*"``: records without a reference.
    regions_file
        BED file (0-based, half-open; known by its suffix), else one region string a line.
    index
        BAI or CSI of the only input, where it is not beside it.
    min_mapq
        Least mapping quality (255 passes).
    require_flags, exclude_flags
        Flag bits that must all be set, that must all be unset: a number, or names such as
        ``"UNMAP,DUP"``.
    exclude_all_flags
        Flag bits that must not all be set at once.
    read_groups
        Read groups kept; ``"@FILE"`` reads them from a file.
    tag_in
        Values kept, by tag, as SAM text: ``{"CB": "@barcodes.txt", "NH": 1}``.
    name_in
        Read names kept; ``"@FILE"`` reads them from a file.
    min_length, max_length
        Bounds of the length of the sequence.
    filter
        An expression such as ``"mapq >= 30 and not flag.dup and tags.NM <= 2"``.
    limit, offset
        Most records given, and records left out before them, after all filters.
    shard
        Part `i` of `n` (from 0) by the chunk index.
    batch_bytes, batch_rows
        Size of a batch: bytes of Arrow data (2 MiB by default), or an exact number of rows.
    on_bad_record
        ``"error"`` (default), or ``"skip"`` what is damaged and counted.
    strict
        Treat what would be a warning as an error.
    verify
        Compare checksums of blocks, walk tags that are not used; True by default.
    reference
        FASTA with the reference of a CRAM file.
    mate
        File of the mates of a FASTA or FASTQ input.
    loading_threads, processing_threads, writing_threads
        Give the stages pools of their own instead of one that they share.
    read_ahead, process_buffer, write_buffer
        Bytes of input, of columns, of encoded data that wait for the next stage.
    io
        How files are read: ``"read"`` (default), ``"map"`` or ``"direct"``.
    queue_depth
        Reads in flight with ``io="direct"``.
    concurrent_ranges
        Ranges of remote inputs in flight, 1 to 64; 8 by default.
    """

    profile: Literal["sam", "bio", "basic"]
    columns: Texts | None
    exclude_columns: Texts | None
    tags: Literal["struct", "columns", "sam", "binary", "none"]
    tag_types: Mapping[str, str] | Sequence[tuple[str, str] | str] | None
    tags_from: Literal["all", "listed"]
    discover: Literal["sample", "full"]
    max_tags: int
    coords: Literal["11", "01"]
    cigar: Literal["text", "ops", "struct"]
    seq: Literal["text", "packed"]
    qual: Literal["text", "phred"]
    record_paths: bool
    regions: Region | Sequence[Region] | None
    regions_file: PathLike | None
    index: PathLike | None
    min_mapq: int
    require_flags: int | str
    exclude_flags: int | str
    exclude_all_flags: int | str
    read_groups: Texts | None
    tag_in: Mapping[str, object] | None
    name_in: Texts | None
    min_length: int | None
    max_length: int | None
    filter: str | None
    limit: int | None
    offset: int
    shard: tuple[int, int] | None
    batch_bytes: int | str | None
    batch_rows: int | None
    on_bad_record: Literal["error", "skip"]
    strict: bool
    verify: bool
    reference: PathLike | None
    mate: PathLike | None
    loading_threads: int | None
    processing_threads: int | None
    writing_threads: int | None
    read_ahead: int | str | None
    process_buffer: int | str | None
    write_buffer: int | str | None
    io: Literal["read", "map", "direct"]
    queue_depth: int
    concurrent_ranges: int


class ConvertOptions(ScanOptions, total=False):
    """Keywords of `convert` alone.

    Attributes
    ----------
    compression
        ``"zstd"``, ``"lz4"``, ``"snappy"``, ``"gzip"`` or ``"none"``, also with a level as in
        ``"zstd:3"``. By default Parquet has zstd 1, Arrow none.
    compression_level
        Level of the compression.
    row_group_bytes
        Bytes of Arrow data of a Parquet row group; 64 MiB by default.
    compat
        Parquet with PLAIN and dictionary encodings only, for old readers.
    provenance
        Version, command and options in the metadata; True by default.
    bad_records
        File for the list of damaged records that were skipped.
    write_chunk_index, index_only
        Write the chunk index ``X.bam.smci`` beside each input too, or nothing else.
    checkpoint_every
        Bytes of output, seconds, or whichever comes first, such as ``"1GiB|30s"``.
    """

    compression: str | None
    compression_level: int | None
    row_group_bytes: int | str
    compat: bool
    provenance: bool
    bad_records: PathLike | None
    write_chunk_index: bool
    index_only: bool
    checkpoint_every: int | str | None
