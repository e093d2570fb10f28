"""`FastaStore`: windows, encodings, damage, names, sharing between processes."""

import errno
import gzip
import hashlib
import json
import multiprocessing
import os
import pickle
import random
import shutil
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest

from seqmill import FastaStore, errors
from seqmill._intervals import Intervals
from seqmill._regions import parse_region

COMPLEMENT = str.maketrans("ACGTURYKMBVDHacgturykmbvdh", "TGCAAYRMKVBHDtgcaayrmkvbhd")
CONTIGS = ("KF600627.1", "KF600644.1", "KF600632.1")
INDEX = ".seqmill-fasta-index-v1"


@pytest.fixture(scope="session")
def fasta_data(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A writable copy: opening a store writes into its root."""
    folder = tmp_path_factory.mktemp("fasta") / "data"
    shutil.copytree(shared_data / "fasta", folder, copy_function=shutil.copyfile)
    for found in [folder, *folder.rglob("*")]:
        if found.is_dir():
            found.chmod(0o755)
    return folder


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "a.fa").write_text(">chr1 first\nACGTN\nacgtu\nRYK\n>chr2\nTTTTTTT\n")
    (root / "sub" / "b.fna").write_bytes(b">x|y:1\r\nAC-G\r\nTT\r\n>\r\nGG\r\n")
    return root


def test_expected_windows_one_by_one_and_in_one_batch(fasta_data: Path) -> None:
    store = FastaStore.open(fasta_data / "store")
    expected = json.loads((fasta_data / "expected_windows.json").read_text())
    windows = [(w["name"], w["contig"], w["start"], w["start"] + w["length"]) for w in expected]
    for threads in (1, 2, 3):
        batch = store.fetch_many(windows, encode="str", threads=threads)
        for want, window, many in zip(expected, windows, batch, strict=True):
            single = store.fetch(*window, encode="str")
            assert single == many
            if "sequence" in want:
                assert single == want["sequence"], want["why"]
            else:
                assert hashlib.sha256(single.encode()).hexdigest() == want["sequence_sha256"]


def test_contigs_are_listed_in_file_order(fasta_data: Path) -> None:
    store = FastaStore.open(fasta_data / "store")
    expected = json.loads((fasta_data / "expected_contigs.json").read_text())
    assert store.names == sorted(expected)
    for name, contigs in expected.items():
        assert store.contigs(name) == [tuple(contig) for contig in contigs]


def copy_case(fasta_data: Path, case: str, folder: Path, *, older: str = "") -> Path:
    """A damaged set whose files have one time, but for those that end with `older`."""
    root = folder / case
    shutil.copytree(fasta_data / "damaged" / case, root)
    for found in root.iterdir():
        time = 1_000_000_000 - (1 if older and found.name.endswith(older) else 0)
        os.utime(found, (time, time))
    return root


OK, CRC, INFLATE = "ok", errors.ChecksumError, errors.InflateError
BGZF, CUT, STALE = errors.BgzfError, errors.TruncatedError, errors.StaleIndexError
DAMAGE = {
    "bad_crc": (OK, CRC, OK),
    "bad_isize": (OK, INFLATE, OK),
    "bad_deflate_data": (OK, INFLATE, OK),
    "bad_header_magic": (OK, BGZF, OK),
    "truncated_mid_block": (OK, CUT, CUT),
    "no_eof_marker": (OK, OK, OK),
    "missing_gzi": (OK, OK, OK),
    "missing_fai": (OK, OK, OK),
    "missing_both": (OK, OK, OK),
    "stale_index": (errors.FormatError,) * 3,
    "plain_fasta": (OK, errors.NameNotFoundError, errors.NameNotFoundError),
    "fai_duplicate_name": (OK, OK, OK),
    "plain_gzip": errors.NotBgzfError,
    "gzi_truncated": errors.IndexFormatError,
    "gzi_count_too_large": errors.IndexFormatError,
    "gzi_not_sorted": errors.IndexFormatError,
    "fai_bad_columns": errors.IndexFormatError,
    "fai_zero_linebases": errors.IndexFormatError,
}
WARNED = {
    "no_eof_marker": "end marker",
    "truncated_mid_block": "end marker",
    "fai_duplicate_name": "more than once",
}


@pytest.mark.parametrize("verify", ["crc", "none"])
@pytest.mark.parametrize("case", DAMAGE)
def test_damage_gives_the_stated_error_and_never_wrong_bases(
    case: str, verify: str, fasta_data: Path, tmp_path: Path
) -> None:
    intact = FastaStore.open(fasta_data / "damaged" / "intact")
    names = {short: full for full, _ in intact.contigs("x") for short in CONTIGS if short in full}
    root = copy_case(fasta_data, case, tmp_path)
    want = DAMAGE[case]
    if not isinstance(want, tuple):
        with pytest.raises(want) as raised:
            FastaStore.open(root)
        assert "x.fna" in str(raised.value)
        with pytest.warns(UserWarning, match="left out"):
            assert FastaStore.open(root, strict=False).names == []
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        store = FastaStore.open(root, verify=verify)
        for short, outcome in zip(CONTIGS, want, strict=True):
            window = ("x", names[short], 15000, 15020)
            if outcome == OK:
                assert store.fetch(*window) == intact.fetch(*window)
            elif verify == "none" and outcome in (CRC, INFLATE):
                continue  # Unchecked means unchecked.
            else:
                with pytest.raises(outcome):
                    store.fetch(*window)
                with pytest.raises(outcome):
                    store.fetch_many([window])
    if case in WARNED:
        assert any(WARNED[case] in str(warning.message) for warning in caught)


@pytest.mark.parametrize("case", ["missing_gzi", "missing_fai", "missing_both"])
def test_side_files_are_those_of_samtools_and_bgzip(
    case: str, fasta_data: Path, tmp_path: Path
) -> None:
    root = tmp_path / case
    shutil.copytree(fasta_data / "damaged" / case, root)
    with pytest.raises(errors.IndexFormatError, match="missing"):
        FastaStore.open(root, build_missing=False)
    FastaStore.open(root)
    for suffix in (".fai", ".gzi"):
        ours = (root / f"x.fna.gz{suffix}").read_bytes()
        assert ours == (fasta_data / "damaged" / "intact" / f"x.fna.gz{suffix}").read_bytes()


def test_names_suffixes_and_close_names(tiny: Path) -> None:
    store = FastaStore.open(tiny)
    assert store.names == ["a", "sub/b"]
    assert store.contigs("sub/b.fna") == [("x|y:1", 6), ("", 2)]
    assert "a" in store
    assert "c" not in store
    with pytest.raises(errors.NameNotFoundError, match="closest: a"):
        store.fetch("aa", "chr1")
    with pytest.raises(KeyError, match="closest: chr1, chr2"):
        store.fetch("a", "chr3")
    assert store.fetch(*store.resolve("a", "chr2"), 1, 3) == b"TT"
    (tiny / "a.fna").write_text(">z\nA\n")
    with pytest.raises(errors.InputError, match=r"a\.fa and a\.fna"):
        FastaStore.open(tiny)


def test_every_encoding_of_a_window(tiny: Path) -> None:
    store = FastaStore.open(tiny)
    text = "ACGTNacgtuRYK"
    window = ("a", "chr1")
    assert store.fetch(*window, encode="str") == text
    assert store.fetch(*window, encode="str", case="upper") == text.upper()
    assert store.fetch(*window, encode="str", mask="N") == "ACGTNNNNNNRYK"
    assert store.fetch(*window, strand="-", encode="str") == text.translate(COMPLEMENT)[::-1]
    assert store.fetch(*window, encode="array").tobytes() == text.encode()
    tokens = ["ACGT".find(c) if c in "ACGT" else 4 for c in text.upper().replace("U", "T")]
    for dtype in ("uint8", "int8", "int32", "int64"):
        got = store.fetch(*window, encode="tokens", dtype=dtype)
        assert got.dtype == dtype
        assert got.tolist() == tokens
    table = np.vstack([np.eye(4), np.zeros(4)])
    for dtype in ("uint8", "bool", "float16", "float32"):
        last = store.fetch(*window, encode="onehot", dtype=dtype)
        assert last.dtype == dtype
        assert (last == table[tokens].astype(dtype)).all()
        first = store.fetch(*window, encode="onehot", dtype=dtype, channels="first")
        assert (first == last.T).all()
        assert first.flags.c_contiguous
        reverse = store.fetch(*window, encode="onehot", dtype=dtype, strand="-")
        assert (reverse == last[::-1, ::-1]).all()
    shared = store.fetch(*window, encode="onehot", dtype="float32", iupac="fraction")
    assert shared[10].tolist() == [0.5, 0, 0.5, 0]
    quarter = store.fetch(*window, encode="onehot", dtype="float32", n_value=0.25)
    assert quarter[4].tolist() == [0.25] * 4
    assert store.fetch(*window, encode="softmask").tolist() == [c.islower() for c in text]
    packed = store.fetch(*window, encode="2bit")
    codes = [packed[i // 4] >> (2 * (i % 4)) & 3 for i in range(13)]
    mask = [packed[4 + i // 8] >> (i % 8) & 1 for i in range(13)]
    assert [4 if m else int(c) for c, m in zip(codes, mask, strict=True)] == tokens
    with pytest.raises(errors.InputError, match="dtype"):
        store.fetch(*window, encode="onehot", dtype="int64")


def test_windows_out_of_range(tiny: Path) -> None:
    store = FastaStore.open(tiny)
    for start, end in ((-1, 3), (0, 8), (5, 2), (9, 9)):
        with pytest.raises(errors.OutOfRangeError) as raised:
            store.fetch("a", "chr2", start, end)
        assert isinstance(raised.value, IndexError)
    assert store.fetch("a", "chr1", -2, 3, out_of_range="pad") == b"NNACG"
    assert store.fetch("a", "chr1", -2, 3, strand="-", out_of_range="pad") == b"CGTNN"
    assert store.fetch("a", "chr1", 12, 15, out_of_range="pad", pad_char="-") == b"K--"
    assert store.fetch("a", "chr1", 90, 92, out_of_range="pad") == b"NN"
    assert store.fetch("a", "chr1", -5, 2, out_of_range="clip") == b"AC"
    assert store.fetch("a", "chr2", 5, 9, out_of_range="shift") == b"TTTT"
    assert store.fetch_many(
        [("a", "chr1", 0, 2, "-"), ("a", "chr2", 0, 3)], pad_to=4
    ).tobytes() == (b"GTNNTTTN")
    data, offsets = store.fetch_many([("a", "chr1", 0, 2), ("a", "chr2", 0, 3)])
    assert (data.tobytes(), offsets.tolist()) == (b"ACTTT", [0, 2, 5])


def random_windows(store: FastaStore, count: int, longest: int, seed: int) -> list[tuple]:
    draw = random.Random(seed)  # noqa: S311
    contigs = [(n, c, length) for n in store.names for c, length in store.contigs(n) if length]
    windows = []
    for _ in range(count):
        name, contig, length = draw.choice(contigs)
        size = min(length, draw.randint(1, longest))
        start = draw.randint(0, length - size)
        windows.append((name, contig, start, start + size, draw.choice("+-")))
    return windows


@pytest.mark.parametrize("longest", [300, 200_000])
def test_batches_equal_single_windows_for_all_threads_and_caches(
    fasta_data: Path, longest: int
) -> None:
    plain = FastaStore.open(fasta_data / "store", cache_size=0)
    windows = random_windows(plain, 300, longest, 1)
    expected = [plain.fetch(*w[:4], strand=w[4]) for w in windows]
    for options in ({}, {"verify": "none"}, {"cache_size": 200_000}, {"open_files": 1}):
        store = FastaStore.open(fasta_data / "store", **options)
        assert [store.fetch(*w[:4], strand=w[4]) for w in windows] == expected
        for threads in (1, 2, 3, 8):
            assert store.fetch_many(windows, encode="bytes", threads=threads) == expected


def test_caller_owned_memory_is_filled_and_checked(fasta_data: Path) -> None:
    store = FastaStore.open(fasta_data / "store")
    windows = [("GCF_000005845.2", "NC_000913.3", i * 1000, i * 1000 + 500) for i in range(50)]
    out = np.zeros((50, 500, 4), np.float32)
    assert store.fetch_many(windows, encode="onehot", dtype="float32", out=out, threads=2) is out
    assert (out == store.fetch_many(windows, encode="onehot", dtype="float32")).all()
    for wrong in (np.zeros((50, 500, 4)), np.zeros((50, 501, 4), np.float32), out[:, ::-1]):
        with pytest.raises(errors.InputError, match="out is"):
            store.fetch_many(windows, encode="onehot", dtype="float32", out=wrong)


def in_child(store: FastaStore, window: tuple, queue: "multiprocessing.Queue[bytes]") -> None:
    queue.put(store.fetch(*window))


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
@pytest.mark.parametrize("storage", ["mmap", "shmem"])
def test_store_goes_to_other_processes(fasta_data: Path, method: str, storage: str) -> None:
    context = multiprocessing.get_context(method)
    store = FastaStore.open(fasta_data / "store", storage=storage)
    window = ("GCF_000783305.1", store.contigs("GCF_000783305.1")[0][0], 5, 90)
    expected = store.fetch(*window)
    assert len(pickle.dumps(store)) < 1000
    queue = context.Queue()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Forking beside threads.
        child = context.Process(target=in_child, args=(store, window, queue))
        child.start()
    assert queue.get(timeout=60) == expected
    child.join(60)
    assert child.exitcode == 0
    copy = pickle.loads(pickle.dumps(store))  # noqa: S301 - made here
    assert copy.fetch(*window) == expected


def test_a_private_index_is_pickled_with_the_store(tiny: Path) -> None:
    store = FastaStore.open(tiny, storage="memory")
    assert not (tiny / INDEX).exists()
    carried = pickle.dumps(store)
    assert len(carried) > store.index_bytes
    shutil.copy(tiny / "a.fa", tiny / "more.fa")
    copy = pickle.loads(carried)  # noqa: S301 - made here
    assert copy.names == ["a", "sub/b"]
    assert copy.build_id == store.build_id
    assert copy.fetch("a", "chr2") == b"T" * 7
    with pytest.raises(errors.FormatError, match="index"):
        type(store)._restore(tiny, store._options, store._native.index_content()[:-1])


def test_a_handle_outlives_files_that_are_added(tiny: Path) -> None:
    for storage in ("mmap", "shmem"):
        store = FastaStore.open(tiny, storage=storage)
        place = store.resolve("sub/b", "x|y:1")
        carried = pickle.dumps(store)
        assert len(carried) < 500
        names = store.names
        for name in ("0", "b", "zz"):
            (tiny / f"{storage}{name}.fa").write_text(">n\nACGT\n")
        del store  # An index in memory goes with its owner.
        assert len(FastaStore.open(tiny)) == len(names) + 3
        copy = pickle.loads(carried)  # noqa: S301 - made here
        assert copy.names == names
        assert copy.fetch(*place, 0, 4) == b"AC-G"  # Numbers mean what they meant.
    (tiny / "a.fa").write_text(">chr1\nAC\n")
    (tiny / "a.fa.fai").unlink()
    (tiny / "more.fa").write_text(">n\nACGT\n")
    FastaStore.open(tiny)
    with pytest.raises(errors.StaleIndexError, match="changed"):
        pickle.loads(carried)  # noqa: S301 - made here


def test_mapped_files_give_the_same_and_notice_cuts(tiny: Path) -> None:
    store, mapped = (FastaStore.open(tiny, io=io) for io in ("read", "mmap"))
    for name, contig, length in (("a", "chr1", 13), ("sub/b", "x|y:1", 6)):
        for start in range(length):
            window = (name, contig, start, length)
            assert mapped.fetch(*window) == store.fetch(*window)
            assert mapped.fetch_many([window]).tobytes() == store.fetch(*window)
    with (tiny / "a.fa").open("r+b") as cut:
        cut.truncate(10)
    with pytest.raises(errors.StaleIndexError):
        mapped.fetch("a", "chr2")
    with pytest.raises(errors.InputError, match="io"):
        FastaStore.open(tiny, io="carrier pigeon")


def test_threads_share_one_store(fasta_data: Path) -> None:
    store = FastaStore.open(fasta_data / "store", cache_size=300_000, open_files=2)
    windows = random_windows(store, 200, 3000, 2)
    expected = [store.fetch(*w[:4]) for w in windows]
    wrong = []

    def work() -> None:
        wrong.extend(w for w, e in zip(windows, expected, strict=True) if store.fetch(*w[:4]) != e)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# Root may read and write everything; with these two capabilities gone (CAP_DAC_OVERRIDE and
# CAP_DAC_READ_SEARCH) permissions count for it too.
WITHOUT_PRIVILEGES = """
import ctypes, os, sys
if os.getuid() == 0:
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = (ctypes.c_uint32 * 6)()
    assert libc.capget(header, data) == 0
    for word in range(3):
        data[word] &= ~0b110
    assert libc.capset(header, data) == 0
"""
OPEN = "import sys; from seqmill import FastaStore; print(FastaStore.open(sys.argv[1]).build_id)"


def test_eight_processes_open_an_unindexed_root_at_once(fasta_data: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(fasta_data / "store", root)
    for side in [*root.rglob("*.fai"), *root.rglob("*.gzi"), *root.glob(".seqmill*")]:
        side.unlink()
    command = [sys.executable, "-c", OPEN, os.fspath(root)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(8)]
    told = {process.communicate(timeout=120)[0] for process in started}
    assert [process.returncode for process in started] == [0] * 8
    assert len(told) == 1
    assert sorted(p.name for p in root.iterdir() if p.name.startswith(".")) == [
        INDEX,
        f"{INDEX}.lock",
    ]
    assert not list(root.rglob(".*.tmp.*"))


def test_index_follows_the_files(tiny: Path) -> None:
    first = FastaStore.open(tiny)
    assert first._native.was_built
    again = FastaStore.open(tiny)
    assert not again._native.was_built
    assert again.build_id == first.build_id
    (tiny / "new.fa").write_text(">n\nACGT\n")
    added = FastaStore.open(tiny)
    assert added._native.was_built
    assert added.names == ["a", "new", "sub/b"]
    (tiny / "new.fa").write_text(">n\nACGTACGT\n")
    with pytest.raises(errors.StaleIndexError):
        added.fetch("new", "n")
    (tiny / "new.fa.fai").unlink()
    assert FastaStore.open(tiny).fetch("new", "n") == b"ACGTACGT"
    (tiny / "a.fa").unlink()
    assert FastaStore.open(tiny).names == ["new", "sub/b"]
    moved = tiny.with_name("moved")
    tiny.rename(moved)
    assert not FastaStore.open(moved)._native.was_built
    (moved / INDEX).write_bytes(b"nonsense")
    assert FastaStore.open(moved)._native.was_built


def test_index_of_a_root_that_cannot_be_written(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("SEQMILL_CACHE_DIR", os.fspath(cache))
    tiny.chmod(0o555)
    (tiny / "sub").chmod(0o555)
    program = WITHOUT_PRIVILEGES + (
        "from seqmill import FastaStore\n"
        "store = FastaStore.open(sys.argv[1])\n"
        "packed = store.pack('a')[0]\n"
        "bases = store.fetch('a', 'chr1', 0, 4).decode()\n"
        "again = FastaStore.open(sys.argv[1], pack='require')\n"
        "required = again.fetch('a', 'chr1', 0, 4).decode()\n"
        "print(store.index_path, packed, bases, required, store._native.was_built)"
    )
    for built in ("True", "False"):
        told = subprocess.run(
            [sys.executable, "-c", program, tiny], capture_output=True, text=True, check=False
        )
        assert told.returncode == 0, told.stderr
        path, packed, *rest = told.stdout.split()
        assert Path(path).parent == Path(packed).parent == cache
        assert rest == ["ACGT", "ACGT", built]
    assert sorted(p.name for p in tiny.iterdir()) == ["a.fa", "sub"]
    monkeypatch.setenv("SEQMILL_CACHE_DIR", "/proc/nowhere")
    told = subprocess.run(
        [sys.executable, "-c", WITHOUT_PRIVILEGES + OPEN, tiny], capture_output=True, check=False
    )
    assert told.returncode == 0, told.stderr
    tiny.chmod(0o755)
    (tiny / "sub").chmod(0o755)


def test_a_file_that_the_system_refuses_is_left_out_or_an_error(tiny: Path) -> None:
    (tiny / "sub" / "b.fna.fai").mkdir()
    for _ in range(2):
        with pytest.raises(OSError, match=r"b\.fna\.fai") as raised:
            FastaStore.open(tiny)
        assert raised.value.errno == errno.EISDIR
        with pytest.warns(UserWarning, match=r"left out: .*b\.fna\.fai"):
            assert FastaStore.open(tiny, strict=False).names == ["a"]
    (tiny / "sub" / "b.fna.fai").rmdir()
    assert FastaStore.open(tiny).names == ["a", "sub/b"]
    (tiny / "a.fa").chmod(0)
    program = WITHOUT_PRIVILEGES + (
        "from seqmill import FastaStore\n"
        "try:\n    FastaStore.open(sys.argv[1], force_build=True)\n"
        "except PermissionError as error:\n    print(error.filename)"
    )
    told = subprocess.run(
        [sys.executable, "-c", program, tiny], capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == os.fspath(tiny / "a.fa")


def test_gzip_is_refused_or_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQMILL_CACHE_DIR", os.fspath(tmp_path / "cache"))
    root = tmp_path / "root"
    root.mkdir()
    (root / "x.fa.gz").write_bytes(gzip.compress(b">c\nACGTACGT\n"))
    with pytest.raises(errors.NotBgzfError, match="recompress"):
        FastaStore.open(root)
    assert FastaStore.open(root, gzip="recompress").fetch("x", "c", 2, 6) == b"GTAC"


def test_files_lists_and_patterns(tiny: Path) -> None:
    assert FastaStore.open(tiny / "a.fa").names == ["a"]
    assert FastaStore.open([tiny / "a.fa", tiny / "sub" / "b.fna"]).names == ["a", "sub/b"]
    assert FastaStore.open(f"{tiny}/**/*.f*a").names == ["a", "sub/b"]
    with pytest.raises(FileNotFoundError):
        FastaStore.open(tiny / "none.fa")
    with pytest.raises(errors.InputError, match="no file matches"):
        FastaStore.open(f"{tiny}/*.none")


def test_side_files_older_than_their_file_are_checked(fasta_data: Path, tmp_path: Path) -> None:
    fine = copy_case(fasta_data, "intact", tmp_path, older=".fai")
    assert len(FastaStore.open(fine)) == 1
    stale = copy_case(fasta_data, "stale_index", tmp_path, older=".fai")
    with pytest.raises(errors.StaleIndexError):
        FastaStore.open(stale)
    with pytest.warns(UserWarning, match="built anew"):
        store = FastaStore.open(stale, rebuild_stale=True)
    assert store.check() == []
    broken = copy_case(fasta_data, "gzi_not_sorted", tmp_path)
    with pytest.warns(UserWarning, match="built anew"):
        assert FastaStore.open(broken, rebuild_stale=True).check() == []


def test_check_finds_what_is_wrong(fasta_data: Path, tmp_path: Path) -> None:
    assert FastaStore.open(fasta_data / "store").check(threads=2) == []
    for case, words in (("bad_crc", "checksum"), ("stale_index", "does not")):
        root = copy_case(fasta_data, case, tmp_path)
        (fault,) = FastaStore.open(root).check()
        assert words in fault


def test_check_finds_sidecars_that_are_wrong(tiny: Path) -> None:
    store = FastaStore.open(tiny)
    path, _ = store.pack("a")
    assert store.check() == []
    content = bytearray(path.read_bytes())
    for place, words in ((4100, "checksum"), (20, "damaged or of another file")):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        (fault,) = FastaStore.open(tiny).check()
        assert words in fault
        assert "a.sqm2" in fault


def test_bed_and_region_strings(tiny: Path) -> None:
    store = FastaStore.open(tiny)
    bed = tiny / "w.bed"
    bed.write_text("track x\n#c\nchr1\t0\t4\tn\t0\t-\nchr2 1 3\n")
    intervals = Intervals.from_bed(store, bed)
    assert store.fetch_many(intervals, encode="bytes") == [b"ACGT", b"TT"]
    wide = intervals.resize(6, "start")
    assert wide.starts.tolist() == [-2, 1]
    bed.write_text("chr1\t5\t2\n")
    with pytest.raises(errors.FormatError, match="line 1"):
        Intervals.from_bed(store, bed)
    names = {"a", "a:1-5", "b:c"}
    for region, expected in (
        ("a:1-5", ("a:1-5", 0, None)),
        ("{a}:1-5", ("a", 0, 5)),
        ("a:3", ("a", 2, None)),
        ("b:c:1,000-2,000", ("b:c", 999, 2000)),
        ("a:-5", ("a", 0, 5)),
    ):
        assert parse_region(region, names.__contains__) == expected
    with pytest.raises(errors.InputError):
        parse_region("a:9-5", names.__contains__)


@pytest.mark.parametrize("target", ["x.fna.gz", "x.fna.gz.fai", "x.fna.gz.gzi", INDEX])
def test_random_damage_never_crashes_nor_gives_bases_of_another_contig(
    target: str, fasta_data: Path, tmp_path: Path
) -> None:
    draw = random.Random(target)  # noqa: S311
    intact = FastaStore.open(fasta_data / "damaged" / "intact")
    windows = random_windows(intact, 6, 5000, 3)
    for attempt in range(60):
        root = tmp_path / str(attempt)
        shutil.copytree(fasta_data / "damaged" / "intact", root)
        content = bytearray((root / target).read_bytes())
        for _ in range(draw.randint(1, 4)):
            content[draw.randrange(len(content))] = draw.randrange(256)
        (root / target).write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                store = FastaStore.open(root, validate="none", cache_size=0)
            except (errors.FormatError, errors.InputError):
                continue
            for window in windows:
                try:
                    got = store.fetch(*window[:4])
                except (errors.SeqmillError, OSError):
                    continue
                if target == "x.fna.gz":
                    assert got == intact.fetch(*window[:4])


def test_packed_sidecar_gives_the_same_and_is_left_when_stale(
    fasta_data: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    shutil.copytree(fasta_data / "store", root)
    odd = "".join(random.Random(5).choices("ACGTNacgtnURYK-*u", k=9000))  # noqa: S311
    (root / "odd.fa").write_text(f">one\n{odd}\n>empty\n>two\nAC\n")
    plain = FastaStore.open(root, pack="never")
    windows = random_windows(plain, 300, 6000, 4)
    expected = [plain.fetch(*w[:4], strand=w[4]) for w in windows]
    with pytest.raises(errors.StaleIndexError, match="--pack"):
        FastaStore.open(root, pack="require").fetch(*windows[0][:4])
    for name in plain.names:
        path, size = plain.pack(name)
        assert path == root / f"{name}.sqm2"
        bases = sum(length for _, length in plain.contigs(name))
        if name.startswith("GCF"):
            assert size < 0.26 * bases + 6000
    packed = FastaStore.open(root, pack="require")
    assert not packed._native.was_built
    assert [packed.fetch(*w[:4], strand=w[4]) for w in windows] == expected
    assert packed.fetch_many(windows, encode="bytes", threads=2) == expected
    assert packed.fetch("odd", "one", -3, 9000, out_of_range="pad") == b"NNN" + odd.encode()
    content = bytearray((root / "odd.sqm2").read_bytes())
    content[5000] ^= 1
    (root / "odd.sqm2").write_bytes(content)
    with pytest.raises(errors.ChecksumError, match="packed sidecar"):
        FastaStore.open(root).fetch("odd", "one")
    (root / "odd.fa").write_text(">one\nACGT\n")
    (root / "odd.fa.fai").unlink()
    assert FastaStore.open(root).fetch("odd", "one") == b"ACGT"


@pytest.mark.parametrize("odd", ["crlf", "iupac", "white", "dupl", "multi", "spaced", "seqkit"])
def test_odd_files_are_indexed_and_read_as_samtools_does(
    odd: str, shared_data: Path, tmp_path: Path
) -> None:
    if shutil.which("samtools") is None:
        pytest.skip("samtools is not installed")
    for path in sorted((shared_data / "real" / "fasta_oddities").glob(f"*{odd}*")):
        ours, theirs = tmp_path / path.name, tmp_path / f"theirs_{path.name}"
        shutil.copyfile(path, ours)
        shutil.copyfile(path, theirs)
        indexed = subprocess.run(["samtools", "faidx", theirs], capture_output=True, check=False)
        if indexed.returncode != 0:
            with pytest.raises(errors.FormatError):
                FastaStore.open(ours)
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Repeated names.
            store = FastaStore.open(ours)
        index = theirs.with_name(f"{theirs.name}.fai").read_bytes()
        assert ours.with_name(f"{ours.name}.fai").read_bytes() == index
        for contig, _ in store.contigs(0):
            if not contig:
                continue
            command = ["samtools", "faidx", theirs, f"{{{contig}}}"]
            told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            expected = "".join(told.splitlines()[1:])
            assert store.fetch(0, contig, encode="str") == expected
            assert store.fetch_many([(0, contig, 0, len(expected))], encode="str") == [expected]


def test_what_a_killed_builder_left_is_removed_when_it_is_old(tiny: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    old, fresh = (tiny / f"{INDEX}.tmp.{ended.pid}.{name}" for name in ("0000000a", "0000000b"))
    for path in (old, fresh):
        path.write_bytes(b"half an index")
    os.utime(old, (1_000_000_000, 1_000_000_000))
    assert FastaStore.open(tiny).names == ["a", "sub/b"]
    assert not old.exists()
    assert fresh.exists()


def test_an_incremental_build_equals_a_full_one(tiny: Path) -> None:
    FastaStore.open(tiny)
    (tiny / "new.fa").write_text(">n\nACGT\n")
    grown = FastaStore.open(tiny)
    whole = FastaStore.open(tiny, force_build=True)
    assert grown.build_id == whole.build_id


def test_the_index_of_few_files_is_smaller_than_a_page(tiny: Path) -> None:
    store = FastaStore.open(tiny)
    contigs = sum(len(store.contigs(name)) for name in store.names)
    names = sum(len(name) + 8 for name in store.names)
    assert store.index_bytes <= 640 + 96 * len(store) + 64 * contigs + names
    store._native.check_index()
