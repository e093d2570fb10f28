"""`seqmill kmers` interrupted: killed units and partials, full disks."""

import gzip
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from conftest import RunCommand

COUNT = ["kmers", "count", "in.fa", "-k", "25", "-q"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a genome of eight records."""
    random = np.random.default_rng(9)
    letters = np.frombuffer(b"ACGT", np.uint8)
    with (tmp_path / "in.fa").open("wb") as out:
        for number in range(8):
            out.write(b">r%d\n" % number)
            out.write(letters[random.integers(0, 4, 250_000)].tobytes() + b"\n")
    return tmp_path


@pytest.fixture
def small_disk(mount_disk: Callable[[str], Path]) -> Path:
    """A file system with room for 4 MiB."""
    return mount_disk("4m")


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_full_disk_keeps_finished_units(
    folder: Path, run_seqmill: "RunCommand", small_disk: Path
) -> None:
    output = small_disk / "out.skm"
    arguments = [*COUNT, "--unit-bases", "500000", "-o", output]
    told = run_seqmill(*arguments, cwd=folder)
    assert told.returncode == 74, told.stderr
    assert "no space left" in told.stderr.lower()
    assert "--resume" in told.stderr
    assert not output.exists()
    assert any((small_disk / "out.skm.seqmill" / "parts").iterdir())
    # Room is made: the same run goes on.
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    told = run_seqmill(*arguments, "--resume", cwd=folder)
    assert told.returncode == 0, told.stderr
    assert run_seqmill(*COUNT, "-o", "whole.skm", cwd=folder).returncode == 0
    assert output.read_bytes() == (folder / "whole.skm").read_bytes()
    assert names(small_disk) == ["out.skm"]


def test_a_full_disk_of_temporary_files(
    folder: Path, run_seqmill: "RunCommand", small_disk: Path
) -> None:
    # What does not fit 64 MiB goes to the small disk.
    with (folder / "big.fa").open("wb") as out:
        letters = np.frombuffer(b"ACGT", np.uint8)
        random = np.random.default_rng(3)
        for number in range(8):
            out.write(b">r%d\n" % number)
            out.write(letters[random.integers(0, 4, 1_500_000)].tobytes() + b"\n")
    told = run_seqmill(
        "kmers", "count", "big.fa", "-k", "31", "-m", "64M", "--tmpdir", small_disk, "-o",
        "out.skm", "-q", cwd=folder,
    )  # fmt: skip
    assert told.returncode == 74, told.stderr
    assert str(small_disk) in told.stderr
    assert not (folder / "out.skm").exists()
    assert names(small_disk) == []


def test_a_killed_partial_is_counted_again(
    folder: Path, run_seqmill: "RunCommand", command_environment: dict[str, str]
) -> None:
    # With an index a batch knows its own stretch, and the footers add up to that of one count.
    assert run_seqmill("fetch", "in.fa", "--index-only", cwd=folder).returncode == 0
    plan = ["kmers", "plan", "in.fa", "-k", "25", "--batch-bases", "1000000", "-o", "plan.tsv"]
    assert run_seqmill(*plan, "--chunk-size", "100000", cwd=folder).returncode == 0
    parts = []
    for batch in range(2):
        part = f"part_{batch}.skm"
        parts.append(part)
        chunk = ["kmers", "chunk", "in.fa", "--plan", "plan.tsv", "--batch", str(batch)]
        chunk += ["-k", "25", "-o", part]
        running = subprocess.Popen(
            ["seqmill", *chunk], cwd=folder, env=command_environment, stderr=subprocess.DEVNULL
        )
        time.sleep(0.3)
        running.send_signal(signal.SIGKILL)
        running.wait()
        told = run_seqmill(*chunk, "--force", "--resume", cwd=folder)
        assert told.returncode == 0, told.stderr
    # One that is cut is no partial.
    whole = (folder / parts[1]).read_bytes()
    (folder / parts[1]).write_bytes(whole[: len(whole) // 2])
    merge = ["kmers", "merge", *parts, "--plan", "plan.tsv", "-o", "all.skm"]
    told = run_seqmill(*merge, cwd=folder)
    assert told.returncode == 65, told.stderr
    assert "part_1.skm" in told.stderr
    assert not (folder / "all.skm").exists()
    (folder / parts[1]).write_bytes(whole)
    assert run_seqmill(*merge, cwd=folder).returncode == 0
    assert run_seqmill(*COUNT, "-o", "whole.skm", cwd=folder).returncode == 0
    assert (folder / "all.skm").read_bytes() == (folder / "whole.skm").read_bytes()


@pytest.mark.slow
def test_killed_behind_units_of_64_million_bases(
    shared_data: Path,
    tmp_path: Path,
    run_seqmill: "RunCommand",
    command_environment: dict[str, str],
) -> None:
    with (tmp_path / "in.fa").open("wb") as out:
        for packed in sorted((shared_data / "real" / "yeast").glob("*.fa.gz")) * 2:
            with gzip.open(packed) as file:
                shutil.copyfileobj(file, out)
    count = [*COUNT, "-m", "256M", "--unit-bases", "64000000"]
    told = run_seqmill(*count, "-o", "whole.skm", cwd=tmp_path, timeout=600)
    assert told.returncode == 0, told.stderr
    resumed = False
    for delay in (0.5, 1.5, 3, 5, 8):
        running = subprocess.Popen(
            ["seqmill", *count, "-o", "cut.skm"],
            cwd=tmp_path,
            env=command_environment,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(delay)
        running.send_signal(signal.SIGKILL)
        running.wait()
        parts = tmp_path / "cut.skm.seqmill" / "parts"
        resumed = resumed or (parts.exists() and (parts / "unit-000000.skm").exists())
        told = run_seqmill(
            *count, "-o", "cut.skm", "--resume", "--force", cwd=tmp_path, timeout=600
        )
        assert told.returncode == 0, told.stderr
        assert (tmp_path / "cut.skm").read_bytes() == (tmp_path / "whole.skm").read_bytes()
        (tmp_path / "cut.skm").unlink()
    assert resumed
    assert names(tmp_path) == ["in.fa", "whole.skm"]
