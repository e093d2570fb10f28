"""`seqmill fetch`: the output of `samtools faidx`, exit codes, pipes."""

import gzip
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from seqmill import FastaStore

Run = Callable[..., "subprocess.CompletedProcess[str]"]
REGIONS = ["chr1:101-260", "chr1:59,990-70,000", "chr2", "HLA-A*01:01:5-9", "{chr2}:3-3"]


@pytest.fixture
def folder(example_data: Path, tmp_path: Path) -> Path:
    for name in ("genome.fa", "genome.fa.gz", "regions.bed"):
        (tmp_path / name).write_bytes((example_data / name).read_bytes())
    return tmp_path


@pytest.mark.parametrize("name", ["genome.fa", "genome.fa.gz"])
def test_output_equals_samtools(run_seqmill: Run, folder: Path, name: str) -> None:
    if shutil.which("samtools") is None:
        pytest.skip("samtools is not installed")
    reference = folder / "reference"
    reference.mkdir()
    shutil.copy(folder / name, reference)
    for flags in ([], ["-i"]):
        command = ["samtools", "faidx", *flags, reference / name, *REGIONS]
        expected = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        told = run_seqmill("fetch", *flags, "--out-of-range", "clip", folder / name, *REGIONS)
        assert (told.returncode, told.stderr) == (0, "")
        assert told.stdout == expected
    for suffix in (".fai", ".gzi"):
        made = reference / f"{name}{suffix}"
        if made.exists():
            assert (folder / f"{name}{suffix}").read_bytes() == made.read_bytes()


def test_bed_with_strands(run_seqmill: Run, folder: Path) -> None:
    (folder / "w.bed").write_text("chr1\t0\t4\ta\t0\t+\nchr1\t0\t4\tb\t0\t-\n")
    told = run_seqmill("fetch", folder / "genome.fa", "-R", folder / "w.bed", "--format", "bed-seq")
    forward, reverse = (line.split("\t") for line in told.stdout.splitlines())
    assert forward[:6] == ["chr1", "0", "4", "a", "0", "+"]
    assert reverse[6] == forward[6][::-1].translate(str.maketrans("ACGT", "TGCA"))


def test_errors_have_their_exit_codes(run_seqmill: Run, folder: Path) -> None:
    fasta = folder / "genome.fa"
    for arguments, code, words in (
        ([fasta], 2, "no region"),
        ([fasta, "chr9"], 2, "closest"),
        ([fasta, "chr1:60,001-60,002"], 2, "reaches out"),
        ([fasta, "chr1:9-1"], 2, "begin is behind end"),
        ([folder / "none.fa", "chr1"], 74, "none.fa"),
        ([folder, "chr1"], 2, "one name"),
    ):
        told = run_seqmill("fetch", *arguments)
        assert told.returncode == code, told.stderr
        assert words in told.stderr
        assert "Traceback" not in told.stderr


def test_a_contig_of_several_files_needs_a_name(run_seqmill: Run, tmp_path: Path) -> None:
    for name in "abcd":
        (tmp_path / f"{name}.fa").write_text(">chr1\nACGT\n")
    told = run_seqmill("fetch", tmp_path, "chr1:1-2")
    assert told.returncode == 2
    assert "is in 4 files (a, b, c, ...); name (--name) says which" in told.stderr
    assert run_seqmill("fetch", tmp_path, "--name", "c", "chr1:1-2").stdout == ">chr1:1-2\nAC\n"
    (tmp_path / "c.fa").unlink()
    (tmp_path / "d.fa").unlink()
    assert "is in 2 files (a, b); name" in run_seqmill("fetch", tmp_path, "chr1:1-2").stderr


def test_output_file_is_whole_or_not_there(run_seqmill: Run, folder: Path) -> None:
    out = folder / "out.fa"
    assert run_seqmill("fetch", folder / "genome.fa", "chr1", "-o", out).returncode == 0
    assert run_seqmill("fetch", folder / "genome.fa", "chr1", "-o", out).returncode == 2
    other = folder / "other.fa"
    told = run_seqmill("fetch", folder / "genome.fa", "chr1:1-5", "chr9", "-o", other)
    assert told.returncode == 2
    assert not [path for path in folder.iterdir() if "other" in path.name]


def test_lists_index_and_check(run_seqmill: Run, folder: Path) -> None:
    path = folder / "genome.fa.gz"
    built = run_seqmill("fetch", path, "--index-only").stdout
    assert "genome.fa.gz.fai" in built
    assert run_seqmill("fetch", path, "--list", "names").stdout == "genome\n"
    assert "genome\tchr1\t60000\n" in run_seqmill("fetch", path, "--list", "contigs").stdout
    assert run_seqmill("fetch", path, "--check").returncode == 0
    content = bytearray(path.read_bytes())
    content[5000] ^= 0xFF
    time = path.stat().st_mtime
    path.write_bytes(content)
    os.utime(path, (time, time))
    told = run_seqmill("fetch", path, "--check")
    assert told.returncode == 1
    assert "BGZF block at byte 0" in told.stdout


