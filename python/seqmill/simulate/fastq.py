"""FASTQ text of simulated reads, in the orientation in which they were sequenced."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from seqmill.simulate import layout
from seqmill.simulate.content import LETTERS
from seqmill.simulate.pieces import Pieces, join, places, places_backward

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seqmill.simulate.content import Content
    from seqmill.simulate.layout import Plan
    from seqmill.simulate.tags import Tag

_COMPLEMENT = LETTERS[[3, 2, 1, 0, 4]]


def write_reads(plan: Plan, names: Pieces, content: Content, tags: Sequence[Tag]) -> bytes:
    """Write reads as FASTQ.

    Mates are told apart by the comment ``1:N:0`` or ``2:N:0``; tags stand in the comment as SAM
    text, as ``samtools fastq -T`` writes them.
    """
    count = len(plan)
    reverse = (plan.flag & layout.REVERSE) != 0
    starts, lengths = content.bases.starts, content.bases.lengths
    order = np.empty(len(content.bases.values), dtype=np.int64)
    back = np.repeat(reverse, lengths)
    order[~back] = places(starts[~reverse], lengths[~reverse])
    order[back] = places_backward(starts[reverse], lengths[reverse])
    codes = content.bases.values[order]
    letters = np.where(back, _COMPLEMENT[codes], LETTERS[codes])
    qualities = content.qualities.values[order] + np.uint8(33)
    comments = _comments(plan, tags)
    return bytes(
        join(
            [
                Pieces.repeated(b"@", count),
                names,
                comments,
                Pieces.repeated(b"\n", count),
                Pieces.of(letters, lengths),
                Pieces.repeated(b"\n+\n", count),
                Pieces.of(qualities, lengths),
                Pieces.repeated(b"\n", count),
            ]
        ).values.tobytes()
    )


def _comments(plan: Plan, tags: Sequence[Tag]) -> Pieces:
    paired = (plan.flag & layout.PAIRED) != 0
    last = (plan.flag & layout.LAST) != 0
    texts = []
    for row in range(len(plan)):
        text = f" {2 if last[row] else 1}:N:0" if paired[row] else ""
        text += "".join("\t" + tag.text(row) for tag in tags if tag.present[row])
        texts.append(text.encode())
    flat = np.frombuffer(b"".join(texts), dtype=np.uint8)
    return Pieces.of(flat, np.array([len(text) for text in texts], dtype=np.int64))
