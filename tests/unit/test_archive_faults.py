"""Ways in which archives could give or take wrong sequence without an error."""

import contextlib
import multiprocessing
import os
import pickle
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from seqmill import Archive, ArchiveWriter, count_kmers
from seqmill._archive_pack import pack
from seqmill.errors import (
    FormatError,
    InputError,
    OutputExistsError,
    SeqmillError,
    SequenceFormatError,
)

BASES = {"a": "ACGT" * 30, "b": "CCGA" * 30, "c": "GGAT" * 40}


def write(path: Path, names: str) -> Path:
    """One contig each, by the letter of the sample."""
    with ArchiveWriter(path, force=True, threads=1) as writer:
        for name in names:
            writer.add(name, [("c1", BASES[name])])
    return path


def read(path: Path) -> dict[str, str]:
    with Archive(path) as archive:
        return {name: sample["c1"].text().decode() for name, sample in archive.items()}


def test_jobs_read_the_archive_that_was_opened(tmp_path: Path) -> None:
    """Another one of the same name has its samples under other numbers."""
    path = write(tmp_path / "x.agc", "abc")
    with Archive(path) as archive:
        write(tmp_path / "y.agc", "cba").replace(path)
        archive.unpack(tmp_path / "a.fa", samples="a", line_width=1000)
        archive.unpack(tmp_path / "r.fa", regions="c1@b:1-4")
        archive.subset(["c", "a"], tmp_path / "s.agc")
        archive.rename({"a": "z"}, tmp_path / "r.agc")
        assert archive.verify().ok
    assert (tmp_path / "a.fa").read_text() == f">c1\n{BASES['a']}\n"
    assert (tmp_path / "r.fa").read_text() == f">c1@b:1-4\n{BASES['b'][:4]}\n"
    assert read(tmp_path / "s.agc") == {name: BASES[name] for name in "ca"}
    assert read(tmp_path / "r.agc") == {"z": BASES["a"], "b": BASES["b"], "c": BASES["c"]}


def test_a_handle_survives_a_change_of_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "x.agc", "ab")
    other = tmp_path / "other"
    other.mkdir()
    write(other / "x.agc", "ba")
    monkeypatch.chdir(tmp_path)
    with Archive("x.agc") as archive:
        monkeypatch.chdir(other)
        again = pickle.loads(pickle.dumps(archive))  # noqa: S301 - our own
        assert list(again) == ["a", "b"]
        assert archive.fetch("a", "c1", 0, 4) == b"ACGT"
        again.close()


@pytest.mark.parametrize("names", [("x", "a/x"), ("a/x", "x", "b/x"), ("x",), ("a/x", "b/a/x")])
def test_windows_of_samples_whose_names_end_alike(tmp_path: Path, names: tuple[str, ...]) -> None:
    letters = dict(zip(names, "abc", strict=False))
    with ArchiveWriter(tmp_path / "x.agc", threads=1) as writer:
        for name, letter in letters.items():
            writer.add(name, [("c1", BASES[letter])])
    with Archive(tmp_path / "x.agc") as archive:
        for name, letter in letters.items():
            assert archive.fetch(name, "c1") == BASES[letter].encode()


@pytest.mark.parametrize("what", ["samples", "contigs", "regions"])
def test_nothing_is_not_everything(tmp_path: Path, what: str) -> None:
    with Archive(write(tmp_path / "x.agc", "ab")) as archive:
        empty: dict[str, Any] = {what: []}
        with pytest.raises(InputError, match=f"{what} is empty"):
            archive.unpack(tmp_path / "x.fa", **empty)
    assert not (tmp_path / "x.fa").exists()


def test_inputs_are_never_replaced(tmp_path: Path) -> None:
    genome = tmp_path / "genome.fa"
    genome.write_text(">c1\nACGT\n")
    with pytest.raises(InputError, match="is an input and the output"):
        pack(genome, [("genome", [genome])], force=True)
    assert genome.read_text() == ">c1\nACGT\n"
    path = write(tmp_path / "x.agc", "ab")
    packed = path.read_bytes()
    with Archive(path) as archive, pytest.raises(InputError, match="is an input and the output"):
        archive.unpack(os.path.relpath(path), force=True)
    assert path.read_bytes() == packed


def test_a_folder_is_written_as_a_whole_or_not(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "b.fa").write_text("mine")
    path = write(tmp_path / "x.agc", "ab")
    with Archive(path) as archive, pytest.raises(OutputExistsError, match=r"b\.fa"):
        archive.unpack(tmp_path / "out")
    assert [found.name for found in (tmp_path / "out").iterdir()] == ["b.fa"]


