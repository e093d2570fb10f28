"""FASTA files and their indices."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from seqmill.simulate.bgzf import BgzfWriter
from seqmill.simulate.files import replaced, text_target

if TYPE_CHECKING:
    from collections.abc import Iterable

    from seqmill.simulate.files import PathLike
    from seqmill.simulate.genome import Contig


def write_fasta(
    path: PathLike, contigs: Iterable[Contig], *, width: int = 60, index: bool = True
) -> None:
    """Write sequences as FASTA.

    Parameters
    ----------
    path
        File to write; a name that ends in ``.gz`` makes it BGZF.
    contigs
        What to write.
    width
        Bases a line.
    index
        Write ``PATH.fai`` as well, and ``PATH.gzi`` if it is BGZF.
    """
    lines, at = [], 0
    with text_target(path) as file:
        for contig in contigs:
            title = f">{contig.name}\n".encode()
            at += len(title)
            length = len(contig)
            lines.append(f"{contig.name}\t{length}\t{at}\t{width}\t{width + 1}\n")
            whole = length // width * width
            body = np.full((whole // width, width + 1), ord("\n"), dtype=np.uint8)
            body[:, :width] = contig.sequence[:whole].reshape(-1, width)
            rest = contig.sequence[whole:].tobytes()
            text = title + body.tobytes() + (rest + b"\n" if rest else b"")
            at += len(text) - len(title)
            file.write(text)
    if index:
        target = Path(path)
        with replaced(target.with_name(target.name + ".fai")) as table:
            table.write("".join(lines).encode())
        if isinstance(file, BgzfWriter):
            file.write_block_index()
