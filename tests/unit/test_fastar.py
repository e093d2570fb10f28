"""The drop-in for fastar-loader, and tracks."""

import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from seqmill import errors, fastar
from seqmill._native import bgzf_compress
from seqmill.tracks import TrackStore


@pytest.fixture(scope="module")
def data(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fastar") / "data"
    shutil.copytree(shared_data / "fasta", folder, copy_function=shutil.copyfile)
    for found in [folder, *folder.rglob("*")]:
        if found.is_dir():
            found.chmod(0o755)
    return folder


def test_loader_reads_what_samtools_printed(data: Path) -> None:
    loader = fastar.FastarLoader(data / "store", show_progress=False)
    windows = json.loads((data / "expected_windows.json").read_text())
    expected = json.loads((data / "expected_contigs.json").read_text())
    assert loader.names == sorted(expected)
    copy = pickle.loads(pickle.dumps(loader))  # noqa: S301 - made here
    for window in windows[::5]:
        if "sequence" not in window:
            continue
        place = (window["name"], window["contig"], window["start"], window["length"])
        got = loader.read_sequence(*place)
        assert got.dtype == np.uint8
        assert got.tobytes().decode() == window["sequence"]
        assert copy.read_sequence(*place).tobytes() == got.tobytes()


def test_some_names_only(data: Path) -> None:
    names = ["viruses/mers/Al-Hasa_12_2013", "GCF_000005845.2"]
    loader = fastar.FastarLoader(data / "store", names=names)
    assert loader.names == sorted(names)
    assert loader.contigs("GCF_000005845.2") == [("NC_000913.3", 4641652)]
    with pytest.raises(RuntimeError, match="no file"):
        loader.contigs("GCF_000783305.1")
    with pytest.raises(KeyError, match="no file"):
        fastar.FastarLoader(data / "store", names=["none"])


def test_errors_are_runtime_errors_too(data: Path) -> None:
    loader = fastar.FastarLoader(data / "store")
    for place in ((4641652, 5), (0, 1 << 40), (-1, 5), (0, -1)):
        with pytest.raises(RuntimeError) as raised:
            loader.read_sequence("GCF_000005845.2", "NC_000913.3", *place)
        assert isinstance(raised.value, errors.InputError)
        assert isinstance(raised.value, fastar.FastarError)
    with pytest.raises(RuntimeError, match="storage"):
        fastar.FastarLoader(data / "store", storage_method="disk")  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="contradict"):
        fastar.FastarLoader(data / "store", no_cache=True, force_build=True)


def test_min_contig_length(data: Path) -> None:
    whole = fastar.FastarLoader(data / "store").contigs("GCF_000783305.1")
    some = fastar.FastarLoader(data / "store", min_contig_length=10_000)
    assert some.contigs("GCF_000783305.1") == [c for c in whole if c[1] >= 10_000]
    short = next(c for c, length in whole if length < 10_000)
    with pytest.raises(RuntimeError, match="min_contig_length"):
        some.read_sequence("GCF_000783305.1", short, 0, 5)


def test_one_file_and_helpers(data: Path) -> None:
    path = data / "store" / "GCF_000005845.2.fna.gz"
    got = fastar.read_sequence(path, "NC_000913.3", 0, 8)
    assert got.tobytes() == b"AGCTTTTC"
    text = np.frombuffer(b"ACGTNacgtR", np.uint8)
    tokens = fastar.util.ascii_to_sequence(text)
    assert tokens.dtype == np.int64
    assert tokens.tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]
    reverse = fastar.util.ascii_to_sequence(text, reverse_complement=True)
    assert reverse.tolist() == [4, 0, 1, 2, 3, 4, 0, 1, 2, 3]
    assert fastar.util.ascii_to_softmask(text).tolist() == [False] * 5 + [True] * 4 + [False]
    with pytest.raises(KeyError):
        fastar.util.ascii_to_sequence(np.frombuffer(b"A*", np.uint8))


def test_tracks_as_bytes_and_numbers(data: Path) -> None:
    loader = fastar.TrackLoader(data / "tracks")
    store = TrackStore(data / "tracks")
    expected = json.loads((data / "expected_tracks.json").read_text())
    for window in expected:
        start, length = window["start_byte"], window["length_bytes"]
        raw = loader.read_sequence(window["name"], window["contig"], start, length)
        assert raw.tobytes().hex() == window["bytes_hex"]
        values = store.fetch(window["name"], window["contig"], start // 4, (start + length) // 4)
        assert values.dtype == np.dtype("<f4")
        assert values.tobytes() == raw.tobytes()
    name = store.names[0]
    contig, length = store.lengths(name)[0]
    padded = pickle.loads(pickle.dumps(store)).fetch(  # noqa: S301 - made here
        name, contig, -2, 3, out_of_range="pad", strand="-"
    )
    assert np.isnan(padded[3:]).all()
    assert (padded[:3] == store.fetch(name, contig, 0, 3)[::-1]).all()
    with pytest.raises(errors.OutOfRangeError):
        store.fetch(name, contig, length - 1, length + 1)


def write_genomes(root: Path, bases: dict[str, str]) -> None:
    for name, letter in bases.items():
        path = Path(root, f"{name}.fna.gz")
        path.parent.mkdir(exist_ok=True, parents=True)
        eof = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
        path.write_bytes(bgzf_compress(f">c\n{letter * 50}\n".encode()) + eof)


def test_names_of_a_list_mean_their_own_files_however_they_are_written(tmp_path: Path) -> None:
    odd = os.fsdecode(b"\x80")
    write_genomes(tmp_path, {"a": "A", "b": "C", "c/z": "G", odd: "T", "中": "N"})
    for names in (["b", "c/../a"], ["a", "c/z"], [odd, "中", "a"], ["b.fna.gz", "./a"]):
        loader = fastar.FastarLoader(tmp_path, names=names)
        whole = fastar.FastarLoader(tmp_path)
        assert loader.names == sorted(name.removesuffix(".fna.gz") for name in names)
        copy = pickle.loads(pickle.dumps(loader))  # noqa: S301 - made here
        for name in names:
            plain = name.replace("c/../", "").replace("./", "")
            expected = whole.read_sequence(plain, "c", 0, 3).tobytes()
            assert loader.read_sequence(name, "c", 0, 3).tobytes() == expected
            assert copy.read_sequence(name, "c", 0, 3).tobytes() == expected
    with pytest.raises(RuntimeError, match="several"):
        fastar.FastarLoader(tmp_path, names="a")


def test_what_the_system_refuses_is_a_runtime_error_too(tmp_path: Path) -> None:
    for call in (
        lambda: fastar.FastarLoader(tmp_path / "none"),
        lambda: fastar.read_sequence(tmp_path / "none.fna.gz", "c", 0, 3),
    ):
        with pytest.raises(RuntimeError, match="none") as raised:
            call()
        assert isinstance(raised.value, FileNotFoundError)
    write_genomes(tmp_path, {"a": "A"})
    with pytest.raises(RuntimeError, match="out of any contig"):
        fastar.FastarLoader(tmp_path).read_sequence("a", "c", 0, 1 << 70)
