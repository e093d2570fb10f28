"""Ways in which repeats could give wrong places or letters, or replace what was given."""

import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from seqmill import ArchiveWriter, find_repeats
from seqmill.errors import FormatError, InputError

SWAP = str.maketrans("ACGT", "TGCA")


def random_text(rng: random.Random, length: int) -> str:
    return "".join(rng.choices("ACGT", k=length))


def aged(rng: random.Random, text: str, rate: float) -> str:
    return "".join(rng.choice("ACGT") if rng.random() < rate else letter for letter in text)


def turned(text: str) -> str:
    return text[::-1].translate(SWAP)


@pytest.fixture
def genome() -> str:
    """Young copies, which hold seeds, and old ones on both strands, which rarely do."""
    rng = random.Random(11)  # noqa: S311 - the same genome in every run
    unit = random_text(rng, 400)
    parts = []
    for i in range(30):
        copy = aged(rng, unit, 0.02 if i < 6 else 0.24)
        parts += [random_text(rng, 600), turned(copy) if i % 2 else copy]
    return "".join(parts)


@pytest.mark.parametrize("seed_length", [9, 16])
def test_annotated_elements_are_aligned_where_they_lie(
    tmp_path: Path, genome: str, seed_length: int
) -> None:
    """Likeness leads to elements by k-mers of another length than that of the seeds."""
    path = tmp_path / "g.fa"
    path.write_text(f">c1\n{genome}\n")
    found = find_repeats(
        path,
        output=tmp_path / "o",
        formats=["stockholm"],
        seed_length=seed_length,
        annotate=True,
        threads=1,
    )
    elements = pa.table(found.elements).to_pylist()
    reverse = [e for e in elements if e["source"] == "annotated" and e["strand"] == "-"]
    assert reverse
    consensus = {row["family"]: row["consensus"] for row in pa.table(found.families).to_pylist()}
    for element in elements:
        lies = genome[element["start"] : element["end"]]
        lies = turned(lies) if element["strand"] == "-" else lies
        aligned = consensus[element["family"]]
        aligned = aligned[element["consensus_start"] : element["consensus_end"]]
        if len(lies) == len(aligned):
            # Nothing was inserted or deleted in this genome: mostly there are no gaps.
            equal = sum(a == b for a, b in zip(lies, aligned, strict=True)) / len(lies)
            assert element["identity"] >= equal - 0.02
    rows = 0
    for line in (tmp_path / "o.stk").read_text().splitlines():
        if line.startswith("c1/"):
            name, letters = line.split()
            first, last = map(int, name.removeprefix("c1/").split("-"))
            lies = genome[min(first, last) - 1 : max(first, last)]
            lies = turned(lies) if first > last else lies
            assert letters.replace(".", "").replace("-", "").upper() == lies, name
            rows += 1
    assert rows == len(elements)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (">c1 x\nACGT\n>c2\nACGT\n>c1 y\nACGT\n", 'several records are called "c1"'),
        (">c1\nACGT\n> x\nACGT\n", "record 2 has no name"),
    ],
)
def test_records_that_cannot_be_told_apart(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "g.fa"
    path.write_text(text)
    with pytest.raises(FormatError, match=words):
        find_repeats(path, threads=1)


def test_samples_of_an_archive_that_share_names(tmp_path: Path, genome: str) -> None:
    with ArchiveWriter(tmp_path / "x.agc", threads=1) as writer:
        writer.add("a", [("c1", genome)])
        writer.add("b", [("c1", genome)])
    with pytest.raises(FormatError, match="name one sample"):
        find_repeats(tmp_path / "x.agc", threads=1)
    assert len(find_repeats(f"{tmp_path}/x.agc:b", threads=1).families) > 0


def test_neither_genome_nor_annotation_is_replaced(tmp_path: Path, genome: str) -> None:
    path = tmp_path / "o.softmasked.fa"
    path.write_text(f">c1\n{genome}\n")
    known = tmp_path / "o.bed"
    known.write_text("c1\t0\t100\tx\n")
    other = f"{tmp_path}/../{tmp_path.name}/o"
    with pytest.raises(InputError, match="replace the input"):
        find_repeats(path, output=other, formats=["softmask"], force=True, threads=1)
    with pytest.raises(InputError, match="is an input and the output"):
        find_repeats(path, output=other, formats=["bed"], known=known, force=True, threads=1)
    assert path.read_text() == f">c1\n{genome}\n"
    assert known.read_text() == "c1\t0\t100\tx\n"


@pytest.mark.parametrize("output", ["", "-", "folder/", "."])
def test_outputs_have_names(tmp_path: Path, output: str) -> None:
    path = tmp_path / "g.fa"
    path.write_text(">c1\nACGT\n")
    with pytest.raises(InputError, match="no beginning of a name"):
        find_repeats(path, output=output, threads=1)


@pytest.mark.parametrize(
    "options",
    [{"annotate": True}, {"cluster": 0.9}, {"formats": ["gff3"]}, {"formats": ["softmask", "bed"]}],
)
def test_files_of_the_reference_are_all_there_is(tmp_path: Path, options: dict[str, Any]) -> None:
    """What it does not have was left out without a word."""
    path = tmp_path / "g.fa"
    path.write_text(">c1\nACGT\n")
    with pytest.raises(InputError, match="compat 'reprise'"):
        find_repeats(path, output=tmp_path / "o", compat="reprise", threads=1, **options)


@pytest.mark.parametrize("identity", [float("nan"), float("inf"), 0.4, 1.1])
def test_identities_of_clusters(tmp_path: Path, identity: float) -> None:
    path = tmp_path / "g.fa"
    path.write_text(">c1\nACGT\n")
    with pytest.raises(InputError):
        find_repeats(path, cluster=identity, threads=1)
