"""`seqmill repeats` at its limits: budgets, full disks, very many contigs, odd pipelines."""

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from seqmill import find_repeats
from seqmill.repeats import IndexConfig, MemoryHints, PipelineConfig

Run = Callable[..., "subprocess.CompletedProcess[str]"]
SIM = "repeats/sim/genome.fa.gz"
CONTIGS = 100_000
# Runs a command whose files may not grow beyond so many bytes.
LIMITED = """
import os, resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
os.execv(sys.argv[2], sys.argv[2:])
"""


def outputs(folder: Path, prefix: str) -> dict[str, bytes]:
    found = folder.glob(f"{prefix}.*")
    return {path.name.removeprefix(prefix): path.read_bytes() for path in found if path.is_file()}


def test_a_full_disk_leaves_nothing_under_a_final_name(
    command_environment: dict[str, str], run_seqmill: Run, shared_data: Path, tmp_path: Path
) -> None:
    program = str(Path(sys.executable).parent / "seqmill")
    options = ["--format", "library,bed,softmask", "-q"]
    command = [program, "repeats", str(shared_data / SIM), "-o", str(tmp_path / "o"), *options]
    told = subprocess.run(
        [sys.executable, "-c", LIMITED, str(256 << 10), *command],
        env=command_environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 74, told.stderr
    assert "o.so" in told.stderr or "o.seqmill" in told.stderr
    assert not outputs(tmp_path, "o")
    assert run_seqmill(*command[1:], "--resume").returncode == 0
    assert set(outputs(tmp_path, "o")) == {".bed", ".families.fa", ".softmasked.fa"}


def test_very_many_contigs(run_seqmill: Run, tmp_path: Path) -> None:
    draw = random.Random(3)  # noqa: S311 - the same contigs in every run
    unit = "".join(draw.choices("ACGT", k=120))
    path = tmp_path / "many.fa"
    with path.open("w") as file:
        for i in range(CONTIGS):
            # One in a thousand holds the repeat; the others are shorter than many a seed.
            letters = "".join(draw.choices("ACGT", k=9))
            file.write(f">c{i}\n{letters}{unit if i % 1000 == 7 else ''}\n")
    metrics = tmp_path / "m.json"
    told = run_seqmill(
        "repeats", path, "-o", tmp_path / "o", "-q", "-m", "96M", "--metrics", metrics
    )
    assert told.returncode == 0, told.stderr
    rows = (tmp_path / "o.bed").read_text().splitlines()
    assert {row.split("\t")[0] for row in rows} == {f"c{i}" for i in range(7, CONTIGS, 1000)}
    assert json.loads(metrics.read_text())["detail"]["families"] == 1


def test_simple_sequence_changes_no_other(
    run_seqmill: Run, example_data: Path, tmp_path: Path
) -> None:
    """A k-mer that can be no seed fills a bucket; what else is in it is found all the same."""
    text = (example_data / "genome.fa").read_text()
    (tmp_path / "g.fa").write_text(text)
    (tmp_path / "h.fa").write_text(f"{text}>simple\n{'A' * 600_000}\n")
    for name in "gh":
        options = ("-o", tmp_path / name, "--seed-length", "6", "--format", "bed,freq", "-q")
        assert run_seqmill("repeats", tmp_path / f"{name}.fa", *options).returncode == 0
    assert outputs(tmp_path, "g")[".bed"]
    assert {k: v for k, v in outputs(tmp_path, "g").items() if k != ".fa"} == {
        k: v for k, v in outputs(tmp_path, "h").items() if k != ".fa"
    }


@pytest.mark.parametrize("distance", [0, 1])
def test_pipelines_change_no_byte(shared_data: Path, tmp_path: Path, distance: int) -> None:
    source = shared_data / SIM
    seen = set()
    for i, pipeline in enumerate(
        (
            PipelineConfig(threads=1),
            PipelineConfig(threads=3, batch_size=1, channel_capacity=1),
            PipelineConfig(threads=2, batch_size=7, channel_capacity=5, backpressure=False),
            PipelineConfig(threads=4, batch_size=100_000, backpressure_threshold=0.0),
        )
    ):
        prefix = tmp_path / str(i)
        done = find_repeats(source, output=prefix, distance=distance, pipeline=pipeline)
        seen.add(tuple(sorted(outputs(tmp_path, str(i)).items())))
        flow = done.metrics.detail["pipeline"]
        assert flow["batch_size"] == pipeline.batch_size
        claim = flow["claim"]
        assert claim["seeds"] == done.metrics.detail["counting"]["candidates"] > 0
        assert claim["batches"] >= claim["seeds"] / pipeline.batch_size
        assert claim["most_in_flight"] <= pipeline.channel_capacity
        waits = claim["waits"] + flow["find"]["waits"]
        assert pipeline.backpressure or waits == 0
        pools = done.metrics.detail["pools"]
        assert pools["positions"]["taken"] == pools["positions"]["returned"] > 0
    assert len(seen) == 1


def test_index_options_change_no_byte(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / SIM
    hints = MemoryHints(expected_unique_kmers=10, aggressive_preallocation=True)
    seen = set()
    for i, index in enumerate(
        (IndexConfig(), IndexConfig(parallel=False), IndexConfig(memory_hints=hints))
    ):
        done = find_repeats(source, output=tmp_path / str(i), threads=2, index=index)
        seen.add(tuple(sorted(outputs(tmp_path, str(i)).items())))
        assert done.metrics.detail["counting"]["resizes"] == 0
    assert len(seen) == 1
