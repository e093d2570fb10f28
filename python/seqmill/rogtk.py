"""Functions with the names and signatures of rogtk, for scripts that move over.

They give the profile ``basic`` and, as there, replace an output that exists. Records keep the
order of the file, and every record is written once, whatever the options say.
"""

from collections.abc import Sequence
from typing import Any, Final, Literal

from seqmill._keywords import PathLike
from seqmill.alignments import ConvertResult, convert

__all__ = [
    "bam_to_arrow_ipc",
    "bam_to_arrow_ipc_parallel",
    "bam_to_parquet",
    "bams_to_arrow_ipc",
    "bams_to_parquet",
]

_WITH_LEVELS: Final = ("zstd", "gzip")


def bam_to_parquet(  # noqa: PLR0917
    bam_path: PathLike,
    parquet_path: PathLike,
    batch_size: int = 50_000,
    include_sequence: bool = True,  # noqa: FBT001, FBT002 - their signature
    include_quality: bool = True,  # noqa: FBT001, FBT002
    compression: str = "snappy",
    compression_level: int = 3,
    limit: int | None = None,
) -> ConvertResult:
    """Write one BAM as Parquet.

    Parameters
    ----------
    bam_path
        Input.
    parquet_path
        Output.
    batch_size
        Rows of a batch.
    include_sequence, include_quality
        Whether the columns `sequence` and `quality_scores` are written.
    compression
        ``"snappy"``, ``"zstd"``, ``"gzip"``, ``"lz4"`` or ``"none"`` (also ``"uncompressed"``).
    compression_level
        Level, where the compression has levels.
    limit
        Most records written.

    Returns
    -------
    ConvertResult
        Counts and figures.

    Examples
    --------
    >>> import tempfile
    >>> from seqmill import simulate
    >>> folder = simulate.write_example_data(tempfile.mkdtemp())
    >>> bam_to_parquet(folder / "small.bam", folder / "small.parquet", limit=10).records
    10
    """
    return _convert(
        bam_path,
        parquet_path,
        "parquet",
        batch_size,
        _left_out(sequence=include_sequence, quality=include_quality),
        limit=limit,
        **_compression(compression, compression_level),
    )


def bams_to_parquet(  # noqa: PLR0917
    bam_paths: Sequence[PathLike],
    parquet_path: PathLike,
    batch_size: int = 50_000,
    include_sequence: bool = True,  # noqa: FBT001, FBT002
    include_quality: bool = True,  # noqa: FBT001, FBT002
    compression: str = "snappy",
    compression_level: int = 3,
    limit: int | None = None,
    include_source_file: bool = False,  # noqa: FBT001, FBT002
) -> ConvertResult:
    """Write several BAMs as one Parquet, one after the other.

    Parameters
    ----------
    bam_paths
        Inputs.
    parquet_path, batch_size, include_sequence, include_quality, compression
        See :func:`bam_to_parquet`.
    compression_level, limit
        See :func:`bam_to_parquet`.
    include_source_file
        Whether the column `source` names the input of each record.

    Returns
    -------
    ConvertResult
        Counts and figures.
    """
    return _convert(
        list(bam_paths),
        parquet_path,
        "parquet",
        batch_size,
        _left_out(sequence=include_sequence, quality=include_quality),
        limit=limit,
        source=include_source_file,
        **_compression(compression, compression_level),
    )


def bam_to_arrow_ipc(  # noqa: PLR0917
    bam_path: PathLike,
    arrow_ipc_path: PathLike,
    batch_size: int = 50_000,
    include_sequence: bool = True,  # noqa: FBT001, FBT002
    include_quality: bool = True,  # noqa: FBT001, FBT002
    limit: int | None = None,
) -> ConvertResult:
    """Write one BAM as an Arrow file.

    Parameters
    ----------
    bam_path, batch_size, include_sequence, include_quality, limit
        See :func:`bam_to_parquet`.
    arrow_ipc_path
        Output.

    Returns
    -------
    ConvertResult
        Counts and figures.
    """
    left_out = _left_out(sequence=include_sequence, quality=include_quality)
    return _convert(bam_path, arrow_ipc_path, "arrow", batch_size, left_out, limit=limit)


def bams_to_arrow_ipc(  # noqa: PLR0917
    bam_paths: Sequence[PathLike],
    arrow_ipc_path: PathLike,
    batch_size: int = 50_000,
    include_sequence: bool = True,  # noqa: FBT001, FBT002
    include_quality: bool = True,  # noqa: FBT001, FBT002
    limit: int | None = None,
    include_source_file: bool = False,  # noqa: FBT001, FBT002
) -> ConvertResult:
    """Write several BAMs as one Arrow file, one after the other.

    Parameters
    ----------
    bam_paths
        Inputs.
    arrow_ipc_path, batch_size, include_sequence, include_quality, limit
        See :func:`bam_to_arrow_ipc`.
    include_source_file
        Whether the column `source` names the input of each record.

    Returns
    -------
    ConvertResult
        Counts and figures.
    """
    left_out = _left_out(sequence=include_sequence, quality=include_quality)
    return _convert(
        list(bam_paths),
        arrow_ipc_path,
        "arrow",
        batch_size,
        left_out,
        limit=limit,
        source=include_source_file,
    )


def bam_to_arrow_ipc_parallel(  # noqa: PLR0917
    bam_path: PathLike,
    arrow_ipc_path: PathLike,
    batch_size: int = 50_000,
    include_sequence: bool = True,  # noqa: FBT001, FBT002
    include_quality: bool = True,  # noqa: FBT001, FBT002
    num_threads: int = 4,
    preserve_order: bool = False,  # noqa: FBT001, FBT002, ARG001 - order is always kept
    limit: int | None = None,
) -> ConvertResult:
    """Write one BAM as an Arrow file, with several threads.

    Parameters
    ----------
    bam_path, arrow_ipc_path, batch_size, include_sequence, include_quality, limit
        See :func:`bam_to_arrow_ipc`.
    num_threads
        Threads.
    preserve_order
        Has no effect: the order of the file is always kept.

    Returns
    -------
    ConvertResult
        Counts and figures.
    """
    left_out = _left_out(sequence=include_sequence, quality=include_quality)
    return _convert(
        bam_path, arrow_ipc_path, "arrow", batch_size, left_out, limit=limit, threads=num_threads
    )


def _left_out(*, sequence: bool, quality: bool) -> list[str]:
    wanted = {"sequence": sequence, "quality_scores": quality}
    return [name for name, kept in wanted.items() if not kept]


def _compression(name: str, level: int) -> dict[str, Any]:
    plain = {"uncompressed": "none"}.get(name.lower(), name.lower())
    return {"compression": plain} | ({"compression_level": level} if plain in _WITH_LEVELS else {})


def _convert(
    inputs: PathLike | Sequence[PathLike],
    output: PathLike,
    output_format: Literal["parquet", "arrow"],
    batch_size: int,
    left_out: Sequence[str],
    *,
    limit: int | None,
    source: bool = True,
    **options: Any,
) -> ConvertResult:
    several = isinstance(inputs, list) and len(inputs) > 1
    excluded = [*left_out, *(["source"] if several and not source else [])]
    return convert(
        inputs,
        output,
        format=output_format,
        profile="basic",
        batch_rows=batch_size,
        exclude_columns=excluded or None,
        limit=limit,
        force=True,
        **options,
    )