@pytest.mark.parametrize(
    "record",
    [
        ("c1", "ACGT\n>evil\nGG"),
        ("c1", b">evil\nGG"),
        ("c1\nGG", "ACGT"),
        ("c1", 5),
        ("c1", "AC", "GT"),
        "cA",
        b"cA",
    ],
)
def test_a_record_is_one_record(tmp_path: Path, record: Any) -> None:
    with pytest.raises(InputError), ArchiveWriter(tmp_path / "x.agc") as writer:
        writer.add("a", iter([record]))
    assert not any(tmp_path.iterdir())


def test_records_of_a_mapping(tmp_path: Path) -> None:
    """Not the two letters of its keys."""
    with ArchiveWriter(tmp_path / "x.agc", threads=1) as writer:
        writer.add("a", {"cA": "ACGT", "cC": b"GG"})
    with Archive(tmp_path / "x.agc") as archive:
        assert {n: c.text() for n, c in archive["a"].items()} == {"cA": b"ACGT", "cC": b"GG"}


def test_a_sample_of_nothing_is_told(tmp_path: Path) -> None:
    writer = ArchiveWriter(tmp_path / "x.agc", threads=1)
    writer.add("a", [("c1", "ACGT")])
    writer.add("b", [])
    with pytest.warns(UserWarning, match='sample "b" has no sequence'):
        writer.close()
    assert [found.name for found in tmp_path.iterdir()] == ["x.agc"]


def test_qualities_are_not_lost_silently(tmp_path: Path) -> None:
    reads = tmp_path / "reads.fastq"
    reads.write_text("@r1\nACGT\n+\nIIII\n")
    with pytest.raises(SequenceFormatError, match="FASTQ"):
        pack(tmp_path / "x.agc", [("reads", [reads])])


def append_until_told(path: Path, name: str, start: Any, results: Any) -> None:
    start.wait()
    try:
        with ArchiveWriter(path, append=True, threads=1, memory="1G") as writer:
            writer.add(name, [("c1", BASES["a"])])
    except BlockingIOError:
        results.put((name, False))
    else:
        results.put((name, True))


def test_two_processes_do_not_write_one_archive(tmp_path: Path) -> None:
    """Whoever is told of success finds the sample in the archive."""
    path = write(tmp_path / "x.agc", "a")
    context = multiprocessing.get_context("fork")
    start, results = context.Event(), context.Queue()
    names = [f"new{i}" for i in range(6)]
    workers = [
        context.Process(target=append_until_told, args=(path, name, start, results))
        for name in names
    ]
    for worker in workers:
        worker.start()
    start.set()
    told = dict(results.get(timeout=60) for _ in names)
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    with Archive(path) as archive:
        assert set(archive) == {"a"} | {name for name, done in told.items() if done}
        assert archive.verify().ok
    assert any(told.values())


def test_an_archive_keeps_its_sizes(tmp_path: Path) -> None:
    path = write(tmp_path / "x.agc", "a")
    for sizes in ({"kmer_length": 21}, {"segment_size": 500}, {"pack_size": 7}, {"min_match": 15}):
        options: Any = sizes
        with pytest.raises(InputError, match="stays so"):
            pack(path, [], append=True, **options)
    with ArchiveWriter(path, append=True, kmer_length=31, segment_size=60_000) as writer:
        writer.add("b", [("c1", BASES["b"])])
    assert list(read(path)) == ["a", "b"]


def test_changed_letters_are_counted_in_their_samples(tmp_path: Path) -> None:
    writer = ArchiveWriter(tmp_path / "x.agc", letters="n", threads=1)
    writer.add("a", [("c1", "AC-T"), ("c2", "ACGT")])
    writer.add("b", [("c1", "ACGT")])
    writer.add("c", [("c1", "ACGT"), ("c2", "E*T-")])
    with pytest.warns(UserWarning, match="4 symbols in 2 samples"):
        writer.close()
    detail = writer.result.metrics.detail
    assert detail["letters_changed_in"] == [["a", 1], ["c", 3]]


def read_number(data: bytes, at: int) -> tuple[int, int]:
    """A number of a container, and where it ends."""
    end = at + 1 + data[at]
    return int.from_bytes(data[at + 1 : end]), end


