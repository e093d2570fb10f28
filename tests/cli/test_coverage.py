"""The command `seqmill coverage`: least budget, pipes, resume, full disk."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def bam(example_data: Path) -> Path:
    return example_data / "small.bam"


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_least_budget_gives_the_same_bytes(run_seqmill, bam: Path, tmp_path: Path) -> None:
    made = []
    for threads, memory in (("1", "64M"), ("2", "256M"), ("8", "1G")):
        output = tmp_path / memory
        done = run_seqmill(
            "coverage",
            bam,
            "--windows",
            "500",
            "--mates",
            "once",
            "--parquet",
            "-o",
            output,
            "-@",
            threads,
            "-m",
            memory,
            "--metrics",
            tmp_path / "m.json",
        )
        assert done.returncode == 0, done.stderr
        memory_figures = json.loads((tmp_path / "m.json").read_text())["memory"]
        assert memory_figures["rss_peak"] <= memory_figures["limit"]
        made.append(files_of(output))
    assert made[0] == made[1] == made[2]


def test_without_output_the_table_goes_to_stdout(run_seqmill, bam: Path) -> None:
    done = run_seqmill("coverage", bam, "-r", "chr1:1-100", "-q")
    heading, row = done.stdout.splitlines()
    assert heading.startswith("region\tlabel\tlength\tbases\tmean\tmedian\tmin\tmax\tcov1\t")
    assert row.startswith("chr1:1-100\t\t100\t")


def test_one_object_about_a_region(run_seqmill, tmp_path: Path) -> None:
    fasta = tmp_path / "x.fa"
    fasta.write_text(">a\nACGTNN\n>b\nGG\n")
    output = tmp_path / "output.json"
    done = run_seqmill("coverage", fasta, "--single", "a:2-5", "-k", "2", "-o", output)
    assert done.returncode == 0, done.stderr
    found = json.loads(output.read_text())
    assert (found["region"], found["gc_content"], found["sequence_length"]) == ("a:2-5", 0.5, 4)
    whole = json.loads(run_seqmill("coverage", fasta, "--single", "all").stdout)
    assert (whole["region"], whole["gc_content"], whole["sequence_length"]) == (None, 0.5, 8)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["-r", "nosuch"], (2, "unknown sequence")),
        (["--thresholds", "1,x"], (2, "thresholds takes")),
        (["-k", "0"], (2, "0 is not in the range")),
        (["-m", "1M"], (78, "memory budget")),
        (["-R", "bad.txt"], (65, "line 1")),
    ],
)
def test_exit_codes(
    run_seqmill, bam: Path, tmp_path: Path, arguments: list[str], expected: tuple[int, str]
) -> None:
    code, text = expected
    (tmp_path / "bad.txt").write_text("chr1:9-3\n")
    done = run_seqmill("coverage", bam, *arguments, "-o", "out", cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert text in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_cut_file_leaves_nothing(run_seqmill, bam: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.bam"
    cut.write_bytes(bam.read_bytes()[:-1000])
    done = run_seqmill("coverage", cut, "-o", tmp_path / "out", "--per-base", tmp_path / "runs.bed")
    assert done.returncode == 65, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut.bam"]


def test_a_full_disk_is_told_and_can_be_resumed(bam: Path, tmp_path: Path, run_seqmill) -> None:
    whole = tmp_path / "whole"
    assert run_seqmill("coverage", bam, "--windows", "3", "-o", whole).returncode == 0
    output = tmp_path / "out"
    limited = subprocess.run(
        ["bash", "-c", f"ulimit -f 200; seqmill coverage {bam} --windows 3 -o {output}"],
        env={**os.environ, "PATH": f"{Path(os.sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert limited.returncode == 74, limited.stderr
    assert "--resume" in limited.stderr
    assert not output.exists()
    done = run_seqmill("coverage", bam, "--windows", "3", "-o", output, "--resume")
    assert done.returncode == 0, done.stderr
    assert files_of(output) == files_of(whole)


@pytest.mark.parametrize("seconds", [0.3, 0.6])
def test_killed_and_resumed(
    run_seqmill, command_environment, bam: Path, tmp_path: Path, seconds: float
) -> None:
    arguments = ["coverage", str(bam), "--windows", "4", "--mates", "once"]
    arguments += ["--per-base", str(tmp_path / "runs.bed")]
    output = tmp_path / "out"
    child = subprocess.Popen(
        ["seqmill", *arguments, "-o", str(output)],
        env=command_environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    time.sleep(seconds)
    child.send_signal(signal.SIGKILL)
    child.wait()
    done = run_seqmill(*arguments, "-o", output, "--resume", "--force")
    assert done.returncode == 0, done.stderr
    runs = (tmp_path / "runs.bed").read_bytes()
    whole = tmp_path / "whole"
    assert run_seqmill(*arguments, "-o", whole, "--force").returncode == 0
    assert files_of(output) == files_of(whole)
    assert runs == (tmp_path / "runs.bed").read_bytes()


STOPPED = """
import json, resource, sys
from seqmill import _native
request = json.loads(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
_native.measure_coverage(json.dumps(request))
"""


def test_a_run_goes_on_at_the_beginning_of_a_sequence(tmp_path: Path) -> None:
    from seqmill import _native, simulate  # noqa: PLC0415

    contigs = tuple((f"c{i}", 30_000) for i in range(8))
    genome = simulate.simulate_genome(simulate.GenomeOptions(contigs=contigs), seed=3)
    reads = simulate.simulate_short_reads(genome, simulate.ShortReadOptions(pairs=4_000), seed=4)
    path = tmp_path / "x.bam"
    reads.write_bam(path)
    whole, runs = tmp_path / "whole", tmp_path / "whole.bed"
    request = {
        "input": str(path),
        "semantic": {"windows": 700, "mates": "once", "region_files": False, "bins": 2},
        "threads": 2,
        "memory": 2 << 30,
        "checkpoint_seconds": 0.0,
    }
    _native.measure_coverage(json.dumps({**request, "output": str(whole), "per_base": str(runs)}))
    output, own = tmp_path / "out", tmp_path / "out.bed"
    request |= {"output": str(output), "per_base": str(own), "resume": True}
    size = runs.stat().st_size
    for part in (0.3, 0.6, 0.9):
        # The disk is full behind some of the sequences.
        stopped = subprocess.run(
            [sys.executable, "-c", STOPPED, json.dumps(request), str(int(part * size))],
            capture_output=True,
            text=True,
            check=False,
        )
        assert "File too large" in stopped.stderr
        saved = json.loads((tmp_path / "out.seqmill/checkpoint.json").read_text())
        assert saved["place"]["reference"] > 0
        assert 0 < saved["per_base"] <= part * size
    answer = json.loads(_native.measure_coverage(json.dumps(request)))
    assert answer["metrics"]["detail"]["resumed"]
    assert answer["metrics"]["totals"]["records_in"] == len(reads)
    for name in ("coverage.tsv", "merged_coverage.txt", "coverage_summary.json"):
        assert (output / name).read_bytes() == (whole / name).read_bytes()
    assert own.read_bytes() == runs.read_bytes()
