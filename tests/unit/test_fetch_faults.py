"""What happens to stores when the world around them does not hold still."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from seqmill import FastaStore, errors

INDEX = ".seqmill-fasta-index-v1"
OPEN = "import sys; from seqmill import FastaStore; print(len(FastaStore.open(sys.argv[1])))"


def write_genomes(folder: Path, count: int, bases: int = 400) -> dict[str, str]:
    draw = random.Random(count)  # noqa: S311
    genomes = {f"g{n:04}": "".join(draw.choices("ACGT", k=bases + n % 9)) for n in range(count)}
    for name, text in genomes.items():
        lines = "\n".join(text[at : at + 60] for at in range(0, len(text), 60))
        (folder / f"{name}.fa").write_text(f">{name}\n{lines}\n")
    return genomes


# What other tests left open must not count: a process of its own.
FEW_DESCRIPTORS = """
import json, random, resource, sys
from seqmill import FastaStore

genomes = json.load(sys.stdin)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
store = FastaStore.open(sys.argv[1])
for name, text in genomes.items():
    assert store.fetch(name, name, 10, 70, encode="str") == text[10:70]
names = random.Random(1).choices(list(genomes), k=3000)
for _ in range(2):
    rows = store.fetch_many([(n, n, 5, 25) for n in names], threads=4)
    assert [row.tobytes().decode() for row in rows] == [genomes[n][5:25] for n in names]
    for name in store.names[:100]:
        store.pack(name)
    store = FastaStore.open(sys.argv[1])
print(len(store))
"""


def test_a_thousand_files_under_a_limit_of_64_descriptors(tmp_path: Path) -> None:
    genomes = write_genomes(tmp_path, 1000, 80)
    command = [sys.executable, "-c", FEW_DESCRIPTORS, os.fspath(tmp_path)]
    done = subprocess.run(
        command, input=json.dumps(genomes), text=True, capture_output=True, check=False
    )
    assert done.stdout == "1000\n", done.stderr


def test_a_killed_builder_leaves_nothing_that_matters(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    genomes = write_genomes(source, 300)
    whole = FastaStore.open(shutil.copytree(source, tmp_path / "whole"))
    content = (tmp_path / "whole" / "g0007.fa.fai").read_bytes()
    draw = random.Random(4)  # noqa: S311
    kills = 0
    for attempt in range(5):
        root = shutil.copytree(source, tmp_path / f"root{attempt}")
        command = [sys.executable, "-c", OPEN, os.fspath(root)]
        builder = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        # From the first side file on it is building; then a moment more or less.
        while builder.poll() is None and not any(root.glob("*.fai")):
            time.sleep(0.0005)
        time.sleep(draw.uniform(0, 0.02))
        builder.send_signal(signal.SIGKILL)
        kills += builder.wait() == -signal.SIGKILL
        store = FastaStore.open(root)
        assert (root / "g0007.fa.fai").read_bytes() == content
        assert store.names == whole.names
        assert store.fetch("g0007", "g0007", encode="str") == genomes["g0007"]
        assert store.check() == []
    assert kills > 0


def replace(path: Path, text: str) -> None:
    """As an editor or a download does it: another file takes the name."""
    other = path.with_suffix(".other")
    other.write_text(text)
    other.replace(path)


def test_a_file_replaced_under_a_running_job(tmp_path: Path) -> None:
    (tmp_path / "a.fa").write_text(">c\nACGTACGT\n")
    (tmp_path / "b.fa").write_text(">c\nGGGGCCCC\n")
    store = FastaStore.open(tmp_path)
    assert store.fetch("a", "c", 0, 4) == b"ACGT"
    for name in "ab":
        replace(tmp_path / f"{name}.fa", ">c\nTTTTTTTT\n")
    # The file that is open is still the one that was indexed; the other is not.
    assert store.fetch("a", "c", 4, 8) == b"ACGT"
    for _ in range(2):
        with pytest.raises(errors.StaleIndexError, match=r"b\.fa.*changed"):
            store.fetch("b", "c", 0, 4)
        with pytest.raises(errors.StaleIndexError):
            store.fetch_many([("b", "c", 0, 4)])
    assert FastaStore.open(tmp_path).fetch("a", "c") == b"T" * 8
    # Written to in place: noticed soon, at the latest when the file is opened again.
    store = FastaStore.open(tmp_path)
    assert store.fetch("b", "c", 0, 4) == b"TTTT"
    (tmp_path / "b.fa").write_text(">c\nAAAAAAAA\n")
    time.sleep(0.1)
    with pytest.raises(errors.StaleIndexError, match=r"b\.fa.*changed"):
        store.fetch("b", "c", 0, 4)


@pytest.fixture(params=["file size limit", "small file system"])
def full_disk(
    request: pytest.FixtureRequest, tmp_path: Path, mount_disk: Callable[[str], Path]
) -> tuple[Path, str]:
    """A root where the index does not fit, and what a program must do first."""
    if request.param == "file size limit":
        root = tmp_path / "root"
        root.mkdir()
        write_genomes(root, 40, 60)
        limit = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (4500, 4500))\n"
        return root, limit
    root = mount_disk("324k")
    write_genomes(root, 40, 60)  # A page each, as for each side file: one page is left.
    return root, ""


def test_a_full_disk(
    full_disk: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, before = full_disk
    program = before + (
        "import sys\nfrom seqmill import FastaStore\nstore = FastaStore.open(sys.argv[1])\n"
        "print(store.index_path)\n"
        "print(all(len(store.fetch(n, n)) >= 60 for n in store.names))\n"
        "try:\n    print(store.pack('g0001')[0])\nexcept OSError as error:\n    print(error.errno)"
    )
    cache = tmp_path / "cache"
    for told in (cache, Path("/proc/nowhere")):
        monkeypatch.setenv("SEQMILL_CACHE_DIR", os.fspath(told))
        done = subprocess.run(
            [sys.executable, "-c", program, root], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        index, right, packed = done.stdout.splitlines()
        assert right == "True"
        assert not index.startswith(os.fspath(root))
        assert not list(root.glob("*.tmp.*"))
        assert not (root / INDEX).exists()
        # It fits, or it went elsewhere, or the system's number of the error was told.
        assert packed.isdigit() or Path(packed).stat().st_size > 4096
        Path(root, "g0001.sqm2").unlink(missing_ok=True)
    assert FastaStore.open(root, no_cache=True).check() == []


def test_threads_and_batches_take_turns_on_files_that_are_closed(tmp_path: Path) -> None:
    genomes = write_genomes(tmp_path, 30)
    store = FastaStore.open(tmp_path, open_files=2, cache_size=0)
    windows = [(n, n, at, at + 50) for at in range(0, 300, 60) for n in genomes]
    expected = [genomes[n][a:b].encode() for n, _, a, b in windows]
    for threads in (1, 2, 8):
        rows = store.fetch_many(windows, threads=threads)
        assert rows.tobytes() == b"".join(expected)
    assert rows.dtype == np.uint8


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b">a\r\nACGT\r\nAC T\r\nACGT\r\n", "behind a short"),
        (b">a\nAC T\nACGT\n", "different line lengths"),
        (b">a\nACGT\nA\xfdGT\n", "byte 0xfd"),
    ],
)
def test_lines_in_which_no_position_is_right_are_refused(
    tmp_path: Path, text: bytes, told: str
) -> None:
    """Windows behind such a line were shifted; the error names the file."""
    path = tmp_path / "x.fa"
    path.write_bytes(text)
    with pytest.raises(errors.FormatError, match=told) as caught:
        FastaStore.open(path)
    assert caught.value.path == str(path)
