"""AGC archives as files of a store: every golden archive, whole and by window."""

import hashlib
import json
import pickle
import random
import shutil
from pathlib import Path

import pytest

from seqmill import FastaStore, errors

GOLDEN = (
    "mers_default",
    "mers_small_packs",
    "mers_file_version_1",
    "chlamydia_appended_adaptive",
    "edge_k21_s1000",
)


@pytest.fixture
def archives(shared_data: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "archives"
    folder.mkdir()
    for name in GOLDEN:
        shutil.copyfile(shared_data / "agc" / f"{name}.agc", folder / f"{name}.agc")
    try:
        FastaStore.open(folder / "mers_default.agc")
    except errors.FormatError as error:
        if "this build" in str(error):
            pytest.skip("this build has no reader of archives")
        raise
    return folder


def read_everything(path: Path) -> None:
    store = FastaStore.open(path)
    for name in store.names:
        for contig, _ in store.contigs(name):
            store.fetch(name, contig)


def short(header: str) -> str:
    return header.split(None, 1)[0]


def test_samples_of_archives_are_files(archives: Path, shared_data: Path) -> None:
    (archives / "plain.fa").write_text(">c\nACGT\n")
    store = FastaStore.open(archives)
    draw = random.Random(1)  # noqa: S311
    names = ["plain"]
    for name in GOLDEN:
        told = json.loads((shared_data / "agc" / f"{name}.json").read_text())
        names += [f"{name}/{sample}" for sample in told["samples"]]
        windows, expected = [], []
        for sample, about in told["samples"].items():
            file = f"{name}/{sample}"
            assert store.contigs(file) == [
                (short(c["name"]), c["length"]) for c in about["contigs"]
            ]
            for contig in about["contigs"]:
                whole = store.fetch(file, short(contig["name"]))
                assert hashlib.sha256(whole).hexdigest() == contig["sha256"]
                start = draw.randrange(len(whole))
                end = draw.randint(start, len(whole))
                windows.append((file, short(contig["name"]), start, end))
                expected.append(whole[start:end])
        order = draw.sample(range(len(windows)), min(len(windows), 120))
        batch = store.fetch_many([windows[i] for i in order], encode="bytes", threads=2)
        assert batch == [expected[i] for i in order]
    assert store.names == sorted(names, key=str.encode)
    copy = pickle.loads(pickle.dumps(store))  # noqa: S301 - made here
    assert copy.fetch("plain", "c") == b"ACGT"
    assert not FastaStore.open(archives)._native.was_built


def test_one_sample_and_damage(archives: Path, shared_data: Path) -> None:
    one = FastaStore.open(f"{archives}/mers_default.agc:EMC_2012")
    assert one.names == ["mers_default/EMC_2012"]
    with pytest.raises(KeyError, match="no sample"):
        FastaStore.open(f"{archives}/mers_default.agc:EMC")
    with pytest.raises(errors.InputError, match="packed already"):
        one.pack(0)
    for path in sorted((shared_data / "agc" / "invalid").glob("*.agc")):
        copy = archives / path.name
        shutil.copyfile(path, copy)
        # Some can be opened; what is damaged in them is not given out.
        with pytest.raises(errors.FormatError, match=path.stem):
            read_everything(copy)


def test_an_archive_that_was_replaced_is_never_read_by_old_numbers(archives: Path) -> None:
    # More than a process keeps open.
    for number in range(5):
        shutil.copyfile(archives / "mers_default.agc", archives / f"copy{number}.agc")
    store = FastaStore.open(archives)
    name = next(name for name in store.names if name.startswith("mers_default/"))
    contig, length = store.contigs(name)[0]
    before = store.fetch(name, contig, 0, 50)
    other = archives / "mers_small_packs.agc"
    other.replace(archives / "mers_default.agc")
    # What is open is still the archive that was indexed.
    assert store.fetch(name, contig, 0, 50) == before
    for number in range(5):
        store.fetch(name.replace("mers_default", f"copy{number}"), contig, 0, 50)
    with pytest.raises(errors.StaleIndexError, match="changed"):
        store.fetch(name, contig, 0, length)
    with pytest.raises(errors.StaleIndexError, match="changed"):
        store.fetch_many([(name, contig, 0, 9)])
