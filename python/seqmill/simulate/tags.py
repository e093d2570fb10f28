"""Optional fields of simulated records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from seqmill.simulate import layout
from seqmill.simulate.content import LETTERS
from seqmill.simulate.pieces import Pieces, decimal, join

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from seqmill.simulate.content import Content
    from seqmill.simulate.layout import Plan

# Chances of a modification, of 255: most calls are sure, one way or the other.
_CHANCES = np.array(
    [
        *(n * 6 for n in range(40)),
        *(n // 16 for n in range(100)),
        *(255 - n // 8 for n in range(116)),
    ],
    dtype=np.uint8,
)
_ARRAY_TYPES = {"c": "<i1", "C": "<u1", "s": "<i2", "S": "<u2", "i": "<i4", "I": "<u4", "f": "<f4"}
_INTEGER_LIMITS = ((b"C", 0, 0xFF), (b"S", 0, 0xFFFF), (b"I", 0, 0xFFFFFFFF))
_SIGNED_LIMITS = ((b"c", -0x80), (b"s", -0x8000), (b"i", -0x80000000))


@dataclass(frozen=True, slots=True, eq=False)
class Tag:
    """One optional field of all records of a batch.

    Attributes
    ----------
    name
        Two characters.
    kind
        ``i``, ``f``, ``A``, ``Z``, ``H``, or ``B`` and the subtype.
    values
        A number per record (``i``, ``f``) or pieces (text, array elements).
    present
        Which records have it.
    """

    name: str
    kind: str
    values: NDArray[np.int64] | NDArray[np.float32] | Pieces
    present: NDArray[np.bool_]

    def binary(self) -> Pieces:
        """Encode as in a BAM record (SAMv1 §4.2.4), empty where absent."""
        name = self.name.encode()
        count = len(self.present)
        if isinstance(self.values, Pieces):
            head = name + self.kind.encode()
            parts = [Pieces.repeated(head, count)]
            if self.kind[0] == "B":
                parts += [_array_counts(self.values), _array_bytes(self.values, self.kind[1])]
            else:
                parts.append(self.values)
                if self.kind in {"Z", "H"}:
                    parts.append(Pieces.repeated(b"\0", count))
            return join(parts).only(self.present)
        if self.kind == "f":
            raw = self.values.astype("<f4").view(np.uint8).reshape(count, 4)
            return join([Pieces.repeated(name + b"f", count), Pieces.rows(raw)]).only(self.present)
        return _integers(name, self.values.astype(np.int64)).only(self.present)

    def text(self, row: int) -> str:
        """Write the field of one record as SAM text."""
        if not isinstance(self.values, Pieces):
            value = self.values[row]
            number = f"{float(value):g}" if self.kind == "f" else str(int(value))
            return f"{self.name}:{self.kind}:{number}"
        item = self.values.item(row)
        if self.kind[0] != "B":
            return f"{self.name}:{self.kind}:{item.tobytes().decode()}"
        form = "g" if self.kind[1] == "f" else "d"
        numbers = ",".join(format(value, form) for value in item.tolist())
        return f"{self.name}:B:{self.kind[1]},{numbers}"


def _array_counts(values: Pieces) -> Pieces:
    counts = values.lengths.astype("<i4").view(np.uint8).reshape(len(values), 4)
    return Pieces.rows(counts)


def _array_bytes(values: Pieces, subtype: str) -> Pieces:
    typed = values.values.astype(_ARRAY_TYPES[subtype])
    return Pieces.of(typed.view(np.uint8), values.lengths * typed.itemsize)


def _integers(name: bytes, values: NDArray[np.int64]) -> Pieces:
    """Write each number with the narrowest type, as aligners do."""
    width = np.full(len(values), 4, dtype=np.int64)
    letter = np.full(len(values), ord("I"), dtype=np.uint8)
    for size, (code, _, high) in zip((2, 1), _INTEGER_LIMITS[1::-1], strict=True):
        fits = values <= high
        width[fits], letter[fits] = size, code[0]
    for size, (code, low) in zip((4, 2, 1), _SIGNED_LIMITS[::-1], strict=True):
        fits = (values < 0) & (values >= low)
        width[fits], letter[fits] = size, code[0]
    raw = values.astype("<i8").view(np.uint8).reshape(len(values), 8)
    body = raw[np.arange(8) < width[:, None]]
    head = Pieces.repeated(name, len(values))
    return join([head, Pieces.rows(letter[:, None]), Pieces.of(body, width)])


def text_choice(texts: Sequence[str], choice: NDArray[np.int64]) -> Pieces:
    """Give for each record one of several texts."""
    flat = np.frombuffer("".join(texts).encode(), dtype=np.uint8)
    lengths = np.array([len(text) for text in texts], dtype=np.int64)
    return Pieces.of(flat, lengths).take(choice)


def cigar_text(plan: Plan) -> Pieces:
    """Write the CIGARs as text."""
    letters = np.frombuffer(layout.OPERATIONS.encode(), dtype=np.uint8)[plan.codes.values]
    steps = join([decimal(plan.sizes.values), Pieces.rows(letters[:, None])])
    return Pieces.of(steps.values, layout.sum_items(steps.lengths, plan.codes.lengths))


def base_modifications(
    plan: Plan, content: Content, bits: NDArray[np.uint64]
) -> tuple[Pieces, Pieces]:
    """Make the tags MM and ML: about a quarter of the C bases, some of them 5mC.

    Both count along the read as it was sequenced (SAM optional fields, §1.7), so they do not
    change when a read is written in the other orientation.
    """
    texts, chances = [], []
    reverse = (plan.flag & layout.REVERSE) != 0
    for row in range(len(plan)):
        bases = content.bases.item(row)
        places = np.flatnonzero(bases == (2 if reverse[row] else 1))
        if reverse[row]:
            places = places[::-1]
        mixed = (np.arange(len(places)).astype(np.uint64) + bits[row]) * np.uint64(
            0x9E3779B97F4A7C15
        )
        chosen = np.flatnonzero(mixed >> np.uint64(62) == 0)
        skipped = np.diff(chosen, prepend=-1) - 1
        chance = _CHANCES[(mixed[chosen] >> np.uint64(40)).astype(np.uint8)]
        numbers = "".join(f",{number}" for number in skipped.tolist())
        texts.append(f"C+m?{numbers};".encode())
        chances.append(chance)
    flat = np.frombuffer(b"".join(texts), dtype=np.uint8)
    lengths = np.array([len(text) for text in texts], dtype=np.int64)
    counts = np.array([len(chance) for chance in chances], dtype=np.int64)
    values = np.concatenate(chances) if chances else np.empty(0, dtype=np.uint8)
    return Pieces.of(flat, lengths), Pieces.of(values, counts)


def barcode_like(bits: NDArray[np.uint64], length: int) -> Pieces:
    """Give random bases of a fixed length (such as a UMI)."""
    shifts = (np.arange(length) * 2).astype(np.uint64)
    return Pieces.rows(LETTERS[((bits[:, None] >> shifts) & np.uint64(3)).astype(np.int64)])
