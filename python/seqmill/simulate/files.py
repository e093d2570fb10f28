"""Files that appear when they are complete."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

from seqmill.simulate.bgzf import BgzfWriter

if TYPE_CHECKING:
    from collections.abc import Iterator

PathLike: TypeAlias = str | os.PathLike[str]


@contextmanager
def replaced(path: PathLike) -> Iterator[BinaryIO]:
    """Write beside the final name and rename at the end; nothing stays after an error."""
    final = Path(path)
    part = final.with_name(f".{final.name}.part")
    try:
        with part.open("wb") as file:
            yield file
        os.replace(part, final)  # noqa: PTH105 - one atomic step
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def text_target(path: PathLike) -> Iterator[BgzfWriter | BinaryIO]:
    """Open a file for text; one whose name ends in ``.gz`` becomes a BGZF file."""
    if Path(path).suffix == ".gz":
        with BgzfWriter(path) as writer:
            yield writer
    else:
        with replaced(path) as file:
            yield file
