"""Archives from Python: what goes in comes out, whatever the resources; what is bad is refused."""

import contextlib
import gzip
import multiprocessing
import pickle
import random
import threading
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import seqmill
from seqmill import Archive, ArchiveWriter
from seqmill._archive_pack import sample_name
from seqmill.errors import (
    BudgetError,
    FormatError,
    InputError,
    NameNotFoundError,
    OutOfRangeError,
    OutputExistsError,
    SequenceFormatError,
)

LETTERS = "ACGT"
SIZES = {"segment_size": 500, "kmer_length": 21}


def random_text(rng: random.Random, length: int) -> str:
    return "".join(rng.choices(LETTERS, k=length))


def mutate(rng: random.Random, text: str, rate: float) -> str:
    letters = list(text)
    for at in range(len(letters)):
        if rng.random() < rate:
            letters[at] = rng.choice([*LETTERS, "", "N", "R", "AC", "NNNNNNN"])
    return "".join(letters)


Genome = list[tuple[str, str]]


def make_genomes(count: int, seed: int = 3) -> dict[str, Genome]:
    """Genomes that resemble one another, with contigs turned, cut, lost and repeated."""
    rng = random.Random(seed)  # noqa: S311 - test data
    first = [(f"chr{i} of the ancestor", random_text(rng, 9000 // i)) for i in (1, 2, 3, 9)]
    genomes = {"first": first}
    swap = str.maketrans("ACGT", "TGCA")
    for number in range(1, count):
        contigs = []
        for name, text in first:
            copy = mutate(rng, text, 0.004)
            if rng.random() < 0.3:
                copy = copy[::-1].translate(swap)
            cut = rng.randrange(len(copy))
            parts = [copy] if rng.random() < 0.6 else [copy[:cut], copy[cut:]]
            contigs += [(f"{name} {number} {i}", part) for i, part in enumerate(parts) if part]
        contigs.append(("own", random_text(rng, rng.randrange(1, 4000))))
        genomes[f"sample{number}"] = [
            (f"c{i}.{name}", text) for i, (name, text) in enumerate(contigs)
        ]
    return genomes


def write_archive(path: Path, genomes: dict[str, Genome], **options: object) -> bytes:
    with ArchiveWriter(path, force=True, **{**SIZES, **options}) as writer:  # type: ignore[arg-type]
        for name, contigs in genomes.items():
            writer.add(name, contigs)
    return path.read_bytes()


def check(path: Path, genomes: dict[str, Genome]) -> None:
    with Archive(path) as archive:
        assert list(archive) == list(genomes)
        for name, contigs in genomes.items():
            found = archive[name].contigs
            assert [(c.header, c.text().decode()) for c in found] == contigs
        assert archive.verify().ok


@pytest.fixture(scope="module")
def genomes() -> dict[str, Genome]:
    return make_genomes(7)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, genomes: dict[str, Genome]) -> Path:
    path = tmp_path_factory.mktemp("archive") / "x.agc"
    write_archive(path, genomes)
    return path


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("pack_size", [1, 3, 50])
@pytest.mark.parametrize("level", ["fast", "default", "max"])
def test_what_goes_in_comes_out(
    tmp_path: Path, genomes: dict[str, Genome], *, adaptive: bool, pack_size: int, level: str
) -> None:
    path = tmp_path / "x.agc"
    write_archive(path, genomes, adaptive=adaptive, pack_size=pack_size, level=level)
    check(path, genomes)
    with Archive(path) as opened:
        assert opened.parameters == (21, 500, 20, pack_size)
        assert opened.version == (3, 0)
        assert opened.verify().checksums == len(genomes)


@pytest.mark.parametrize("adaptive", [False, True])
def test_resources_do_not_show(
    tmp_path: Path, genomes: dict[str, Genome], *, adaptive: bool
) -> None:
    path = tmp_path / "x.agc"
    made = {
        write_archive(path, genomes, threads=threads, memory=memory, adaptive=adaptive)
        for threads in (1, 2, 3, 8)
        for memory in (None, "1G")
    }
    assert len(made) == 1


@pytest.mark.parametrize("pack_size", [1, 2, 3, 50])
def test_added_samples_come_out(tmp_path: Path, genomes: dict[str, Genome], pack_size: int) -> None:
    path = tmp_path / "x.agc"
    names = list(genomes)
    write_archive(path, {name: genomes[name] for name in names[:2]}, pack_size=pack_size)
    for chunk in (names[2:3], names[3:]):
        with ArchiveWriter(path, append=True, adaptive=True) as writer:
            for name in chunk:
                writer.add(name, genomes[name])
    check(path, genomes)
    with Archive(path) as opened:
        assert opened.verify().checksums == len(genomes)


@pytest.mark.parametrize("min_match", [15, 32])
def test_added_samples_are_coded_as_the_archive_says(
    tmp_path: Path, genomes: dict[str, Genome], min_match: int
) -> None:
    """Also those whose entries are made while their group is looked for."""
    path = tmp_path / "x.agc"
    first, *others = genomes
    write_archive(path, {first: genomes[first]}, min_match=min_match)
    with ArchiveWriter(path, append=True) as writer:
        for name in others:
            writer.add(name, genomes[name])
    check(path, genomes)
    with Archive(path) as opened:
        assert opened.parameters[2] == min_match


def test_adding_makes_no_larger_archive(tmp_path: Path, genomes: dict[str, Genome]) -> None:
    whole = len(write_archive(tmp_path / "whole.agc", genomes))
    path = tmp_path / "x.agc"
    names = list(genomes)
    write_archive(path, {name: genomes[name] for name in names[:4]})
    with ArchiveWriter(path, append=True) as writer:
        for name in names[4:]:
            writer.add(name, genomes[name])
    assert path.stat().st_size <= 1.02 * whole + 100


def test_mappings(archive: Path, genomes: dict[str, Genome]) -> None:
    with Archive(archive) as opened:
        assert len(opened) == len(genomes)
        assert "first" in opened
        assert "none" not in opened
        sample = opened["first"]
        assert (sample.name, list(sample)) == ("first", ["chr1", "chr2", "chr3", "chr9"])
        contig = sample["chr2"]
        assert (contig.name, contig.header) == ("chr2", "chr2 of the ancestor")
        text = genomes["first"][1][1].encode()
        assert (contig.length, len(contig)) == (len(text), len(text))
        assert contig.sequence(5, 900).tobytes() == text[5:900]
        assert contig.sequence(7, 7).dtype == np.uint8
        assert opened.reference == "first"
        with pytest.raises(NameNotFoundError, match="closest: first"):
            opened["furst"]
        with pytest.raises(NameNotFoundError, match="chr1"):
            sample["chr7"]
        for place in ((-1, 5), (5, 4), (0, contig.length + 1)):
            with pytest.raises(OutOfRangeError):
                contig.sequence(*place)
    with pytest.raises(InputError, match="closed"):
        len(opened)


def test_every_range(archive: Path, genomes: dict[str, Genome]) -> None:
    rng = random.Random(5)  # noqa: S311 - test data
    with Archive(archive) as opened:
        for _ in range(500):
            name = rng.choice(list(genomes))
            number = rng.randrange(len(genomes[name]))
            text = genomes[name][number][1].encode()
            start = rng.randrange(len(text) + 1)
            end = rng.randrange(start, len(text) + 1)
            assert opened[name].contigs[number].text(start, end) == text[start:end]


def test_windows_are_those_of_a_store(archive: Path, genomes: dict[str, Genome]) -> None:
    text = genomes["first"][0][1].encode()
    with Archive(archive) as opened:
        assert opened.fetch("first", "chr1", 10, 50) == text[10:50]
        rows = [("first", "chr1", 0, 9), ("first", "chr1", 100, 109)]
        assert opened.fetch_many(rows).tobytes() == text[:9] + text[100:109]
        tokens = opened.fetch("first", "chr1", 0, 4, encode="tokens", strand="-")
        assert tokens.tolist() == ["TGCA".index(chr(b)) for b in reversed(text[:4])]
    store = seqmill.FastaStore.open(archive)
    assert store.fetch("x/first", "chr1", 10, 50) == text[10:50]


def test_tables(archive: Path, genomes: dict[str, Genome]) -> None:
    with Archive(archive) as opened:
        samples = pa.table(opened.samples).to_pydict()
        contigs = pa.table(opened.contigs).to_pydict()
    assert samples["sample"] == list(genomes)
    assert samples["contigs"] == [len(contigs) for contigs in genomes.values()]
    assert samples["bases"] == [sum(len(t) for _, t in c) for c in genomes.values()]
    assert contigs["header"] == [name for c in genomes.values() for name, _ in c]
    assert contigs["length"] == [len(text) for c in genomes.values() for _, text in c]


def read_first(path: Archive) -> bytes:
    return path["first"]["chr1"].text()


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_handles_travel(archive: Path, genomes: dict[str, Genome], method: str) -> None:
    expected = genomes["first"][0][1].encode()
    with Archive(archive) as opened:
        assert read_first(pickle.loads(pickle.dumps(opened))) == expected  # noqa: S301 - ours
        with multiprocessing.get_context(method).Pool(2) as pool:
            assert pool.map(read_first, [opened] * 4) == [expected] * 4


def test_threads_share_a_handle(archive: Path, genomes: dict[str, Genome]) -> None:
    faults: list[object] = []
    with Archive(archive, cache="20K") as opened:

        def read() -> None:
            for name, contigs in genomes.items():
                for contig, (_, text) in zip(opened[name].contigs, contigs, strict=True):
                    if contig.text().decode() != text:
                        faults.append((name, contig.name))

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert faults == []


def test_subset_and_rename(tmp_path: Path, archive: Path, genomes: dict[str, Genome]) -> None:
    with Archive(archive) as opened:
        opened.subset(["sample3", "first"], tmp_path / "some.agc")
        opened.rename({"first": "ancestor"}, tmp_path / "other.agc")
        with pytest.raises(InputError, match="two samples"):
            opened.rename({"first": "sample1"}, tmp_path / "no.agc")
        with pytest.raises(NameNotFoundError):
            opened.subset(["nobody"], tmp_path / "no.agc")
    check(tmp_path / "some.agc", {name: genomes[name] for name in ("sample3", "first")})
    renamed = {("ancestor" if k == "first" else k): v for k, v in genomes.items()}
    check(tmp_path / "other.agc", renamed)
    assert not (tmp_path / "no.agc").exists()


def test_old_archives_are_rewritten(shared_data: Path, tmp_path: Path) -> None:
    for version in (1, 2):
        path = shared_data / "agc" / f"mers_file_version_{version}.agc"
        with Archive(path) as old:
            with pytest.raises(InputError, match="unpack --subset"):
                seqmill.ArchiveWriter(path, append=True).close()
            names = list(old)
            old.subset(names, tmp_path / "new.agc", force=True)
            with Archive(tmp_path / "new.agc") as new:
                assert list(new) == names
                for name in names:
                    texts = [(c.header, c.text()) for c in old[name].contigs]
                    assert [(c.header, c.text()) for c in new[name].contigs] == texts


def test_unpack(tmp_path: Path, archive: Path, genomes: dict[str, Genome]) -> None:
    def fasta(records: Genome, width: int) -> str:
        return "".join(
            f">{name}\n" + "".join(f"{text[i : i + width]}\n" for i in range(0, len(text), width))
            for name, text in records
        )

    with Archive(archive) as opened:
        for threads in (1, 2, 5):
            for width in (1, 80, 9000, 100_000):
                out = tmp_path / "all.fa"
                done = opened.unpack(out, threads=threads, line_width=width, force=True)
                whole = [record for records in genomes.values() for record in records]
                assert out.read_text() == fasta(whole, width)
                assert done.records == len(whole)
        opened.unpack(tmp_path / "all.fa.gz", threads=3)
        assert gzip.decompress((tmp_path / "all.fa.gz").read_bytes()).decode() == fasta(whole, 80)
        with pytest.raises(OutputExistsError):
            opened.unpack(out)
        folder = tmp_path / "folder"
        folder.mkdir()
        opened.unpack(folder, samples=["sample2", "first"])
        assert (folder / "first.fa").read_text() == fasta(genomes["first"], 80)
        assert sorted(p.name for p in folder.iterdir()) == ["first.fa", "sample2.fa"]
        text = genomes["first"][0][1]
        opened.unpack(out, regions=["chr1:11-20", "chr9@first"], force=True)
        expected = [("chr1:11-20", text[10:20]), ("chr9@first", genomes["first"][3][1])]
        assert out.read_text() == fasta(expected, 80)
        bed = tmp_path / "x.bed"
        bed.write_text("chr1@first\t10\t20\nchr2\t0\t5\n")
        opened.unpack(out, regions_file=bed, force=True)
        assert out.read_text().startswith(f">chr1@first:11-20\n{text[10:20]}\n>chr2:1-5\n")
        with pytest.raises(NameNotFoundError, match="nobody"):
            opened.unpack(out, contigs="nobody")
        opened.rename({}, tmp_path / "copy.agc")
        with pytest.raises(OutOfRangeError):
            opened.unpack(out, regions="chr1:1-99999", force=True)


def write_fasta(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def pack_text(folder: Path, text: str, **options: object) -> seqmill.archive.PackResult:
    source = write_fasta(folder / "in.fa", text)
    with ArchiveWriter(folder / "x.agc", force=True, **options) as writer:  # type: ignore[arg-type]
        writer.add("s", source)
    return writer.result


def test_empty_records_lose_nothing(tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        done = pack_text(tmp_path, ">a\n>b\nACGT\n>c\n\n>d\nGG\n>e\n")
    assert [
        f'"{name}" has no sequence' in str(w.message) for name, w in zip("ace", told, strict=True)
    ]
    assert done.contigs == 2
    assert done.metrics.detail["empty_records"] == 3
    check(tmp_path / "x.agc", {"s": [("b", "ACGT"), ("d", "GG")]})
    with pytest.raises(SequenceFormatError) as caught:
        pack_text(tmp_path, ">b\nACGT\n>a\n>c\nA\n", empty="refuse")
    assert caught.value.record == 1


def test_letters(tmp_path: Path) -> None:
    text = ">a x\nacgtnryswkmbdhvuACGT\n>b\nAC-G*TE\n"
    with pytest.raises(SequenceFormatError, match="'-' at base 3") as caught:
        pack_text(tmp_path, text)
    assert (caught.value.record, caught.value.path) == (1, str(tmp_path / "in.fa"))
    assert not (tmp_path / "x.agc").exists()
    whole = ("a x", "ACGTNRYSWKMBDHVUACGT")
    for letters, expected in (("n", "ACNGNTN"), ("drop", "ACGT")):
        with pytest.warns(UserWarning, match="3 symbols in 1 samples"):
            done = pack_text(tmp_path, text, letters=letters)
        check(tmp_path / "x.agc", {"s": [whole, ("b", expected)]})
        assert done.metrics.detail["letters_changed_in"] == [["s", 3]]


def test_equal_names(tmp_path: Path) -> None:
    text = ">a 1\nACGT\n>a 2\nGGGG\n>a.2\nC\n"
    with pytest.raises(SequenceFormatError, match="two contigs"):
        pack_text(tmp_path, text)
    pack_text(tmp_path, text, duplicates="rename")
    check(tmp_path / "x.agc", {"s": [("a 1", "ACGT"), ("a.2 2", "GGGG"), ("a.2.2", "C")]})
    with (
        pytest.raises(InputError, match="already"),
        ArchiveWriter(tmp_path / "x.agc", append=True) as writer,
    ):
        writer.add("s", [("a", "ACGT")])


@pytest.mark.parametrize(
    "text", [">\nACGT\n", "> x\nACGT\n", ">a\x00b\nAC\n", ">caf\u00e9\nAC\n", "ACGT\n", ""]
)
def test_bad_input_leaves_nothing(tmp_path: Path, text: str) -> None:
    with pytest.raises(FormatError):
        pack_text(tmp_path, text)
    assert [p.name for p in tmp_path.iterdir()] == ["in.fa"]


def test_bad_options_are_refused(tmp_path: Path) -> None:
    for options in (
        {"kmer_length": 16},
        {"segment_size": 99},
        {"min_match": 33},
        {"pack_size": 0},
        {"level": "best"},
        {"letters": "keep"},
        {"colour": "red"},
    ):
        with pytest.raises(InputError):
            ArchiveWriter(tmp_path / "x.agc", **options)  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        ArchiveWriter(tmp_path / "x.agc", append=True)
    with pytest.raises(BudgetError):
        write_archive(tmp_path / "x.agc", {"s": [("a", "ACGT")]}, memory="1M")


def test_a_block_that_fails_leaves_the_archive_as_it_was(archive: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.agc"
    path.write_bytes(archive.read_bytes())

    def fail() -> None:
        with ArchiveWriter(path, append=True) as writer:
            writer.add("more", [("a", "ACGT")])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_bytes() == archive.read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == ["x.agc"]


def test_a_damaged_sequence_is_seen(tmp_path: Path, archive: Path) -> None:
    data = archive.read_bytes()
    rng = random.Random(9)  # noqa: S311 - test data
    missed = 0
    for _ in range(60):
        damaged = bytearray(data)
        damaged[rng.randrange(len(data) // 2)] ^= 1 << rng.randrange(8)
        path = tmp_path / "d.agc"
        path.write_bytes(damaged)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with contextlib.suppress(FormatError), Archive(path) as opened:
                missed += opened.verify().ok
    # Some bytes hold nothing that is read, such as numbers that the format ignores.
    assert missed <= 3


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a/x.fa.gz", "x"),
        ("x.fna", "x"),
        ("x.1.fasta.gz", "x.1"),
        ("x", "x"),
        ("x.fa.fa.gz", "x"),
        ("x.tar", "x"),
    ],
)
def test_names_of_samples(path: str, name: str) -> None:
    assert sample_name(path) == name


def test_long_contigs_are_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    letters = b"ACGTTGCAAC" * 100
    with ArchiveWriter(tmp_path / "x.agc") as writer:
        writer.add("a", [("c", letters)])
    monkeypatch.setattr("seqmill._archive_samples._PIECE_BASES", 64)
    with Archive(tmp_path / "x.agc") as archive:
        contig = archive["a"]["c"]
        for start, end in ((0, None), (3, 3), (10, 74), (10, 75), (999, 1000)):
            assert contig.text(start, end) == letters[start:end]
            assert contig.sequence(start, end).tobytes() == letters[start:end]
