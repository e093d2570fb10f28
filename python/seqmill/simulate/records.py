"""Batches of complete alignment records, ready to be written in any format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from seqmill.simulate import layout
from seqmill.simulate.content import Content, QualityModel, make_content
from seqmill.simulate.pieces import Pieces, decimal, join
from seqmill.simulate.tags import (
    Tag,
    barcode_like,
    base_modifications,
    cigar_text,
    text_choice,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from seqmill.simulate.content import Reference
    from seqmill.simulate.draws import Draws
    from seqmill.simulate.layout import Plan

_HEX = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)
_UUID_DIGITS = 32
_SCRAMBLE = 0x9E3779B1
_BARCODED_OF_16 = 14


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadStyle:
    """What the records of a simulation look like.

    Attributes
    ----------
    quality
        Qualities and errors.
    snp_rate
        How the sequenced individual differs from the genome, per base.
    read_groups, barcodes
        Names of read groups and cell barcodes.
    all_tag_types
        Add tags of every type of the format.
    platform
        Platform of the read groups.
    modifications
        Add the tags MM and ML.
    """

    quality: QualityModel
    snp_rate: float
    read_groups: tuple[str, ...]
    barcodes: tuple[str, ...] = ()
    all_tag_types: bool = False
    platform: str
    modifications: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Some records, complete.

    Attributes
    ----------
    plan
        Their rows of the plan.
    names
        Read names.
    bases, qualities
        Empty where the record has none.
    tags
        Optional fields, in the order in which they are written.
    """

    plan: Plan
    names: Pieces
    bases: Pieces
    qualities: Pieces
    tags: list[Tag]


