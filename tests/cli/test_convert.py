"""The installed command: exit codes, pipes, signals, what is left behind."""

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import click
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seqmill import cli, simulate
from seqmill._keywords import ConvertOptions
from seqmill.cli._convert_options import SizeType
from tests.conftest import RunCommand

RECORDS = 835
# What ends an example of these takes about a second and gives many row groups.
SLOW = ["--row-group-bytes", "512K", "--batch-bytes", "64K", "--checkpoint-every", "1M"]

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file large enough to be interrupted."""
    path = tmp_path_factory.mktemp("large") / "large.bam"
    genome = simulate.simulate_genome(simulate.GenomeOptions(), seed=5)
    options = simulate.ShortReadOptions(pairs=40_000)
    simulate.simulate_short_reads(genome, options, seed=5).write_bam(path)
    return path


@pytest.fixture
def start(command_environment: dict[str, str]) -> Start:
    def start_seqmill(*arguments: object, **keywords: object) -> "subprocess.Popen[str]":
        return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
            ["seqmill", *map(str, arguments)],
            env=command_environment,
            stderr=subprocess.PIPE,
            text=True,
            **keywords,
        )

    return start_seqmill


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_every_option_is_a_keyword_and_the_reverse() -> None:
    command = cli.seqmill.get_command(click.Context(cli.seqmill), "convert")
    assert command is not None
    options = {p.name for p in command.params if isinstance(p, click.Option) and p.expose_value}
    ours = {"output", "out_dir", "name", "partition_by", "format", "files_in_flight", "fail_fast"}
    ours |= {"threads", "memory", "tmpdir", "metrics", "force", "resume"}
    ours |= {"engine", "scheduler", "shards"}
    only_here = {"html", "explain"}
    assert options - only_here == set(ConvertOptions.__annotations__) | ours
    assert isinstance(next(p for p in command.params if p.name == "batch_bytes").type, SizeType)


def test_summary_goes_to_stderr(
    run_seqmill: RunCommand, example_data: Path, tmp_path: Path
) -> None:
    told = run_seqmill("convert", example_data / "small.bam", "-o", "out.parquet", cwd=tmp_path)
    assert (told.returncode, told.stdout) == (0, "")
    assert "out.parquet: 835 records" in told.stderr
    quiet = run_seqmill(
        "convert", example_data / "small.bam", "-o", "out.parquet", "-qf", cwd=tmp_path
    )
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")
    assert names_in(tmp_path) == ["out.parquet"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["small.bam"], 2, "give an output"),
        (["small.bam", "-o", "x.txt"], 2, "names no format"),
        (["small.bam", "-o", "x.parquet", "--columns", "nope"], 2, "does not exist"),
        (["small.bam", "-o", "x.parquet", "-r", "chr9"], 2, "closest: chr1"),
        (["small.bam", "-o", "x.parquet", "-r", "chr1:9-3"], 2, "begin is behind end"),
        (["small.bam", "-o", "x.parquet", "--exclude-flags", "NOPE"], 2, "SUPPLEMENTARY"),
        (["small.bam", "-o", "x.parquet", "--filter", "mapq >"], 2, "cannot be read"),
        (["small.bam", "-o", "x.parquet", "--tag-in", "CB"], 2, "no TAG=VALUE"),
        (["small.bam", "-o", "x.parquet", "--shard", "3"], 2, "no I/N"),
        (["small.bam", "-o", "x.parquet", "--compression", "bzip2"], 2, "bzip2"),
        (["small.bam", "-o", "x.parquet", "--name", "y"], 2, "needs out_dir"),
        (["small.bam", "-o", "x.parquet", "--bloom", "qname"], 2, "No such option"),
        (["small.bam", "-o", "genome.fa", "--format", "arrow"], 2, "use --force"),
        (["genome.repeats.tsv", "-o", "x.parquet"], 65, "not alignments"),
        (["small.bam", "-o", "x.parquet", "-R", "bad.bed"], 65, "line 1 is no BED line"),
        (["absent.bam", "-o", "x.parquet"], 74, "absent.bam: no such file or directory"),
        (["small.bam", "-o", "absent/x.parquet"], 74, "no such file or directory"),
        (["small.bam", "-o", "x.parquet", "--tag-in", "CB=@absent.txt"], 74, "absent.txt"),
        (["small.bam", "-o", "x.parquet", "-m", "2M"], 78, "is needed"),
        (["ftp://example.org/x.bam", "-o", "x.parquet"], 2, "such addresses cannot be read"),
    ],
)
def test_exit_codes(  # noqa: PLR0917 - fixtures and cases
    run_seqmill: RunCommand,
    example_data: Path,
    tmp_path: Path,
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    for name in ("small.bam", "small.bam.bai", "genome.fa", "genome.repeats.tsv"):
        (tmp_path / name).symlink_to(example_data / name)
    (tmp_path / "bad.bed").write_text("chr1 five six\n")
    before = names_in(tmp_path)
    told = run_seqmill("convert", *arguments, cwd=tmp_path)
    assert told.returncode == code, told.stderr
    assert words.lower() in told.stderr.lower()
    assert "Traceback" not in told.stderr
    assert names_in(tmp_path) == before


def test_existing_output_needs_force(
    run_seqmill: RunCommand, example_data: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.parquet"
    output.write_text("precious")
    command = ("convert", example_data / "small.bam", "-o", output)
    refused = run_seqmill(*command)
    assert (refused.returncode, output.read_text()) == (2, "precious")
    assert "--force" in refused.stderr
    assert run_seqmill(*command, "--force").returncode == 0
    assert pq.read_metadata(output).num_rows == RECORDS


def test_stdin_and_stdout(
    command_environment: dict[str, str], example_data: Path, tmp_path: Path
) -> None:
    with (example_data / "small.bam").open("rb") as source:
        told = subprocess.run(
            ["seqmill", "convert", "-", "-o", "-", "-q"],
            stdin=source,
            capture_output=True,
            env=command_environment,
            check=True,
        )
    assert told.stderr == b""
    table = pa.ipc.open_stream(told.stdout).read_all()
    assert table.num_rows == RECORDS
    with (example_data / "small.bam").open("rb") as source:
        subprocess.run(
            ["seqmill", "convert", "-", "-o", "out.parquet", "-q"],
            stdin=source,
            cwd=tmp_path,
            env=command_environment,
            check=True,
        )
    assert pq.read_metadata(tmp_path / "out.parquet").num_rows == RECORDS


def test_closed_pipe_ends_quietly(start: Start, large: Path) -> None:
    process = start("convert", large, "-o", "-", "-q", stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert os.read(process.stdout.fileno(), 10)
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert process.wait(20) == 141
    process.stderr.close()


def test_one_of_several_fails(run_seqmill: RunCommand, example_data: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.bam"
    bad.write_bytes((example_data / "small.bam").read_bytes()[:-5000])
    command = ("convert", bad, example_data / "long.bam", example_data / "small.bam")
    told = run_seqmill(*command, "--out-dir", "out", "--metrics", "m.json", cwd=tmp_path)
    assert told.returncode == 1
    assert names_in(tmp_path / "out") == ["long.parquet", "small.parquet"]
    assert "3 files: 1 failed, 2 done" in told.stderr
    assert "bad.bam: the file ends inside a BGZF block" in told.stderr or "bad.bam" in told.stderr
    document = json.loads((tmp_path / "m.json").read_text())
    assert document["job"]["exit_code"] == 1
    states = {item["inputs"][0]: item["status"] for item in document["detail"]["files"]}
    assert sorted(states.values()) == ["done", "done", "failed"]
    fast = run_seqmill(*command, "--out-dir", "fast", "--fail-fast", "-@1", cwd=tmp_path)
    assert fast.returncode == 65
    merged = run_seqmill(*command, "-o", "all.parquet", cwd=tmp_path)
    assert merged.returncode == 65
    assert names_in(tmp_path) == sorted(["bad.bam", "m.json", "out", "fast"])


def test_many_files_in_little_memory(
    run_seqmill: RunCommand, shared_data: Path, tmp_path: Path
) -> None:
    """Records larger than a share of the budget wait until the others are done."""
    inputs = sorted((shared_data / "real" / "bam").glob("*.bam"))
    told = run_seqmill("convert", *inputs, "--out-dir", tmp_path / "out", "-m", "64M", "-@", "8")
    assert told.returncode == 0, told.stderr
    assert len(names_in(tmp_path / "out")) == len(inputs)
    again = run_seqmill("convert", *inputs, "--out-dir", tmp_path / "out", "--resume")
    assert f"{len(inputs)} files: {len(inputs)} skipped" in again.stderr


def test_explain(run_seqmill: RunCommand, example_data: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.parquet"
    assert run_seqmill("convert", example_data / "small.bam", "-o", output).returncode == 0
    told = run_seqmill("convert", "--explain", output, "-r", "chr2", "-r", "chr1:1-10")
    assert told.returncode == 0
    assert "chr1:1-10" in told.stdout
    assert run_seqmill("convert", "--explain", output).returncode == 2


def test_page_with_pictures(run_seqmill: RunCommand, example_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    page = tmp_path / "page.html"
    command = ("convert", example_data / "small.bam", "-o", tmp_path / "o.parquet", "--html", page)
    assert run_seqmill(*command).returncode == 0
    text = page.read_text()
    for words in ("Mapping quality", "Memory over time", "Where time and memory went", "<svg"):
        assert words in text
    assert page.stat().st_size < 300 * 1024
    refused = run_seqmill(*command)
    assert (refused.returncode, "page.html: output exists" in refused.stderr) == (2, True)


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_bytes_depend_on_input_and_options_alone(
    run_seqmill: RunCommand, large: Path, tmp_path: Path, suffix: str
) -> None:
    found = set()
    for number, options in enumerate(
        (
            ["-@", "1"],
            ["-@", "2"],
            ["-@", "3"],
            ["-@", "8"],
            ["-@", "2", "--io", "map"],
            ["-@", "2", "--io", "direct"],
            ["-@", "1", "-m", "64MiB"],
            ["-@", "2", "-m", "64MiB"],
            ["--loading-threads", "1", "--writing-threads", "3"],
            ["-@", "2", "--read-ahead", "4M", "--write-buffer", "4M"],
        )
    ):
        output = tmp_path / f"{number}.{suffix}"
        told = run_seqmill("convert", large, "-o", output, "-q", *SLOW, *options)
        assert told.returncode == 0, (options, told.stderr)
        found.add(output.read_bytes())
        output.unlink()
    assert len(found) == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_at_once_and_leave_only_the_state(  # noqa: PLR0917 - as above
    start: Start, run_seqmill: RunCommand, large: Path, tmp_path: Path, number: int, code: int
) -> None:
    many = [large] * 12
    process = start("convert", *many, "-o", tmp_path / "out.parquet", *SLOW)
    wait_for_checkpoint(process, tmp_path / "out.parquet.seqmill")
    began = time.monotonic()
    process.send_signal(number)
    _, told = process.communicate(timeout=20)
    assert time.monotonic() - began < 1
    assert process.returncode == code, told
    assert told.splitlines()[-1].startswith("seqmill: hint: --resume")
    assert names_in(tmp_path) == ["out.parquet.seqmill"]
    refused = run_seqmill("convert", *many, "-o", tmp_path / "out.parquet", *SLOW)
    assert refused.returncode == 2
    assert "--resume" in refused.stderr
    other = run_seqmill(
        "convert", *many, "-o", tmp_path / "out.parquet", *SLOW, "--resume", "--min-mapq", "3"
    )
    assert (other.returncode, "cannot resume" in other.stderr) == (2, True)


def wait_for_checkpoint(process: "subprocess.Popen[str]", state: Path) -> None:
    end = time.monotonic() + 20
    while not (state / "checkpoint.json").exists():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "arrows"])
def test_killed_and_resumed_gives_the_same_bytes(
    start: Start, run_seqmill: RunCommand, large: Path, tmp_path: Path, suffix: str
) -> None:
    draws = random.Random(suffix)  # noqa: S311 - moments, not secrets
    whole, output = tmp_path / f"whole.{suffix}", tmp_path / f"out.{suffix}"
    many = [large] * 4
    began = time.monotonic()
    assert run_seqmill("convert", *many, "-o", whole, "-q", *SLOW).returncode == 0
    duration = time.monotonic() - began
    kills = 0
    for attempt in range(8):
        threads = ("-@", str(draws.choice([1, 2, 3])))
        resume = ["--resume"] if attempt else []
        process = start("convert", *many, "-o", output, "-q", *SLOW, *threads, *resume)
        try:
            process.wait(draws.uniform(0.15, duration))
        except subprocess.TimeoutExpired:
            process.kill()
            kills += 1
        _, told = process.communicate()
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, told
        # Killed behind the last rename: complete, or not there at all.
        assert not output.exists() or output.read_bytes() == whole.read_bytes()
    else:
        told = run_seqmill("convert", *many, "-o", output, "-q", *SLOW, "--resume").stderr
    assert output.read_bytes() == whole.read_bytes(), (kills, told)
    assert names_in(tmp_path) == sorted([whole.name, output.name])


@pytest.mark.slow
def test_killed_many_times(
    start: Start, run_seqmill: RunCommand, large: Path, tmp_path: Path
) -> None:
    for number in range(10):
        folder = tmp_path / str(number)
        folder.mkdir()
        suffix = ("parquet", "arrow", "arrows")[number % 3]
        test_killed_and_resumed_gives_the_same_bytes(start, run_seqmill, large, folder, suffix)


def test_interrupted_many_files_can_go_on(
    start: Start, run_seqmill: RunCommand, large: Path, tmp_path: Path
) -> None:
    inputs = []
    for number in range(6):
        inputs.append(tmp_path / f"in{number}.bam")
        os.link(large, inputs[-1])
    command = ["convert", *inputs, "--out-dir", tmp_path / "out", *SLOW, "-@", "2"]
    process = start(*command)
    end = time.monotonic() + 20
    while not list((tmp_path / "out").glob("*.parquet")):
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=20)
    if process.returncode == 0:
        pytest.skip("was done before the signal came")
    assert process.returncode == 130, told
    again = run_seqmill(*command, "--resume")
    assert again.returncode == 0, again.stderr
    assert "skipped" in again.stderr
    assert names_in(tmp_path / "out") == [f"in{number}.parquet" for number in range(6)]
    rows = {pq.read_metadata(path).num_rows for path in (tmp_path / "out").iterdir()}
    assert len(rows) == 1
