"""Files that are not what their index says: an error, never wrong bases."""

import os
import pickle
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from seqmill import FastaStore, errors
from seqmill._native import bgzf_compress

EOF = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
SEQUENCE = "".join(random.Random(4).choices("ACGT", k=1000))  # noqa: S311
OTHER = "".join(random.Random(5).choices("ACGT", k=1000))  # noqa: S311


def lines(bases: str, width: int, end: str = "\n") -> str:
    return "".join(bases[at : at + width] + end for at in range(0, len(bases), width))


def write(path: Path, text: str) -> None:
    raw = text.encode()
    path.write_bytes(bgzf_compress(raw) + EOF if path.suffix == ".gz" else raw)


WRAPPED = f">c\n{lines(SEQUENCE, 60)}"
CHANGES = {
    "wider": f">c\n{lines(SEQUENCE, 70)}",
    "narrower": f">c\n{lines(SEQUENCE, 20)}",
    "one line": f">c\n{SEQUENCE}\n",
    "carriage returns": f">c\n{lines(SEQUENCE, 60, chr(13) + chr(10))}",
    "longer": f">c\n{lines(SEQUENCE + OTHER, 60)}",
    "shorter": f">c\n{lines(SEQUENCE[:300], 60)}>d\n{lines(OTHER, 60)}",
}


@pytest.mark.parametrize("name", ["x.fa", "x.fa.gz"])
@pytest.mark.parametrize("change", [*CHANGES, "from one line"])
@pytest.mark.parametrize("is_newer", [False, True])
def test_other_lines_behind_the_same_header(
    tmp_path: Path, name: str, change: str, *, is_newer: bool
) -> None:
    path = tmp_path / name
    before, after = WRAPPED, CHANGES.get(change)
    if after is None:
        before, after = CHANGES["one line"], WRAPPED
    write(path, before)
    FastaStore.open(path)
    write(path, after)
    for side in (*tmp_path.glob("*.fai"), *tmp_path.glob("*.gzi")):
        # As a copy or a checkout leaves it: that it is old does not show.
        when = path.stat().st_mtime + (5 if is_newer else -5)
        os.utime(side, (when, when))
    try:
        store = FastaStore.open(path)
    except errors.StaleIndexError:
        assert not is_newer
    else:
        for start in range(0, 990, 7):
            for read in (store.fetch, one_row(store)):
                with pytest.raises(errors.StaleIndexError, match="not where the index says"):
                    read("x", "c", start, start + 5)
    with pytest.warns(UserWarning, match="built anew"):
        store = FastaStore.open(path, rebuild_stale=True)
    bases = "".join(after.split(">d")[0].split()[1:])
    assert store.fetch("x", "c", encode="str") == bases
    assert FastaStore.open(path).fetch("x", "c", encode="str") == bases


def one_row(store: FastaStore) -> Callable[..., bytes]:
    return lambda *window: store.fetch_many([window], encode="bytes")[0]


def test_a_sidecar_goes_with_the_file_that_it_was_made_of(tmp_path: Path) -> None:
    path = tmp_path / "x.fa"
    write(path, WRAPPED)
    FastaStore.open(tmp_path).pack("x")
    store = FastaStore.open(tmp_path, pack="require")
    assert store.fetch("x", "c", 0, 9, encode="str") == SEQUENCE[:9]
    handle = pickle.dumps(store)
    path.unlink()
    write(path, f">c\n{lines(OTHER, 60)}")
    time.sleep(0.1)
    # The sidecar still has what the index describes, but that is no more.
    for reader in (store, pickle.loads(handle), FastaStore.open(tmp_path, validate="none")):  # noqa: S301
        for read in (reader.fetch, one_row(reader)):
            with pytest.raises(errors.StaleIndexError, match="changed"):
                read("x", "c", 0, 9)
    with pytest.raises(errors.StaleIndexError, match="no packed sidecar"):
        FastaStore.open(tmp_path, pack="require").fetch("x", "c", 0, 9)
    assert FastaStore.open(tmp_path).fetch("x", "c", 0, 9, encode="str") == OTHER[:9]


def test_pipes_are_no_sequence_files(tmp_path: Path) -> None:
    write(tmp_path / "x.fa", WRAPPED)
    os.mkfifo(tmp_path / "pipe.fa")
    assert FastaStore.open(tmp_path).names == ["x"]
    with pytest.raises(errors.InputError, match="no regular file"):
        FastaStore.open(tmp_path / "pipe.fa")
