"""Known annotations of repeats: what is read of each kind of file, and the comparison by bases."""

import gzip
import random
from pathlib import Path

import numpy as np
import pytest

from seqmill import find_repeats
from seqmill._repeat_known import compare, merge_spans, read_known
from seqmill.errors import FormatError, InputError

GFF = """##gff-version 3
chr1\tEDTA\tGypsy_LTR\t11\t20\t.\t+\t.\tID=a;Name=x;Classification=LTR/Gypsy;z=1
chr1\tx\tgene\t1\t90\t.\t+\t.\tID=g
chr2\tx\tTY1\t1\t5\t.\t-\t.\tID=t
##FASTA
>chr1
"""
OUT = """   SW   perc perc perc  query     position in query    matching  repeat
score   div. del. ins.  sequence  begin end   (left)   repeat    class/family

  463   1.3  0.6  1.7  chr1      11    20   (100) +  AluY  SINE/Alu 1 10 (0) 1
  300   9.9  0.0  0.0  chr2       1     5    (90) C  L1MA  LINE/L1 (0) 5 1 2 *
"""
FASTA = ">chr1 first\nACGTacgtnnAC\nacGT\n>chr2\nacgt\nacgt\n"


def spans(path: Path, *types: str) -> dict[str, dict[str, list[list[int]]]]:
    known = read_known(path, types).classes
    return {
        label: {chrom: own.tolist() for chrom, own in by_chrom.items()}
        for label, by_chrom in known.items()
    }


def test_kinds_of_files(tmp_path: Path) -> None:
    def written(name: str, text: str) -> Path:
        path = tmp_path / name
        packed = name.endswith(".gz")
        path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
        return path

    gff = written("a.gff3", GFF)
    assert spans(gff) == {
        "LTR/Gypsy": {"chr1": [[10, 20]]},
        "gene": {"chr1": [[0, 90]]},
        "TY1": {"chr2": [[0, 5]]},
    }
    assert set(spans(gff, "ty*", "*ltr")) == {"TY1", "LTR/Gypsy"}
    assert set(spans(gff, "LTR/*")) == {"LTR/Gypsy"}
    assert spans(written("a.fa.out.gz", OUT)) == {
        "SINE/Alu": {"chr1": [[10, 20]]},
        "LINE/L1": {"chr2": [[0, 5]]},
    }
    bed = written("b.bed", "track x\nchr1\t3\t9\tALU\n\nchr1\t1\t2\n")
    assert spans(bed) == {"ALU": {"chr1": [[3, 9]]}, "repeat": {"chr1": [[1, 2]]}}
    # Gaps are no repeats, and a stretch goes on from line to line.
    soft = written("g.fasta.gz", FASTA)
    assert spans(soft) == {
        "soft mask": {"chr1": [[4, 8], [12, 14]], "chr2": [[0, 8]]},
    }


@pytest.mark.parametrize(
    ("name", "text", "kind", "words"),
    [
        ("x.txt", "a", InputError, "unknown kind"),
        ("x", "a", InputError, "unknown kind"),
        ("x.bed", "chr1\t5\n", FormatError, "line 1: fewer than 3"),
        ("x.bed", "chr1\t0\t5\nchr1\t9\t5\n", FormatError, "line 2: '9' to '5'"),
        ("x.gff", "chr1\tx\ty\tone\t5\t.\t+\t.\t.\n", FormatError, "line 1: 'one'"),
        ("x.gff", "chr1\tx\ty\t0\t5\t.\t+\t.\t.\n", FormatError, "line 1: '0'"),
        ("x.out", "1 2 3\n", FormatError, "fewer than 11"),
        ("x.bed", "", InputError, "nothing in it"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, text: str, kind: type[Exception], words: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(kind, match=words):
        read_known(path)


def test_cut_gzip_and_patterns_without_a_match(tmp_path: Path) -> None:
    cut = tmp_path / "x.bed.gz"
    cut.write_bytes(gzip.compress(b"chr1\t1\t5\n" * 1000)[:-9])
    with pytest.raises(FormatError, match="not intact"):
        read_known(cut)
    path = tmp_path / "x.bed"
    path.write_text("chr1\t1\t5\tAlu\n")
    with pytest.raises(InputError, match=r"matches LTR\*"):
        read_known(path, ["LTR*"])
    with pytest.raises(FileNotFoundError):
        read_known(tmp_path / "none.bed")


def test_comparison_counts_bases(tmp_path: Path) -> None:
    draw = random.Random(5)  # noqa: S311 - the same spans in every run

    def drawn(count: int) -> list[tuple[int, int]]:
        firsts = [draw.randrange(900) for _ in range(count)]
        return [(first, first + draw.randrange(1, 60)) for first in firsts]

    rows = {name: {chrom: drawn(9) for chrom in ("a", "b")} for name in ("one", "two")}
    found = {chrom: drawn(7) for chrom in ("a", "b", "only here")}
    path = tmp_path / "k.bed"
    path.write_text(
        "".join(
            f"{chrom}\t{start}\t{end}\t{name}\n"
            for name, by_chrom in rows.items()
            for chrom, own in by_chrom.items()
            for start, end in own
        )
        + "elsewhere\t1\t5\tone\n"
    )

    def bases(spans: list[tuple[int, int]]) -> set[int]:
        return {at for start, end in spans for at in range(start, end)}

    merged = {chrom: merge_spans(np.array(own)) for chrom, own in found.items()}
    whole = sum(len(bases(own)) for own in found.values())
    told = compare(read_known(path), merged.get, whole)
    truth = {c: bases(rows["one"][c]) | bases(rows["two"][c]) for c in ("a", "b")}
    common = sum(len(own & bases(found[c])) for c, own in truth.items())
    assert (told.known_bases, told.common_bases) == (sum(map(len, truth.values())), common)
    assert told.precision == common / whole
    assert told.unknown_sequences == ("elsewhere",)
    for one in told.classes:
        own = {c: bases(rows[one.name][c]) for c in ("a", "b")}
        assert one.bases == sum(map(len, own.values()))
        assert one.found_bases == sum(len(own[c] & bases(found[c])) for c in own)
        assert one.elements == 18


def test_found_elements_are_their_own_best_annotation(example_data: Path, tmp_path: Path) -> None:
    genome = example_data / "genome.fa"
    formats = ("bed", "gff3", "softmask")
    find_repeats(genome, output=tmp_path / "a", formats=formats, reset_softmask=True)
    for known in ("a.bed", "a.gff3", "a.softmasked.fa"):
        done = find_repeats(genome, known=tmp_path / known)
        told = done.comparison
        assert told is not None
        assert (told.sensitivity, told.precision, told.f1) == (1.0, 1.0, 1.0)
        assert done.metrics.detail["known"]["common_bases"] == told.known_bases > 0
    (tmp_path / "other.bed").write_text("chrZ\t1\t5\n")
    with pytest.raises(InputError, match="'chrZ', are not in the genome"):
        find_repeats(genome, known=tmp_path / "other.bed")
