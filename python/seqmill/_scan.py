"""An open scan: batches for Arrow, polars, DuckDB and pandas; none is needed to open it."""

import json
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, overload

from seqmill import _native
from seqmill._inputs import open_inputs
from seqmill._keywords import Region, Texts
from seqmill._request import semantic_options

if TYPE_CHECKING:
    import duckdb
    import pandas as pd
    import polars as pl
    import pyarrow as pa

__all__ = ["AlignmentScan"]


class AlignmentScan:
    """Alignments or reads as a stream of Arrow batches, made by :func:`seqmill.scan_alignments`.

    Each consumer starts a stream of its own, so a scan can be read any number of times, also by
    several threads and in a process made by fork; it is pickled as paths and options. A slow
    consumer holds the threads of its stream back; dropping it stops them. The scan is itself an
    Arrow stream: ``polars.DataFrame(scan)`` and ``pyarrow.table(scan)`` work without a copy.

    Parameters
    ----------
    request
        What the engine is asked to do.
    opened
        Inputs that another scan has open already.
    overrides
        What of the request is new to these inputs.
    """

    def __init__(
        self,
        request: Mapping[str, Any],
        *,
        opened: _native.AlignmentScan | None = None,
        overrides: Mapping[str, Any] | None = None,
    ) -> None:
        self._request = dict(request)
        self._brought = ExitStack()
        self._native = opened or self._open()
        self._overrides = dict(overrides or {})
        self._owns_inputs = opened is None
        self._metrics: dict[str, Any] | None = None
        self._warned: set[str] = set()

    def _open(self) -> _native.AlignmentScan:
        request, remote = self._brought.enter_context(open_inputs(self._request, any_region=True))
        return _native.AlignmentScan(json.dumps(request), remote)

    def __repr__(self) -> str:
        """Name the inputs."""
        return f"AlignmentScan({', '.join(self._request['inputs'])})"

    def __reduce__(self) -> tuple[type["AlignmentScan"], tuple[dict[str, Any]]]:
        """Pickle paths and options."""
        return AlignmentScan, (self._request,)

    def __enter__(self) -> Self:
        """Give the scan itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the scan."""
        self.close()

    @property
    def header(self) -> str:
        """SAM header text of the first input."""
        return self._native.header

    @property
    def references(self) -> list[tuple[str, int]]:
        """Names and lengths of the reference sequences."""
        return self._native.references

    @property
    def schema(self) -> "pa.Schema":
        """The schema, with the metadata (needs pyarrow)."""
        return _import("pyarrow").schema(self)

    @property
    def metrics(self) -> dict[str, Any] | None:
        """The engine's figures of the last stream that ended; None before one has."""
        return self._metrics

    def __arrow_c_schema__(self) -> object:
        """Give the schema as a capsule (Arrow PyCapsule interface)."""
        return self._native.schema_capsule(json.dumps(self._overrides))

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Start a stream (Arrow PyCapsule interface)."""
        return self._start({}).__arrow_c_stream__(requested_schema)

    def __iter__(self) -> "Iterator[pa.RecordBatch]":
        """Iterate over record batches of pyarrow.

        Errors are those of :mod:`seqmill.errors`. Leaving the loop early stops the threads.
        """
        return self._batches({})

    def to_reader(self) -> "pa.RecordBatchReader":
        """Give a record batch reader of pyarrow; errors are those of :mod:`seqmill.errors`."""
        return _import("pyarrow").RecordBatchReader.from_batches(self.schema, iter(self))

    def to_table(self) -> "pa.Table":
        """Read everything into a table of pyarrow."""
        return _import("pyarrow").Table.from_batches(list(self), self.schema)

    def to_pandas(self) -> "pd.DataFrame":
        """Read everything into a data frame of pandas (needs pyarrow)."""
        _import("pandas")
        return self.to_table().to_pandas()

    def to_duckdb(
        self, connection: "duckdb.DuckDBPyConnection | None" = None
    ) -> "duckdb.DuckDBPyRelation":
        """Give a relation of DuckDB that reads the scan once (needs pyarrow).

        Parameters
        ----------
        connection
            Where to; by default DuckDB's own.
        """
        source = connection if connection is not None else _import("duckdb")
        return source.from_arrow(self.to_reader())

    @overload
    def to_polars(self, *, lazy: Literal[False] = False) -> "pl.DataFrame": ...

    @overload
    def to_polars(self, *, lazy: Literal[True]) -> "pl.LazyFrame": ...

    def to_polars(self, *, lazy: bool = False) -> "pl.DataFrame | pl.LazyFrame":
        """Read everything into a data frame of polars, or give a lazy one.

        Parameters
        ----------
        lazy
            Read when the frame is collected: only the columns it needs, only as many rows as it
            takes, and only records that pass its simple comparisons.
        """
        if lazy:
            from seqmill._lazy import scan_lazily  # noqa: PLC0415 - brings polars

            return scan_lazily(self)
        return self._frame({})

    def count(self) -> int:
        """Count the records that pass the filters; nothing is decoded."""
        records = self._native.count(json.dumps(self._overrides))
        self._warn()
        return records

    def within(
        self, regions: Region | Sequence[Region], *, columns: Texts | None = None
    ) -> "AlignmentScan":
        """Give a scan of regions alone, of the same open inputs.

        The tag fields, the header and the index are those of this scan: what a query costs is
        reading its records. Closing this scan closes the inputs of all.

        Parameters
        ----------
        regions
            Region strings (1-based, inclusive), or tuples of reference, start and end (0-based,
            half-open); they take the place of this scan's own.
        columns
            Columns as :func:`seqmill.scan_alignments` names them; by default this scan's.

        Examples
        --------
        >>> import tempfile
        >>> from seqmill import scan_alignments, simulate
        >>> folder = simulate.write_example_data(tempfile.mkdtemp())
        >>> scan = scan_alignments(folder / "small.bam")
        >>> [scan.within(region).count() > 0 for region in ("chr1:1-500", ("chr1", 500, 1000))]
        [True, True]
        """
        options: dict[str, Any] = {"regions": regions, "columns": columns}
        overrides = self._overrides | semantic_options(options)
        request = self._request | {"semantic": self._request["semantic"] | overrides}
        return AlignmentScan(request, opened=self._native, overrides=overrides)

    def close(self) -> None:
        """Let go of the inputs; streams that run already go on."""
        if self._owns_inputs:
            self._native.close()
            self._brought.close()

    def _start(self, overrides: Mapping[str, Any]) -> _native.BatchStream:
        return self._native.stream(json.dumps(self._overrides | dict(overrides)))

    def _frame(self, overrides: Mapping[str, Any]) -> "pl.DataFrame":
        polars = _import("polars")
        stream = self._start(overrides)
        try:
            frame: pl.DataFrame = polars.DataFrame(stream)
        except Exception:
            stream.raise_error()
            raise
        finally:
            self._keep_figures(stream)
        self._warn()
        return frame

    def _batches(self, overrides: Mapping[str, Any]) -> "Iterator[pa.RecordBatch]":
        stream = self._start(overrides)
        try:
            reader = _import("pyarrow").RecordBatchReader.from_stream(stream)
            while True:
                try:
                    batch = reader.read_next_batch()
                except StopIteration:
                    break
                except Exception:
                    # pyarrow knows the text alone; the engine knows the class and the place.
                    stream.raise_error()
                    raise
                yield batch
        finally:
            self._keep_figures(stream)
        self._warn()

    def _keep_figures(self, stream: _native.BatchStream) -> None:
        document = stream.close()
        if document is not None:
            self._metrics = json.loads(document)

    def _warn(self) -> None:
        for text in self._native.warnings:
            if text not in self._warned:
                self._warned.add(text)
                warnings.warn(text, stacklevel=3)


_EXTRAS = {"pyarrow": "arrow", "polars": "polars"}


def _import(name: str) -> ModuleType | Any:
    """Import an optional package, or say how to get it."""
    try:
        __import__(name)
    except ImportError as error:
        wanted = f"'seqmill[{_EXTRAS[name]}]'" if name in _EXTRAS else name
        error.add_note(f"pip install {wanted}")
        raise
    return sys.modules[name]
