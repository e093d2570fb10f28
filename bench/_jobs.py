"""What runs inside one measured process: ``_jobs.py CONTESTANT TASK INPUT [OUTPUT] [OPTIONS]``.

The last line of the output is JSON: rows, and CPU and wall time without the imports. OPTIONS is
JSON: ``threads``, ``tags`` (names and SAM types of all tags of the input, found beforehand, for
the peers that must be told), ``regions``.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

Options = dict[str, Any]

_THREE = {
    "seqmill": ["pos", "flag", "mapq"],
    "oxbow": ["pos", "flag", "mapq"],
    "polars-bio": ["start", "flags", "mapping_quality"],
    "biobear": ["start", "flag", "mapping_quality"],
}


def _consume(batches: Iterator[Any]) -> dict[str, Any]:
    """Take all batches, as a consumer in Python would; they hold the columns ready."""
    rows = 0
    size = 0
    for batch in batches:
        rows += batch.num_rows
        size += batch.nbytes
    return {"rows": rows, "arrow_bytes": size}


def _write(batches: Iterator[Any], schema: Any, task: str, output: str) -> dict[str, Any]:
    """Write batches of pyarrow: the way to a file for peers that have no writer."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    rows = 0
    if task == "parquet":
        writer: Any = pq.ParquetWriter(output, schema, compression="zstd")
    else:
        writer = pa.ipc.new_file(output, schema)
    with writer:
        for batch in batches:
            rows += batch.num_rows
            writer.write_batch(batch)
    return {"rows": rows}


def seqmill() -> dict[str, Any]:
    """Seqmill in Python; its files are measured with the command itself."""
    # seqmill imports it at the first batch; the imports of a contestant are not counted.
    import pyarrow  # noqa: F401, ICN001, PLC0415

    from seqmill.alignments import scan_alignments  # noqa: PLC0415

    def stream(source: str, _output: str, options: Options) -> dict[str, Any]:
        return _consume(iter(scan_alignments(source, threads=options["threads"])))

    def columns(source: str, _output: str, options: Options) -> dict[str, Any]:
        chosen = {"columns": _THREE["seqmill"], "threads": options["threads"]}
        return _consume(iter(scan_alignments(source, **chosen)))

    def count(source: str, _output: str, options: Options) -> dict[str, Any]:
        return {"rows": scan_alignments(source, threads=options["threads"]).count()}

    def region(source: str, _output: str, options: Options) -> dict[str, Any]:
        scan = scan_alignments(source, threads=1)
        answer: dict[str, Any] = {}
        for name in ("count", "batches"):
            rows = 0
            # Once before: the tag fields and the index are known afterwards.
            for regions in (options["regions"][:1], options["regions"]):
                rows = 0
                begin = time.process_time()
                for one in regions:
                    part = scan.within(one)
                    if name == "count":
                        rows += part.count()
                    else:
                        rows += sum(batch.num_rows for batch in part)
                answer[f"{name}_s"] = (time.process_time() - begin) / len(regions)
            answer[f"{name}_rows"] = rows
        return answer

    return {"stream": stream, "columns": columns, "count": count, "region": region}


def oxbow() -> dict[str, Any]:
    """Oxbow gives batches; files are written by pyarrow."""
    import oxbow as ox  # noqa: PLC0415
    import pyarrow as pa  # noqa: PLC0415

    def wanted(options: Options) -> list[tuple[str, str]]:
        return [(name, kind[0]) for name, kind in options["tags"]]

    def plain(source: str, options: Options) -> Iterator[Any]:
        for batch in ox.from_bam(source, tag_defs=wanted(options)).batches():
            yield pa.record_batch(batch)

    def stream(source: str, _output: str, options: Options) -> dict[str, Any]:
        return _consume(plain(source, options))

    def to_file(task: str) -> Any:
        def job(source: str, output: str, options: Options) -> dict[str, Any]:
            schema = pa.schema(ox.from_bam(source, tag_defs=wanted(options)).schema)
            return _write(plain(source, options), schema, task, output)

        return job

    def columns(source: str, _output: str, _options: Options) -> dict[str, Any]:
        three = ox.from_bam(source, fields=_THREE["oxbow"])
        return _consume(pa.record_batch(batch) for batch in three.batches())

    return {
        "stream": stream,
        "parquet": to_file("parquet"),
        "ipc": to_file("ipc"),
        "columns": columns,
    }