class BatchMaker:
    """Make batches of the records of one simulation."""

    def __init__(
        self,
        plan: Plan,
        reference: Reference,
        contig_names: tuple[str, ...],
        style: ReadStyle,
        draws: Draws,
    ) -> None:
        self._plan = plan
        self._reference = reference
        self._contigs = contig_names
        self._style = style
        self._base_draws = draws.child("bases")
        self._tag_draws = draws.child("tags")
        self._name_draws = draws.child("names")

    def names(self, number: NDArray[np.int64]) -> Pieces:
        """Write the names of reads: a place on a flow cell, or a UUID for single reads."""
        if self._style.modifications:
            return _uuids(self._name_draws, number)
        return _flow_cell_names(number)

    def content(self, plan: Plan) -> Content:
        """Make the bases, qualities and differences of these records."""
        return make_content(plan, self._reference, self._style.quality, self._base_draws)

    def make(self, rows: NDArray[np.int64]) -> Batch:
        """Make the records of these rows."""
        plan = self._plan.take(rows)
        content = self.content(plan)
        with_bases = (plan.flag & layout.SECONDARY) == 0
        return Batch(
            plan,
            self.names(plan.name),
            content.bases.only(with_bases),
            content.qualities.only(with_bases),
            self._tags(plan, content),
        )

    def modifications(self, plan: Plan, content: Content) -> list[Tag]:
        """Make the tags MM and ML, when the style has them."""
        if not self._style.modifications:
            return []
        bits = self._tag_draws.at((plan.key * 8 + 1).astype(np.uint64))
        texts, chances = base_modifications(plan, content, bits)
        whole = (plan.flag & (layout.SECONDARY | layout.SUPPLEMENTARY)) == 0
        return [Tag("MM", "Z", texts, whole), Tag("ML", "BC", chances, whole)]

    def _tags(self, plan: Plan, content: Content) -> list[Tag]:
        bits = self._tag_draws.at((plan.key * 8).astype(np.uint64))
        everywhere = np.ones(len(plan), dtype=np.bool_)
        mapped = (plan.flag & layout.UNMAPPED) == 0
        secondary = (plan.flag & layout.SECONDARY) != 0
        few = 3 + ((bits >> np.uint64(48)) & np.uint64(7)).astype(np.int64)
        edits = np.where(secondary, few, content.edits)
        score = np.maximum(content.aligned - 5 * edits, 0)
        share = ((bits >> np.uint64(32)) & np.uint64(0xFFFF)).astype(np.int64)
        share = np.where(plan.mapq < 60, 52_000 + share // 5, share // 6)  # noqa: PLR2004
        tags = [
            Tag("NM", "i", edits, mapped),
            Tag("MD", "Z", content.difference, mapped & ~secondary),
        ]
        paired = (plan.flag & layout.PAIRED) != 0
        if paired.any():
            mates = self._plan.take(plan.key ^ 1)
            known = paired & ((plan.flag & layout.MATE_UNMAPPED) == 0)
            tags += [Tag("MC", "Z", cigar_text(mates), known), Tag("MQ", "i", mates.mapq, known)]
        tags += [
            Tag("AS", "i", score, mapped),
            Tag("XS", "i", score * share >> 16, mapped & ~secondary),
        ]
        groups = self._style.read_groups
        if groups:
            tags.append(Tag("RG", "Z", text_choice(groups, plan.group), everywhere))
        tags += self._barcodes(plan)
        if (plan.partner >= 0).any():
            tags.append(self._split_tag(plan))
        tags += self.modifications(plan, content)
        if self._style.all_tag_types:
            tags += _varied_tags(plan, bits, edits, mapped, everywhere)
        return tags

    def _barcodes(self, plan: Plan) -> list[Tag]:
        if not self._style.barcodes:
            return []
        bits = self._tag_draws.at((plan.name * 8 + 2).astype(np.uint64))
        choice = (bits >> np.uint64(8)) % np.uint64(len(self._style.barcodes))
        texts = text_choice(self._style.barcodes, choice.astype(np.int64))
        present = (bits & np.uint64(15)) < _BARCODED_OF_16
        molecule = barcode_like(bits >> np.uint64(32), 10)
        return [Tag("CB", "Z", texts, present), Tag("UB", "Z", molecule, present)]

    def _split_tag(self, plan: Plan) -> Tag:
        """Describe the other part of split reads (tag SA)."""
        texts = [b""] * len(plan)
        rows = np.flatnonzero(plan.partner >= 0)
        others = self._plan.take(plan.partner[rows])
        edits = self.content(others).edits
        cigars = cigar_text(others)
        for number, row in enumerate(rows.tolist()):
            strand = "-" if others.flag[number] & layout.REVERSE else "+"
            cigar = cigars.item(number).tobytes().decode().replace("H", "S")
            texts[row] = (
                f"{self._contigs[others.contig[number]]},{others.position[number] + 1},{strand},"
                f"{cigar},{others.mapq[number]},{edits[number]};"
            ).encode()
        flat = np.frombuffer(b"".join(texts), dtype=np.uint8)
        lengths = np.array([len(text) for text in texts], dtype=np.int64)
        return Tag("SA", "Z", Pieces.of(flat, lengths), plan.partner >= 0)


def _varied_tags(
    plan: Plan,
    bits: NDArray[np.uint64],
    edits: NDArray[np.int64],
    mapped: NDArray[np.bool_],
    everywhere: NDArray[np.bool_],
) -> list[Tag]:
    """Make tags of the types that the others leave out; halves and quarters print exactly."""
    count = len(plan)
    byte = (bits & np.uint64(0xFF)).astype(np.int64)
    letters = np.where((plan.flag & layout.SECONDARY) != 0, ord("S"), ord("P")).astype(np.uint8)
    triple = np.stack([byte - 128, byte * 200 - 20_000, -byte], axis=1)
    pair = np.stack([byte * 70_000, byte], axis=1)
    some = byte % 3 == 0
    return [
        Tag("tp", "A", Pieces.rows(letters[:, None]), mapped),
        Tag("de", "f", (edits / 64).astype(np.float32), mapped),
        Tag("XD", "i", 40 - byte * 300, everywhere),
        Tag("XH", "H", Pieces.repeated(b"1AE3", count), some),
        Tag("XB", "Bs", Pieces.rows(triple), everywhere),
        Tag("XF", "Bf", Pieces.rows(triple / 4), some),
        Tag("XI", "BI", Pieces.rows(pair), ~some),
    ]


def _flow_cell_names(number: NDArray[np.int64]) -> Pieces:
    # A product with an odd number is a one-to-one map of 32-bit numbers: names stay unique.
    scrambled = number * _SCRAMBLE & 0xFFFFFFFF
    count = len(number)
    colon = Pieces.repeated(b":", count)
    return join(
        [
            Pieces.repeated(b"SIM01:7:FC3AB:", count),
            decimal(1 + (scrambled >> 30)),
            colon,
            decimal(1101 + (scrambled >> 22 & 0xFF)),
            colon,
            decimal(1000 + (scrambled >> 11 & 0x7FF) * 15),
            colon,
            decimal(1000 + (scrambled & 0x7FF) * 17),
        ]
    )


def _uuids(draws: Draws, number: NDArray[np.int64]) -> Pieces:
    bits = np.stack([draws.at((number * 2 + half).astype(np.uint64)) for half in (0, 1)], axis=1)
    shifts = (np.arange(_UUID_DIGITS // 2) * 4).astype(np.uint64)
    digits = _HEX[((bits[:, :, None] >> shifts) & np.uint64(15)).astype(np.int64)]
    digits = digits.reshape(len(number), _UUID_DIGITS)
    return Pieces.rows(np.insert(digits, (8, 12, 16, 20), ord("-"), axis=1))
