"""BAM records, many at a time (SAMv1 §4.2)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

from seqmill.simulate.pieces import Pieces, join, places

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from seqmill.simulate.records import Batch

_FIXED = np.dtype(
    [
        ("block_size", "<i4"),
        ("contig", "<i4"),
        ("position", "<i4"),
        ("name_length", "u1"),
        ("mapq", "u1"),
        ("bin", "<u2"),
        ("operations", "<u2"),
        ("flag", "<u2"),
        ("bases", "<i4"),
        ("mate_contig", "<i4"),
        ("mate_position", "<i4"),
        ("template_length", "<i4"),
    ]
)
_BLOCK_SIZE_BYTES = 4
_NIBBLES = np.array([1, 2, 4, 8, 15], dtype=np.uint8)
# First bin and shift of each level of the binning scheme, finest first (SAMv1 §5.3).
_BIN_LEVELS = ((4681, 14), (585, 17), (73, 20), (9, 23), (1, 26))


def bins_of(begin: NDArray[np.int64], end: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give the smallest bin that holds each interval (0-based, half-open)."""
    last = end - 1
    out = np.zeros(len(begin), dtype=np.int64)
    for first, shift in reversed(_BIN_LEVELS):
        same = begin >> shift == last >> shift
        out[same] = first + (begin[same] >> shift)
    return out


def encode_header(text: str, contigs: Sequence[tuple[str, int]]) -> bytes:
    """Encode the header of a BAM file."""
    raw = text.encode()
    parts = [b"BAM\1", struct.pack("<i", len(raw)), raw, struct.pack("<i", len(contigs))]
    for name, length in contigs:
        title = name.encode() + b"\0"
        parts += [struct.pack("<i", len(title)), title, struct.pack("<i", length)]
    return b"".join(parts)


def _pack_bases(bases: Pieces) -> Pieces:
    """Two bases a byte, each record from a byte of its own."""
    lengths = (bases.lengths + 1) // 2
    padded = np.zeros(2 * int(lengths.sum()), dtype=np.uint8)
    begin = 2 * (np.cumsum(lengths) - lengths)
    padded[places(begin, bases.lengths)] = _NIBBLES[bases.values]
    return Pieces.of((padded[0::2] << 4) | padded[1::2], lengths)


def encode_batch(batch: Batch, end: NDArray[np.int64]) -> Pieces:
    """Encode records.

    Parameters
    ----------
    batch
        The records.
    end
        Where each ends on its contig (0-based, half-open).

    Returns
    -------
    Pieces
        The bytes of each record.
    """
    plan = batch.plan
    count = len(plan)
    placed = plan.codes.only(np.asarray((plan.flag & 4) == 0))
    packed = (plan.sizes.values << 4) | plan.codes.values
    operations = Pieces.of(packed, plan.codes.lengths).only(np.asarray((plan.flag & 4) == 0))
    cigar = Pieces.of(operations.values.astype("<u4").view(np.uint8), operations.lengths * 4)
    names = join([batch.names, Pieces.repeated(b"\0", count)])
    fixed = np.zeros(count, dtype=_FIXED)
    parts = [names, cigar, _pack_bases(batch.bases), batch.qualities]
    parts += [tag.binary() for tag in batch.tags]
    total = np.sum([part.lengths for part in parts], axis=0) + _FIXED.itemsize
    fixed["block_size"] = total - _BLOCK_SIZE_BYTES
    fixed["contig"], fixed["position"] = plan.contig, plan.position
    fixed["name_length"], fixed["mapq"] = names.lengths, plan.mapq
    fixed["bin"] = bins_of(plan.position, end)
    fixed["operations"], fixed["flag"] = placed.lengths, plan.flag
    fixed["bases"] = batch.bases.lengths
    fixed["mate_contig"], fixed["mate_position"] = plan.mate_contig, plan.mate_position
    fixed["template_length"] = plan.template_length
    raw = fixed.view(np.uint8).reshape(count, _FIXED.itemsize)
    return join([Pieces.rows(raw), *parts])