def polars_bio() -> dict[str, Any]:
    """polars-bio scans into polars, which writes."""
    import polars as pl  # noqa: PLC0415
    import polars_bio as pb  # noqa: PLC0415

    def scan(source: str, options: Options) -> Any:
        hints = [f"{name}:{kind}" for name, kind in options["tags"]]
        names = [name for name, _ in options["tags"]]
        return pb.scan_bam(source, tag_fields=names or None, tag_type_hints=hints or None)

    def stream(source: str, _output: str, options: Options) -> dict[str, Any]:
        rows = 0
        size = 0
        for frame in scan(source, options).collect_batches():
            rows += frame.height
            size += int(frame.estimated_size())
        return {"rows": rows, "arrow_bytes": size}

    def parquet(source: str, output: str, options: Options) -> dict[str, Any]:
        scan(source, options).sink_parquet(output, compression="zstd")
        return {}

    def ipc(source: str, output: str, options: Options) -> dict[str, Any]:
        scan(source, options).sink_ipc(output, compression="uncompressed")
        return {}

    def columns(source: str, _output: str, _options: Options) -> dict[str, Any]:
        frame = pb.scan_bam(source).select(_THREE["polars-bio"]).collect()
        return {"rows": frame.height}

    def count(source: str, _output: str, _options: Options) -> dict[str, Any]:
        return {"rows": pb.scan_bam(source).select(pl.len()).collect().item()}

    return {"stream": stream, "parquet": parquet, "ipc": ipc, "columns": columns, "count": count}


def biobear() -> dict[str, Any]:
    """Biobear gives batches; files are written by pyarrow."""
    import biobear as bb  # noqa: PLC0415
    import pyarrow  # noqa: F401, ICN001, PLC0415 - part of the imports

    def reader(source: str) -> Any:
        return bb.connect().read_bam_file(source).to_arrow_record_batch_reader()

    def stream(source: str, _output: str, _options: Options) -> dict[str, Any]:
        return _consume(reader(source))

    def to_file(task: str) -> Any:
        def job(source: str, output: str, _options: Options) -> dict[str, Any]:
            batches = reader(source)
            return _write(batches, batches.schema, task, output)

        return job

    def sql(what: str) -> Any:
        def job(source: str, _output: str, _options: Options) -> dict[str, Any]:
            session = bb.connect()
            session.execute(f"CREATE EXTERNAL TABLE t STORED AS BAM LOCATION '{source}'")
            return _consume(session.sql(f"SELECT {what} FROM t").to_arrow_record_batch_reader())  # noqa: S608

        return job

    return {
        "stream": stream,
        "parquet": to_file("parquet"),
        "ipc": to_file("ipc"),
        "columns": sql(", ".join(_THREE["biobear"])),
    }


def rogtk() -> dict[str, Any]:
    """Rogtk writes files itself: seven columns, no tags."""
    import rogtk as rg  # noqa: PLC0415

    def parquet(source: str, output: str, _options: Options) -> dict[str, Any]:
        rg.bam_to_parquet(source, output, compression="zstd", compression_level=1)
        return {}

    def ipc(source: str, output: str, _options: Options) -> dict[str, Any]:
        rg.bam_to_arrow_ipc(source, output)
        return {}

    return {"parquet": parquet, "ipc": ipc}


