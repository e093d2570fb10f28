"""`seqmill kmers` as a command: exit codes, pipes, examples, kill and resume."""

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from seqmill.cli.kmers import command as kmers

if TYPE_CHECKING:
    from conftest import RunCommand

EXAMPLES = [
    pytest.param(example.line, id=f"{name}-{number}")
    for name, subcommand in kmers.commands.items()
    for number, example in enumerate(subcommand.examples)
]


@pytest.mark.parametrize("name", list(kmers.commands))
def test_every_command_has_three_examples(name: str) -> None:
    examples = kmers.commands[name].examples
    assert len(examples) >= 3
    assert all(f"seqmill kmers {name}" in example.line for example in examples)


@pytest.mark.slow
@pytest.mark.parametrize("line", EXAMPLES)
def test_example_runs(
    line: str, example_data: Path, tmp_path: Path, command_environment: dict[str, str]
) -> None:
    folder = tmp_path / "work"
    shutil.copytree(example_data, folder)
    told = subprocess.run(
        ["bash", "-eu", "-c", line],
        cwd=folder,
        env=command_environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    assert "Traceback" not in told.stderr


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    path = tmp_path / "in.fa"
    path.write_text(">a\nACGTACGTNN\nacgt\n>b\nTTTTTTTT\n")
    return path


def test_text_goes_through_pipes(
    reference: Path, command_environment: dict[str, str], tmp_path: Path
) -> None:
    told = subprocess.run(
        ["seqmill", "kmers", "count", "-", "-k", "3", "-o", "-", "-q"],
        input=reference.read_bytes(),
        env=command_environment,
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    assert told.stdout == b"ACG\t3\nCGT\t3\nGTA\t1\nTAC\t1\nTTT\t6\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["in.fa"]


def test_dump_gives_text_on_stdout_by_default(
    run_seqmill: "RunCommand", reference: Path, tmp_path: Path
) -> None:
    table = tmp_path / "t.skm"
    run_seqmill("kmers", "count", reference, "-k", "3", "-q", "-o", table)
    told = run_seqmill("kmers", "dump", table)
    assert (told.returncode, told.stdout) == (0, "ACG\t3\nCGT\t3\nGTA\t1\nTAC\t1\nTTT\t6\n")
    assert run_seqmill("kmers", "dump", table, "--format", "hist").stdout == "1\t2\n3\t2\n6\t1\n"
    told = run_seqmill("kmers", "dump", table, "--format", "skm")
    assert told.returncode == 2
    assert "only text goes to stdout" in told.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["-k", "0"], 2),
        (["-k", "256"], 2),
        (["-k", "31", "--chunk-size", "30"], 2),
        (["--min-count", "3", "--max-count", "2"], 2),
        (["--format", "xml"], 2),
        (["-m", "8M"], 78),
        (["--tmpdir", "absent"], 2),
    ],
)
def test_exit_codes(
    run_seqmill: "RunCommand", reference: Path, arguments: list[str], code: int
) -> None:
    told = run_seqmill("kmers", "count", "in.fa", "-o", "out.skm", *arguments, cwd=reference.parent)
    assert told.returncode == code, told.stderr
    assert [entry.name for entry in reference.parent.iterdir()] == ["in.fa"]


def test_bad_input_and_existing_output(run_seqmill: "RunCommand", reference: Path) -> None:
    folder = reference.parent
    (folder / "bad.fa").write_text("ACGT\n")
    told = run_seqmill("kmers", "count", "bad.fa", "-o", "out.skm", cwd=folder)
    assert told.returncode == 65
    assert "line 1" in told.stderr
    assert not (folder / "out.skm").exists()
    for code in (0, 2):
        told = run_seqmill("kmers", "count", "in.fa", "-k", "3", "-o", "out.skm", cwd=folder)
        assert told.returncode == code
    told = run_seqmill("kmers", "verify", "out.skm", cwd=folder)
    assert told.returncode == 0
    told = run_seqmill("kmers", "query", "out.skm", "ACG", "NNN", cwd=folder)
    assert (told.returncode, told.stdout) == (0, "ACG\t3\nNNN\tNA\n")
    told = run_seqmill("kmers", "query", "--strict", "out.skm", "NNN", cwd=folder)
    assert told.returncode == 2


def test_the_classic_index(run_seqmill: "RunCommand", reference: Path) -> None:
    folder = reference.parent
    (folder / "long.fa").write_text(f">x\n{'ACGGT' * 20}\n")
    told = run_seqmill(
        "kmers", "index", "--reference", "long.fa", "--region", "x:1-60", "--threads", "1",
        "--verbose", "--output", "index.json", cwd=folder,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    found = json.loads((folder / "index.json").read_text())
    assert sum(found.values()) == 30
    assert all(len(kmer) == 31 for kmer in found)


def test_metrics_and_one_output_each(run_seqmill: "RunCommand", reference: Path) -> None:
    folder = reference.parent
    shutil.copy(reference, folder / "other.fa")
    told = run_seqmill(
        "kmers", "count", "in.fa", "other.fa", "-k", "3", "--per-input", "-o", "out", cwd=folder
    )
    assert told.returncode == 0, told.stderr
    assert sorted(entry.name for entry in (folder / "out").iterdir()) == ["in.skm", "other.skm"]
    told = run_seqmill(
        "kmers", "count", "in.fa", "-k", "3", "-o", "m.skm", "--metrics", "m.json", cwd=folder
    )
    document = json.loads((folder / "m.json").read_text())
    assert document["detail"]["total"] == 14
    assert document["detail"]["skipped_symbols"] == 2


def test_a_killed_count_goes_on(
    tmp_path: Path, run_seqmill: "RunCommand", command_environment: dict[str, str]
) -> None:
    random = np.random.default_rng(5)
    letters = np.frombuffer(b"ACGT", np.uint8)
    with (tmp_path / "in.fa").open("wb") as out:
        for number in range(24):
            out.write(b">r%d\n" % number)
            out.write(letters[random.integers(0, 4, 500_000)].tobytes() + b"\n")
    arguments = ["kmers", "count", "in.fa", "-k", "25", "--unit-bases", "1000000"]
    whole = run_seqmill(*arguments, "-o", "whole.skm", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    for delay in (0.5, 0.9):
        running = subprocess.Popen(
            ["seqmill", *arguments, "-o", "cut.skm", "-q"],
            cwd=tmp_path,
            env=command_environment,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(delay)
        running.send_signal(signal.SIGKILL)
        running.wait()
        again = run_seqmill(*arguments, "-o", "cut.skm", "--resume", "--force", cwd=tmp_path)
        assert again.returncode == 0, again.stderr
        assert (tmp_path / "cut.skm").read_bytes() == (tmp_path / "whole.skm").read_bytes()
        (tmp_path / "cut.skm").unlink()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["in.fa", "whole.skm"]


def test_several_units_have_the_bytes_of_one(tmp_path: Path, run_seqmill: "RunCommand") -> None:
    (tmp_path / "in.fa").write_text("".join(f">r{i}\nACGTTGCA{'ACG' * i}\n" for i in range(50)))
    for name, unit in (("one", "1000000"), ("many", "100")):
        told = run_seqmill(
            "kmers", "count", "in.fa", "-k", "13", "--unit-bases", unit, "-o", f"{name}.skm",
            cwd=tmp_path,
        )  # fmt: skip
        assert told.returncode == 0, told.stderr
    assert (tmp_path / "one.skm").read_bytes() == (tmp_path / "many.skm").read_bytes()
