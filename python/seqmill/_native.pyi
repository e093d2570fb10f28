from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, final

from typing_extensions import CapsuleType

__all__ = [
    "BGZF_EOF",
    "AlignmentScan",
    "BatchStream",
    "FetchEncoder",
    "FetchStore",
    "bgzf_compress",
    "bgzf_compress_file",
    "convert",
    "debug_build",
    "features",
    "fingerprint",
    "make_chunk_index",
    "version",
]

BGZF_EOF: bytes

def version() -> str: ...
def features() -> list[str]: ...
def debug_build() -> bool: ...
def fingerprint(path: str | PathLike[str]) -> dict[str, Any]: ...
def bgzf_compress(data: bytes, level: int = 6) -> bytes: ...
def bgzf_compress_file(
    source: str | PathLike[str],
    output: str | PathLike[str],
    *,
    level: int = 6,
    threads: int = 1,
    memory: int = ...,
    gzi: bool = False,
    force: bool = False,
) -> None: ...
def convert(
    options_json: str,
    progress: Callable[[dict[str, Any]], object] | None = None,
    overview: bool = False,
) -> str: ...
def make_chunk_index(
    options_json: str, progress: Callable[[dict[str, Any]], object] | None = None
) -> list[Path]: ...

@final
class AlignmentScan:
    def __new__(cls, options_json: str) -> AlignmentScan: ...
    @property
    def header(self) -> str: ...
    @property
    def references(self) -> list[tuple[str, int]]: ...
    @property
    def warnings(self) -> list[str]: ...
    def schema_capsule(self, overrides_json: str = "{}") -> CapsuleType: ...
    def stream(self, overrides_json: str = "{}") -> BatchStream: ...
    def count(self, overrides_json: str = "{}") -> int: ...
    def close(self) -> None: ...

@final
class BatchStream:
    def __arrow_c_stream__(self, requested_schema: object | None = None) -> CapsuleType: ...
    def raise_error(self) -> None: ...
    def close(self) -> str | None: ...

@final
class FetchEncoder:
    def __new__(cls, layout: str, width: int, table: bytes) -> FetchEncoder: ...
    def output_bytes(self, bases: int) -> int: ...

@final
class FetchStore:
    def __new__(
        cls,
        base: str | PathLike[str],
        files: Sequence[str | PathLike[str]] | None = None,
        *,
        suffixes: Sequence[str],
        tracks: bool = False,
        build_missing: bool = True,
        rebuild_stale: bool = False,
        strict_eof: bool = False,
        recompress_gzip: bool = False,
        validate: bool = True,
        verify_index: bool = False,
        no_cache: bool = False,
        force_build: bool = False,
        verify_blocks: bool = True,
        cache_bytes: int = ...,
        open_files: int = 256,
        threads: int = 1,
        memory: int = ...,
        cache_directory: str | PathLike[str] | None = None,
        pack: str = "auto",
        reopen: tuple[str | PathLike[str], int] | None = None,
    ) -> FetchStore: ...
    @property
    def build_id(self) -> int: ...
    @property
    def index_path(self) -> Path: ...
    @property
    def index_bytes(self) -> int: ...
    @property
    def was_built(self) -> bool: ...
    @property
    def built(self) -> list[str]: ...
    def __len__(self) -> int: ...
    def take_warnings(self) -> list[str]: ...
    def unreadable(self) -> list[int]: ...
    def name(self, file: int) -> str: ...
    def path(self, file: int) -> Path: ...
    def failure(self, file: int) -> Exception | None: ...
    def find_file(self, name: str | bytes) -> int: ...
    def find_contig(self, file: int, name: str | bytes) -> tuple[int, int]: ...
    def contig_count(self, file: int) -> int: ...
    def contigs(self, file: int) -> list[tuple[str, int]]: ...
    def contig_table(self) -> list[bytes]: ...
    def limit_cache(self, size: int) -> None: ...
    def place(
        self, file: int, contig: int, start: int, end: int | None, out_of_range: str
    ) -> tuple[int, int, int, int]: ...
    def read(
        self,
        file: int,
        contig: int,
        place: tuple[int, int, int, int],
        minus: bool,
        encoder: FetchEncoder,
        pad: int,
        out: Any,
    ) -> None: ...
    def read_bytes(
        self,
        file: int,
        contig: int,
        place: tuple[int, int, int, int],
        minus: bool,
        encoder: FetchEncoder,
        pad: int,
    ) -> bytes: ...
    def measure_many(self, windows: Sequence[Any], out_of_range: str) -> list[int]: ...
    def read_many(
        self,
        windows: Sequence[Any],
        out_of_range: str,
        row_bases: int,
        encoder: FetchEncoder,
        pad: int,
        out: Any,
        threads: int,
    ) -> None: ...
    def pack(self, file: int) -> tuple[Path, int]: ...
    def check_index(self) -> None: ...
    def check_file(self, file: int, threads: int, memory: int) -> None: ...