def write_number(value: int) -> bytes:
    digits = value.to_bytes((value.bit_length() + 7) // 8)
    return bytes([len(digits)]) + digits


def add_batch(path: Path, frame: bytes, length: int) -> None:
    """Add one more part to the names and the descriptions of contigs."""
    data = path.read_bytes()
    begin = len(data) - 8 - int.from_bytes(data[-8:], "little")
    part = write_number(length) + frame
    streams, at = read_number(data, begin)
    footer = write_number(streams)
    for _ in range(streams):
        end = data.index(0, at) + 1
        name = data[at:end]
        count, at = read_number(data, end)
        size, at = read_number(data, at)
        parts = b""
        for _ in range(2 * count):
            value, at = read_number(data, at)
            parts += write_number(value)
        if name in {b"collection-contigs\0", b"collection-details\0"}:
            count += 1
            parts += write_number(begin) + write_number(len(frame))
        footer += name + write_number(count) + write_number(size) + parts
    path.write_bytes(data[:begin] + part + footer + len(footer).to_bytes(8, "little"))


def test_a_batch_of_nobody(tmp_path: Path) -> None:
    """The reference program writes one where records are samples and fill the last batch."""
    path = write(tmp_path / "x.agc", "ab")
    add_batch(path, bytes.fromhex("28b52ffd2003190000020000"), 3)
    with ArchiveWriter(path, append=True, threads=1) as writer:
        writer.add("c", [("c1", BASES["c"])])
    assert read(path) == BASES
    path = write(tmp_path / "y.agc", "ab")
    # One sample with one contig called x, which no sample would own.
    add_batch(path, bytes.fromhex("28b52ffd2004210000" + "01017800"), 4)
    with pytest.raises(FormatError, match="contigs of more than the 2 samples"):
        Archive(path)


@pytest.mark.parametrize("name", ["a\nb", "a\rb", "", "\u00e4"])
def test_names_of_samples_have_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError), ArchiveWriter(tmp_path / "x.agc") as writer:
        writer.add(name, [("c1", "ACGT")])
    with Archive(write(tmp_path / "y.agc", "a")) as archive, pytest.raises(InputError):
        archive.rename({"a": name}, tmp_path / "z.agc")


def damaged(path: Path, count: int) -> Iterator[Path]:
    """Copies of a file with one bit turned, spread over it."""
    data = path.read_bytes()
    other = path.with_name("damaged.agc")
    for number, at in enumerate(range(0, len(data), max(1, len(data) // count))):
        changed = bytearray(data)
        changed[at] ^= 1 << number % 8
        other.write_bytes(changed)
        yield other


@pytest.mark.parametrize(("samples", "bases"), [(4, 3000), (200, 40)])
def test_damage_is_an_error_and_never_other_sequence(
    tmp_path: Path, samples: int, bases: int
) -> None:
    """The parts of an archive have no checksums; those of the samples are compared on the way."""
    rng = random.Random(5)  # noqa: S311 - test data
    whole = "".join(rng.choices("ACGT", k=bases))
    with ArchiveWriter(tmp_path / "x.agc", threads=1) as writer:
        for number in range(samples):
            contigs = [(f"c{i}", f"{whole[:i]}G{whole[i + number % 7 :]}") for i in (3, bases // 2)]
            writer.add(f"s{number}", contigs)

    def text(path: Path, **options: Any) -> bytes:
        with Archive(path) as archive:
            archive.unpack(tmp_path / "out.fa", force=True, threads=1, **options)
        return (tmp_path / "out.fa").read_bytes()

    def counts(path: Path) -> bytes:
        kmers, numbers = count_kmers(path, k=11, threads=1).to_numpy()
        return kmers.tobytes() + numbers.tobytes()

    def copied(path: Path) -> bytes:
        with Archive(path) as archive:
            archive.subset(list(archive), tmp_path / "copy.agc", threads=1, force=True)
        return text(tmp_path / "copy.agc")

    readers = (text, counts, copied)
    good = [read(tmp_path / "x.agc") for read in readers]
    unseen = 0
    for path in damaged(tmp_path / "x.agc", 50):
        for number, read in enumerate(readers):
            with contextlib.suppress(SeqmillError):
                assert read(path) == good[number]
        with contextlib.suppress(SeqmillError):
            unseen += text(path, verify=False) != good[0]
    assert unseen > 0, "no damage was of the kind that only a checksum shows"


@pytest.mark.parametrize("width", [1, 79, 80, 81, 1 << 20, (1 << 20) + 1])
def test_sums_are_of_the_letters_whatever_the_lines(tmp_path: Path, width: int) -> None:
    """Checksums are compared on text in lines, which is cut into chunks of a million bases."""
    rng = random.Random(width)  # noqa: S311 - test data
    longest = 2000 if width == 1 else (1 << 20) + 80
    lengths = [1, 79, 80, 81, 160, 161, longest]
    with ArchiveWriter(tmp_path / "x.agc", threads=2) as writer:
        for name in "abc":
            rng.shuffle(lengths)
            contigs = [(f"c{n}", "".join(rng.choices("ACGTN", k=n))) for n in lengths]
            writer.add(name, contigs if name != "b" else contigs[:2])
    with Archive(tmp_path / "x.agc") as archive:
        for number, samples in enumerate((None, "b", ["c", "a"], ["b", "b"])):
            for suffix in (".fa", ".fa.gz"):
                archive.unpack(tmp_path / f"{number}{suffix}", samples=samples, line_width=width)