def test_arrays_hold_the_windows(run_seqmill: Run, folder: Path) -> None:
    fasta = folder / "genome.fa.gz"
    store = FastaStore.open(fasta)
    regions = ["chr1:101-160", "chr2:1-60", "chr1:201-260"]
    out = folder / "w.npy"
    for encode in ("array", "tokens", "onehot", "2bit", "softmask"):
        told = run_seqmill(
            "fetch", "-f", fasta, *regions, "--format", "npy", "--encode", encode, "-o", out
        )
        assert told.returncode == 0, told.stderr
        windows = [(0, "chr1", 100, 160), (0, "chr2", 0, 60), (0, "chr1", 200, 260)]
        expected = store.fetch_many(windows, encode=encode)
        found = np.load(out, allow_pickle=False)
        assert found.dtype == expected.dtype
        assert (found == expected).all()
    ragged = [*regions, "chr2:5-7"]
    told = run_seqmill("fetch", "-f", fasta, *ragged, "--format", "npy", "-o", out)
    assert (told.returncode, "npz" in told.stderr) == (2, True)
    assert run_seqmill("fetch", fasta, "chr1:1-2", "--encode", "tokens").returncode == 2
    packed = folder / "w.npz"
    arguments = ["fetch", "-i", fasta, *ragged, "--format", "npz", "--encode", "onehot"]
    assert run_seqmill(*arguments, "-o", packed).returncode == 0
    again = folder / "again.npz"
    assert run_seqmill(*arguments, "-@", "2", "-o", again).returncode == 0
    assert packed.read_bytes() == again.read_bytes()
    with np.load(packed, allow_pickle=False) as archive:
        assert archive["offsets"].tolist() == [0, 60, 120, 180, 183]
        assert archive["regions"].tolist() == ragged
        assert archive["strands"].tolist() == [-1] * 4
        last = store.fetch(0, "chr2", 4, 7, strand="-", encode="onehot")
        assert (archive["data"][180:] == last).all()


def test_figures_and_page(run_seqmill: Run, folder: Path) -> None:
    pytest.importorskip("matplotlib")
    fasta, figures, page = folder / "genome.fa.gz", folder / "m.json", folder / "p.html"
    out = folder / "w.fa"
    regions = ["chr1:101-160", "chr2:1-60", "chr1:201-230"]
    told = run_seqmill("fetch", fasta, *regions, "-o", out, "--metrics", figures, "--html", page)
    assert (told.returncode, told.stderr) == (0, "")
    document = json.loads(figures.read_text())
    assert document["job"]["command"] == "fetch"
    assert document["detail"]["windows"] == {
        "count": 3,
        "bases": 150,
        "lengths": [[30, 1], [60, 2]],
    }
    assert document["detail"]["store"]["files"] == 1
    text = page.read_text()
    assert "Windows by length" in text
    assert len(text) < 300 << 10
    arguments = ["fetch", fasta, "chr9", "--metrics", figures]
    assert run_seqmill(*arguments).returncode == 2
    assert json.loads(figures.read_text())["job"]["status"] == "failed"
    assert run_seqmill("fetch", fasta, *regions, "--html", page).returncode == 2


def test_input_is_never_replaced(run_seqmill: Run, folder: Path) -> None:
    fasta = folder / "genome.fa"
    before = fasta.read_bytes()
    (folder / "link.fa").symlink_to(fasta)
    for source, output in ((fasta, fasta), (folder / "link.fa", fasta), (f"{folder}/*.fa", fasta)):
        if source != fasta and not str(source).endswith("link.fa"):
            (folder / "link.fa").unlink()
        told = run_seqmill("fetch", source, "chr1:1-9", "-f", "-o", output)
        assert (told.returncode, "is an input and the output" in told.stderr) == (2, True), (
            told.stderr
        )
        assert fasta.read_bytes() == before


def test_files_of_regions(run_seqmill: Run, folder: Path) -> None:
    fasta = folder / "genome.fa"
    expected = run_seqmill("fetch", fasta, "chr1:1-9", "chr2:3-4").stdout
    (folder / "list.txt.gz").write_bytes(gzip.compress(b"chr1:1-9\r\n\n  chr2:3-4 \n"))
    (folder / "LIST.BED").write_text("chr1\t0\t9\nchr2\t2\t4\n")
    (folder / "list.bed.bgz").write_bytes(gzip.compress(b"chr1\t0\t9\nchr2\t2\t4\n"))
    for name in ("list.txt.gz", "LIST.BED", "list.bed.bgz"):
        told = run_seqmill("fetch", fasta, "-R", folder / name)
        assert (told.returncode, told.stdout) == (0, expected), told.stderr
    (folder / "odd.txt").write_bytes(b"chr\xff:1-9\n")
    nines = "9" * 5000
    (folder / "odd.bed").write_text(f"chr1\t0\t{nines}\n")
    for arguments, code in (
        (["-R", folder / "odd.txt"], 2),
        (["-R", folder / "odd.bed"], 65),
        ([f"chr1:{nines}"], 2),
        ([f"chr1:1-{nines[:25]}", "--out-of-range", "clip"], 2),
    ):
        told = run_seqmill("fetch", fasta, *arguments)
        assert (told.returncode, "internal" in told.stderr) == (code, False), told.stderr


def test_faults_go_where_they_are_asked_for(run_seqmill: Run, folder: Path) -> None:
    (folder / "bad.fa").write_text(">a\nACGT\nA\nAC\n")
    told = run_seqmill("fetch", folder / "bad.fa", "--check", "-o", folder / "faults.txt")
    assert (told.returncode, told.stdout) == (1, "")
    assert "line 4" in (folder / "faults.txt").read_text()


def test_devices_and_pipes_are_never_replaced(run_seqmill: Run, folder: Path) -> None:
    pipe = folder / "pipe"
    os.mkfifo(pipe)
    (folder / "link").symlink_to(pipe)
    for flags in ([], ["-f"]):
        for output in (pipe, folder / "link"):
            told = run_seqmill("fetch", folder / "genome.fa", "chr1:1-9", *flags, "-o", output)
            assert (told.returncode, "device or pipe" in told.stderr) == (2, True), told.stderr
            assert output.is_fifo()
