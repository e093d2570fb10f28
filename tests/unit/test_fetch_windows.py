"""Windows as callers hand them over: whatever is no window is refused, none is changed."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqmill import FastaStore, errors
from seqmill._intervals import Intervals


@pytest.fixture
def store(tmp_path: Path) -> FastaStore:
    root = tmp_path / "root"
    root.mkdir()
    (root / "a.fa").write_text(">chr1\nACGTN\nacgtn\nRY\n>chr2\nTTTTT\n>track1\nGGGGG\n")
    (root / "b.fa").write_text(">chr1\nCCCCCCC\n>chr3\nAC\n")
    return FastaStore.open(root)


def test_numbers_of_numpy_are_numbers(store: FastaStore) -> None:
    files, contigs, lengths = store.contig_table()
    for file, contig, length in zip(files, contigs, lengths, strict=True):
        assert len(store.fetch(file, contig)) == length == store.length_of(file, contig)
        assert store.fetch_many([(file, contig, 0, np.int64(2))]).shape == (1, 2)
    for file in (7, -1, 1 << 40):
        for call in (store.contigs, store.path_of, lambda file: store.fetch(file, 0)):
            with pytest.raises(errors.InputError, match="no file number"):
                call(file)
    for name in (None, 1.5, ["a"]):
        with pytest.raises(errors.InputError, match="is no file"):
            store.fetch(name, "chr1")  # type: ignore[call-overload]


@pytest.mark.parametrize(
    "window",
    [
        ("a", "chr1", 1.5, 3),
        ("a", "chr1", 1, None),
        ("a", "chr1", 1),
        ("a", "chr1", 1, 3, "+", "more"),
        ("a", "chr1", 0, 1 << 70),
        7,
    ],
)
def test_what_is_no_window_is_refused(store: FastaStore, window: Any) -> None:
    with pytest.raises(errors.InputError, match="is no window"):
        store.fetch_many([window])


def four(file: Any = 0, contig: Any = 0, start: Any = 0, strand: Any = 1) -> tuple[Any, ...]:
    return tuple(np.array([value]) for value in (file, contig, start, strand))


@pytest.mark.parametrize(
    "arrays",
    [
        four(file=1 << 32),  # It came out as file 0.
        four(file=-1),
        four(contig=0.5),
        four(start=1.9),
        four(strand=255),
        four(strand="x"),
        four()[:3],
        Intervals([0], [0], [0], [3], [1]),
    ],
)
def test_arrays_are_taken_as_they_are_or_refused(store: FastaStore, arrays: Any) -> None:
    with pytest.raises(errors.InputError):
        store.fetch_many(arrays, length=3)


def test_strands_may_be_letters(store: FastaStore) -> None:
    assert store.fetch_many(four(strand="-"), length=3).tobytes() == b"CGT"
    kinds = [("file", "u4"), ("contig", "u4"), ("start", "i8"), ("end", "i8"), ("strand", "S1")]
    rows = np.array([(0, 0, 0, 3, b"-"), (0, 0, 1, 4, b"+")], kinds)
    assert store.fetch_many(rows).tobytes() == b"CGTCGT"


def test_lengths_that_cannot_be(store: FastaStore) -> None:
    for call in (
        lambda: store.fetch_many(four(), length=-3),
        lambda: store.fetch_many([("a", "chr1", 0, 3)], pad_to=-1),
        lambda: store.fetch("a", "chr1", 0, 1 << 80),
        lambda: store.fetch("a", "chr1", 0, 1 << 61, encode="onehot", out_of_range="pad"),
        lambda: store.fetch_many([("a", "chr1", 0, 1 << 62)] * 4 + [("a", "chr1", 0, 3)]),
        lambda: store.fetch_many(
            [("a", "chr1", 0, 1 << 62)] * 4 + [("a", "chr1", 0, 3)], out_of_range="pad"
        ),
        lambda: store.fetch("a", "chr1", 0, 3, out_of_range="none"),  # type: ignore[call-overload]
    ):
        with pytest.raises(errors.InputError):
            call()
    assert store.fetch("a", "chr1", -(1 << 62), 1 << 62, out_of_range="clip") == b"ACGTNacgtnRY"


def test_text_is_padded_as_arrays_are(store: FastaStore) -> None:
    windows = [("a", "chr1", 0, 3, "-"), ("a", "chr1", 0, 5)]
    assert store.fetch_many(windows, encode="str", pad_to=6) == ["CGTNNN", "ACGTNN"]
    assert store.fetch_many(windows, pad_to=6).tobytes() == b"CGTNNNACGTNN"
    with pytest.raises(errors.InputError, match="longer than pad_to"):
        store.fetch_many(windows, encode="bytes", pad_to=4)


def test_arrays_that_cannot_be_filled(store: FastaStore) -> None:
    fixed = np.empty(3, np.uint8)
    fixed.flags.writeable = False
    for out in (fixed, [0, 0, 0], bytearray(3)):
        with pytest.raises(errors.InputError, match="out is"):
            store.fetch("a", "chr1", 0, 3, encode="array", out=out)  # type: ignore[call-overload]
    with pytest.raises(errors.InputError, match="out is for arrays"):
        store.fetch("a", "chr1", 0, 3, encode="str", out=np.empty(3, np.uint8))


def test_tokens_that_do_not_fit(store: FastaStore) -> None:
    for vocab, dtype in ((bytes([200] * 256), "int8"), (range(1000, 1256), "int64"), ("x", None)):
        with pytest.raises(errors.InputError, match="vocab"):
            store.fetch("a", "chr1", encode="tokens", vocab=vocab, dtype=dtype)


def test_lines_of_bed(store: FastaStore, tmp_path: Path) -> None:
    bed = tmp_path / "windows.bed"

    def read(text: str, **options: Any) -> list[list[int]]:
        bed.write_text(text)
        return [column.tolist() for column in Intervals.from_bed(store, bed, **options).arrays]

    # A line of the browser is none of a contig whose name begins like one.
    text = "track name=x\nbrowser position\ntrack1\t0\t3\nchr2\t1\t2\n"
    assert read(text)[1:4] == [[2, 1], [0, 1], [3, 2]]
    for text in ("chr2\t\t5\n", "chr2\t0\t" + "9" * 30, "chr2\t0\t" + "9" * 5000, "chr2\t0\t٣\n"):
        with pytest.raises(errors.FormatError, match="line 1"):
            read(text)
    with pytest.raises(errors.FormatError, match="no column 7"):
        read("chr2\t0\t3\n", file_column=7)
    with pytest.raises(errors.NameNotFoundError, match="mapping"):
        read("chr2\t0\t3\n", name={"chr1": "a"})


def test_contigs_left_out_are_in_nobodys_way(store: FastaStore, tmp_path: Path) -> None:
    bed = tmp_path / "windows.bed"
    bed.write_text("chr1\t0\t3\n")
    with pytest.raises(errors.InputError, match="2 files"):
        Intervals.from_bed(store, bed)
    long = FastaStore.open(tmp_path / "root", min_contig_length=8)
    assert Intervals.from_bed(long, bed).files.tolist() == [0]
    with pytest.raises(errors.NameNotFoundError, match="min_contig_length"):
        long.length_of("b", "chr1")


def test_files_that_were_left_out_are_not_in_the_store(tmp_path: Path) -> None:
    (tmp_path / "a.fa").write_text(">c\nAAAA\n")
    (tmp_path / "b.fa").write_text(">c\nAC\nACGT\nA\n>d\nA\n")
    with pytest.warns(UserWarning, match="left out"):
        store = FastaStore.open(tmp_path, strict=False)
    assert ("a" in store, "b" in store, "c" in store) == (True, False, False)
    assert (store.names, len(store)) == (["a"], 1)
    bed = tmp_path / "windows.bed"
    bed.write_text("c\t0\t3\n")
    assert Intervals.from_bed(store, bed).files.tolist() == [0]


@pytest.mark.usefixtures("store")
def test_handles_outlive_a_change_of_folder(tmp_path: Path) -> None:
    before = Path.cwd()
    try:
        os.chdir(tmp_path)
        handles = [FastaStore.open("root"), FastaStore.open("root/a.fa"), FastaStore.open("r*/a*")]
        os.chdir("/")
        for handle in handles:
            assert handle.fetch("a", "chr2", 0, 3) == b"TTT"
            assert handle.__reduce__()[1][1] != "/root"
    finally:
        os.chdir(before)
    assert handles[2].names == ["a"]  # Side files match the pattern too.


def test_what_is_above_a_link_is_above_its_folder(tmp_path: Path) -> None:
    (tmp_path / "far" / "inner").mkdir(parents=True)
    (tmp_path / "far" / "x.fa").write_text(">c\nAAAA\n")
    (tmp_path / "x.fa").write_text(">c\nTTTT\n")
    (tmp_path / "link").symlink_to(tmp_path / "far" / "inner")
    path = f"{tmp_path}/link/../x.fa"
    assert FastaStore.open(path).fetch("x", "c") == FastaStore.open([path]).fetch("x", "c")
    assert FastaStore.open([path]).fetch("x", "c") == b"AAAA"


@pytest.mark.parametrize(
    "call",
    [
        lambda root: FastaStore.open(root, suffixes=".fa"),
        lambda root: FastaStore.open(root, suffixes=["", ".fa"]),
        lambda root: FastaStore.open(root, open_files=-1),
        lambda root: FastaStore.open([root]),
        lambda root: FastaStore.open(root / "a.fa").fetch_many([], threads=None),
    ],
)
def test_options_that_cannot_be(tmp_path: Path, call: Callable[[Path], object]) -> None:
    (tmp_path / "a.fa").write_text(">c\nAAAA\n")
    with pytest.raises(errors.InputError):
        call(tmp_path)