def pysam() -> dict[str, Any]:  # noqa: C901 - small functions in one
    """Pysam and pyarrow: what a script does today. Tags stay SAM text."""
    import pyarrow as pa  # noqa: PLC0415
    import pysam as ps  # noqa: PLC0415

    names = ["qname", "flag", "rname", "pos", "mapq", "cigar", "rnext", "pnext", "tlen", "seq"]
    names += ["qual", "tags"]
    numbers = {"flag": pa.uint16(), "pos": pa.int32(), "mapq": pa.uint8()}
    numbers |= {"pnext": pa.int32(), "tlen": pa.int32()}
    schema = pa.schema([(name, numbers.get(name, pa.string())) for name in names])
    batch_rows = 20_000

    def batch(lines: list[list[str]]) -> Any:
        columns = []
        for name, values in zip(names, zip(*lines, strict=True), strict=True):
            texts = pa.array(values, pa.string())
            columns.append(texts.cast(numbers[name]) if name in numbers else texts)
        return pa.record_batch(columns, schema=schema)

    def batches(source: str) -> Iterator[Any]:
        lines: list[list[str]] = []
        with ps.AlignmentFile(source, check_sq=False) as file:
            for record in file.fetch(until_eof=True):
                fields = record.to_string().split("\t", 11)
                lines.append(fields if len(fields) == len(names) else [*fields, ""])
                if len(lines) == batch_rows:
                    yield batch(lines)
                    lines = []
        if lines:
            yield batch(lines)

    def stream(source: str, _output: str, _options: Options) -> dict[str, Any]:
        return _consume(batches(source))

    def to_file(task: str) -> Any:
        def job(source: str, output: str, _options: Options) -> dict[str, Any]:
            return _write(batches(source), schema, task, output)

        return job

    def count(source: str, _output: str, _options: Options) -> dict[str, Any]:
        with ps.AlignmentFile(source, check_sq=False) as file:
            return {"rows": file.count(until_eof=True)}

    files = {task: to_file(task) for task in ("parquet", "ipc")}
    return {"stream": stream, "count": count, **files}


def duckdb() -> dict[str, Any]:
    """DuckDB with the extension ``duckhts``, which is not on PyPI."""
    import duckdb as db  # noqa: PLC0415

    def connection() -> Any:
        connected = db.connect()
        connected.execute("INSTALL duckhts FROM community")
        connected.execute("LOAD duckhts")
        return connected

    def parquet(source: str, output: str, _options: Options) -> dict[str, Any]:
        query = f"COPY (FROM read_bam('{source}')) TO '{output}' (FORMAT parquet, COMPRESSION zstd)"
        connection().execute(query)
        return {}

    def count(source: str, _output: str, _options: Options) -> dict[str, Any]:
        answer = connection().execute(f"SELECT count(*) FROM read_bam('{source}')").fetchone()  # noqa: S608
        return {"rows": answer[0]}

    return {"parquet": parquet, "count": count}


CONTESTANTS = {
    "seqmill": seqmill,
    "oxbow": oxbow,
    "polars-bio": polars_bio,
    "biobear": biobear,
    "rogtk": rogtk,
    "pysam": pysam,
    "duckdb": duckdb,
}

# What each contestant has a job for, known without importing it.
TASKS = {
    "seqmill": ("stream", "columns", "count"),
    "oxbow": ("parquet", "ipc", "stream", "columns"),
    "polars-bio": ("parquet", "ipc", "stream", "columns", "count"),
    "biobear": ("parquet", "ipc", "stream", "columns"),
    "rogtk": ("parquet", "ipc"),
    "pysam": ("parquet", "ipc", "stream", "count"),
    "duckdb": ("parquet", "count"),
}


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Run one job."""
    contestant, task, source, output, options_text = sys.argv[1:6]
    # Libraries print progress and notes; only the last line of the output is read.
    jobs = CONTESTANTS[contestant]()
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    cpu, begin = _cpu(), time.perf_counter()
    answer = jobs[task](source, output, json.loads(options_text))
    answer |= {"cpu": _cpu() - cpu, "wall": time.perf_counter() - begin, "rss_imports": rss}
    print("\n" + json.dumps(answer), flush=True)
    # Without the teardown of other people's thread pools, which can hang.
    os._exit(0)


if __name__ == "__main__":
    main()
