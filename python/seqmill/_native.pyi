from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any, final

from typing_extensions import CapsuleType

__all__ = [
    "BGZF_EOF",
    "AlignmentScan",
    "BatchStream",
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
