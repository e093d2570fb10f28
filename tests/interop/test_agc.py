"""The reference program reads, extracts and adds to what we write, and we to what it writes."""

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from seqmill import Archive, ArchiveWriter

AGC = shutil.which("agc")
pytestmark = pytest.mark.skipif(AGC is None, reason="the program agc is not on PATH")

Genomes = dict[str, list[tuple[str, str]]]


def agc(*arguments: object) -> bytes:
    command = [str(AGC), *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True).stdout


def simulate(folder: Path, count: int) -> tuple[Genomes, list[Path]]:
    """Genomes of a few contigs, with plasmids of their own and Ns, and their files."""
    rng = random.Random(17)  # noqa: S311 - test data
    ancestor = ["".join(rng.choices("ACGT", k=n)) for n in (30_000, 12_000, 900)]
    genomes: Genomes = {}
    paths = []
    for number in range(count):
        contigs = []
        for i, text in enumerate(ancestor):
            letters = [rng.choice("ACGTN") if rng.random() < 0.003 else c for c in text]
            contigs.append((f"chr{i} of {number}", "".join(letters)))
        contigs.append((f"own{number}", "".join(rng.choices("ACGT", k=rng.randrange(50, 5000)))))
        genomes[f"g{number}"] = contigs
        path = folder / f"g{number}.fa"
        path.write_text("".join(f">{name}\n{text}\n" for name, text in contigs))
        paths.append(path)
    return genomes, paths


def fasta(contigs: list[tuple[str, str]]) -> bytes:
    lines = []
    for name, text in contigs:
        lines.append(f">{name}\n")
        lines += [f"{text[i : i + 80]}\n" for i in range(0, len(text), 80)]
    return "".join(lines).encode()


def check(path: Path, genomes: Genomes) -> None:
    assert agc("listset", path).decode().split() == sorted(genomes)
    for name, contigs in genomes.items():
        assert agc("getset", path, name) == fasta(contigs)
    with Archive(path) as archive:
        assert list(archive) == list(genomes)
        for name, contigs in genomes.items():
            assert [(c.header, c.text().decode()) for c in archive[name].contigs] == contigs
        assert archive.verify().ok


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"segment_size": 1000, "pack_size": 3},
        {"segment_size": 500, "kmer_length": 17, "min_match": 15, "pack_size": 1},
        {"segment_size": 2000, "kmer_length": 32, "min_match": 32, "adaptive": True},
        {"level": "max"},
    ],
    ids=str,
)
def test_both_add_to_both(tmp_path: Path, options: dict[str, int]) -> None:
    genomes, paths = simulate(tmp_path, 8)
    names = list(genomes)
    path, other = tmp_path / "x.agc", tmp_path / "y.agc"
    with ArchiveWriter(path, **options) as writer:  # type: ignore[arg-type]
        for i in range(3):
            writer.add(names[i], paths[i])
    check(path, {name: genomes[name] for name in names[:3]})
    agc("append", "-o", other, path, *paths[3:5])
    check(other, {name: genomes[name] for name in names[:5]})
    with ArchiveWriter(other, append=True) as writer:
        for i in (5, 6):
            writer.add(names[i], paths[i])
    check(other, {name: genomes[name] for name in names[:7]})
    agc("append", "-a", "-o", path, other, paths[7])
    check(path, genomes)


def test_what_it_writes_is_read_and_added_to(tmp_path: Path) -> None:
    genomes, paths = simulate(tmp_path, 6)
    path = tmp_path / "x.agc"
    agc("create", "-s", 1000, "-b", 2, "-o", path, *paths[:4])
    with ArchiveWriter(path, append=True) as writer:
        for i in (4, 5):
            writer.add(f"g{i}", paths[i])
    check(path, genomes)


@pytest.mark.parametrize("pack_size", [1, 3, 4])
def test_records_as_samples_are_read_and_added_to(tmp_path: Path, pack_size: int) -> None:
    """Also where they fill the last batch, behind which it writes one more."""
    genomes, paths = simulate(tmp_path, 1)
    expected = {name.split()[0]: [(name, text)] for name, text in genomes["g0"]}
    path = tmp_path / "x.agc"
    agc("create", "-c", "-b", pack_size, "-o", path, *paths)
    check(path, expected)
    with ArchiveWriter(path, append=True) as writer:
        writer.add("more", genomes["g0"])
    check(path, expected | {"more": genomes["g0"]})
