"""Coverage counted base by base, slowly and plainly."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

__all__ = ["Aligned", "count_depth", "runs_of"]

PAIRED, SECONDARY, SUPPLEMENTARY = 0x1, 0x100, 0x800
LEFT_OUT = 0x704


class Aligned(NamedTuple):
    """A record: name, flag, sequence number, position, CIGAR operations, qualities."""

    name: str
    flag: int
    reference: int
    pos: int
    cigar: Sequence[tuple[str, int]]
    mapq: int = 60
    quals: Sequence[int] = ()

    def covered(self, *, deletions: bool = False, min_baseq: int = 0) -> list[int]:
        """List the positions that the record covers."""
        found, at, query = [], self.pos, 0
        for operation, n in self.cigar:
            if operation in "M=X":
                found += [
                    at + i for i in range(n) if not self.quals or self.quals[query + i] >= min_baseq
                ]
            elif operation == "D" and deletions:
                found += range(at, at + n)
            at += n if operation in "M=XDN" else 0
            query += n if operation in "M=XIS" else 0
        return found


def count_depth(
    records: Iterable[Aligned],
    lengths: Sequence[int],
    *,
    once: bool = False,
    deletions: bool = False,
    min_mapq: int = 0,
    min_baseq: int = 0,
    exclude: int = LEFT_OUT,
) -> list[list[int]]:
    """Count the depth of every base by the definition."""
    depth = [[0] * length for length in lengths]
    templates: dict[tuple[str, int], set[int]] = {}
    for record in records:
        if record.flag & (exclude | 4) or record.mapq < min_mapq:
            continue
        positions = record.covered(deletions=deletions, min_baseq=min_baseq)
        paired = record.flag & PAIRED and not record.flag & (SECONDARY | SUPPLEMENTARY)
        if once and paired:
            seen = templates.setdefault((record.name, record.reference), set())
            positions, _ = [p for p in positions if p not in seen], seen.update(positions)
        for position in positions:
            if position < lengths[record.reference]:
                depth[record.reference][position] += 1
    return depth


def runs_of(depth: Sequence[int]) -> list[tuple[int, int, int]]:
    """Join neighbours of equal depth: begin, end, depth."""
    runs, at = [], 0
    for value, same in groupby(depth):
        n = len(list(same))
        runs.append((at, at + n, value))
        at += n
    return runs
