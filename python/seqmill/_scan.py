"""An open scan: batches for Arrow, polars, DuckDB and pandas; none is needed to open it."""

import json
import sys
import warnings
from collections.abc import Iterator, Mapping
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, overload

from seqmill import _native

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
    """

    def __init__(self, request: Mapping[str, Any]) -> None:
        self._request = dict(request)
        self._native = _native.AlignmentScan(json.dumps(self._request))
        self._metrics: dict[str, Any] | None = None
        self._warned: set[str] = set()

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
        return self._native.schema_capsule()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Start a stream (Arrow PyCapsule interface)."""
        return self._native.stream().__arrow_c_stream__(requested_schema)

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
        records = self._native.count()
        self._warn()
        return records

    def close(self) -> None:
        """Let go of the inputs; streams that run already go on."""
        self._native.close()

    def _frame(self, overrides: Mapping[str, Any]) -> "pl.DataFrame":
        polars = _import("polars")
        stream = self._native.stream(json.dumps(overrides))
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
        stream = self._native.stream(json.dumps(overrides))
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
