"""Interrupted conversions: killed, stopped, out of space, and what `--resume` makes of them.

The output of a run that was interrupted any number of times must have the bytes of one that was
not. All of this runs the installed command, because signals and exit codes are its business.
"""

import contextlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

HG002 = "real/bam/HG002_illumina_wgs_10regions.merged.bam"
# Many small row groups and checkpoints: a run of a second can be killed in many places.
OFTEN = ("--row-group-bytes", "4MiB", "--checkpoint-every", "1MiB")
KILLS = 10
FORMATS = ("parquet", "arrow", "arrows")
# What is allowed; 0.2 s are wanted, and a busy machine needs room.
STOP_SECONDS = 1.0

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def hg002(shared_data: Path) -> Path:
    """16 MB of short reads."""
    return shared_data / HG002


@pytest.fixture(scope="module")
def start(command_environment: dict[str, str]) -> Start:
    """Start `seqmill convert INPUT -o OUTPUT` with many checkpoints."""

    def begin(source: Path, output: Path, *options: str) -> "subprocess.Popen[str]":
        command = ["seqmill", "convert", str(source), "-o", str(output), *OFTEN, *options]
        return subprocess.Popen(
            [*command, "--quiet"],
            env=command_environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    return begin


def finish(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Exit code and standard error of a process that ends by itself."""
    _, errors = process.communicate(timeout=120)
    return process.returncode, errors


def convert(start: Start, source: Path, output: Path, *options: str) -> tuple[int, str]:
    return finish(start(source, output, *options))


@pytest.fixture(scope="module")
def whole(
    start: Start, hg002: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], bytes]:
    """Bytes of an uninterrupted run by format."""
    made: dict[str, bytes] = {}

    def output(suffix: str) -> bytes:
        if suffix not in made:
            path = tmp_path_factory.mktemp("whole") / f"out.{suffix}"
            assert convert(start, hg002, path, "-@", "2") == (0, "")
            made[suffix] = path.read_bytes()
            path.unlink()
        return made[suffix]

    return output


def state_of(output: Path) -> Path:
    return output.with_name(output.name + ".seqmill")


def checkpoint_of(output: Path) -> dict[str, object] | None:
    """Read the last checkpoint, None before the first."""
    try:
        text = (state_of(output) / "checkpoint.json").read_text()
    except FileNotFoundError:
        return None
    checkpoint: dict[str, object] = json.loads(text)
    return checkpoint


def records_of(checkpoint: dict[str, object] | None) -> int:
    """Records that a checkpoint counts."""
    if checkpoint is None:
        return 0
    state = checkpoint["state"]
    assert isinstance(state, dict)
    return int(state["given"])


def wait_for_checkpoint(process: "subprocess.Popen[str]", output: Path, count: int = 1) -> bool:
    """Wait until the checkpoint was replaced `count` times; False if the process ended before."""
    path = state_of(output) / "checkpoint.json"

    def identity() -> tuple[int, int] | None:
        try:
            status = path.stat()
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_mtime_ns

    seen = identity()
    while process.poll() is None:
        now = identity()
        if now != seen:
            seen = now
            count -= 1
            if count <= 0:
                return True
        time.sleep(0.0005)
    return False


@contextlib.contextmanager
def ended(process: "subprocess.Popen[str]") -> Iterator[None]:
    """Leave no process behind when a test fails."""
    try:
        yield
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def assert_nothing_stays(output: Path) -> None:
    assert sorted(p.name for p in output.parent.iterdir() if p.name.startswith(output.name)) == []


@pytest.mark.parametrize("suffix", FORMATS)
def test_killed_ten_times(
    suffix: str,
    start: Start,
    hg002: Path,
    whole: Callable[[str], bytes],
    tmp_path: Path,
) -> None:
    output = tmp_path / f"out.{suffix}"
    dice = random.Random(20_261)  # noqa: S311
    expected = whole(suffix)
    kills = resumed = 0
    # On a fast machine a run may end before its kill, and what follows it has nothing to resume:
    # more runs then, until enough of them did.
    for _ in range(10 * KILLS):
        if kills >= KILLS and resumed > KILLS / 2:
            break
        # A resumed run may have other resources than the one before.
        options = ["--resume", "-@", str(dice.choice([1, 2, 3])), "-m", dice.choice(["96M", "1G"])]
        options += ["--io", dice.choice(["read", "map"])]
        before = records_of(checkpoint_of(output))
        process = start(hg002, output, *options)
        with ended(process):
            if dice.random() < 0.25:
                # Any moment, also before the first checkpoint and while Python starts.
                time.sleep(dice.uniform(0.05, 0.6))
            else:
                wait_for_checkpoint(process, output, dice.choice([1, 1, 2]))
                time.sleep(dice.uniform(0, 0.01))
            process.kill()
            process.communicate()
        if output.exists():
            # It was done, or as good as: the name is given last of all.
            assert output.read_bytes() == expected
            output.unlink()
            shutil.rmtree(state_of(output), ignore_errors=True)
            kills += process.returncode != 0
            continue
        assert process.returncode == -signal.SIGKILL
        kills += 1
        resumed += before > 0
        assert records_of(checkpoint_of(output)) >= before, "a checkpoint went back"
    before = records_of(checkpoint_of(output))
    metrics = tmp_path / "metrics.json"
    code, errors = convert(start, hg002, output, "--resume", "--metrics", str(metrics))
    assert (code, errors) == (0, "")
    resumed += before > 0
    assert resumed > KILLS / 2
    if before:
        assert json.loads(metrics.read_text())["detail"]["resumed_from"] == before
    assert output.read_bytes() == expected
    assert not state_of(output).exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("suffix", FORMATS)
def test_stopped_by_signal(  # noqa: PLR0917 - fixtures and cases
    suffix: str,
    number: signal.Signals,
    start: Start,
    hg002: Path,
    whole: Callable[[str], bytes],
    tmp_path: Path,
) -> None:
    output = tmp_path / f"out.{suffix}"
    process = start(hg002, output, "-@", "1")
    with ended(process):
        assert wait_for_checkpoint(process, output, 2)
        process.send_signal(number)
        sent = time.perf_counter()
        got, errors = finish(process)
        seconds = time.perf_counter() - sent
    assert got == 128 + number, errors
    assert seconds < STOP_SECONDS
    assert "--resume" in errors
    assert "Traceback" not in errors
    assert not output.exists()
    assert records_of(checkpoint_of(output)) > 0
    assert convert(start, hg002, output, "--resume") == (0, "")
    assert output.read_bytes() == whole(suffix)
    assert not state_of(output).exists()


@pytest.fixture
def interrupted(start: Start, hg002: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A copy of the input and the output of a conversion of it that was killed."""
    source, output = tmp_path / "in.bam", tmp_path / "out.parquet"
    shutil.copyfile(hg002, source)
    process = start(source, output, "-@", "1")
    with ended(process):
        assert wait_for_checkpoint(process, output, 2)
        process.kill()
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    return source, output


def test_other_options_are_named(interrupted: tuple[Path, Path], start: Start) -> None:
    source, output = interrupted
    code, errors = convert(start, source, output, "--resume", "--min-mapq", "7", "--coords", "01")
    assert code == 2
    assert "min_mapq was 0 and is 7" in errors
    assert 'coords was "11" and is "01"' in errors
    assert records_of(checkpoint_of(output)) > 0, "the state must stay"


@pytest.mark.parametrize("change", ["content", "time", "size"])
def test_changed_input_is_refused(
    change: str, interrupted: tuple[Path, Path], start: Start
) -> None:
    source, output = interrupted
    status = source.stat()
    if change == "time":
        os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000_000))
    else:
        with source.open("r+b") as file:
            file.seek(-1 if change == "content" else 0, os.SEEK_END)
            file.write(b"\1")
        os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns))
    code, errors = convert(start, source, output, "--resume")
    assert code == 2
    assert "inputs" in errors
    assert state_of(output).exists()


def test_a_state_is_not_overwritten_unasked(
    interrupted: tuple[Path, Path], start: Start, whole: Callable[[str], bytes]
) -> None:
    source, output = interrupted
    code, errors = convert(start, source, output)
    assert code == 2
    assert "--resume" in errors
    assert "--force" in errors
    assert records_of(checkpoint_of(output)) > 0
    assert convert(start, source, output, "--force") == (0, "")
    # The name of the input is part of the output, hence not the very bytes of the other one.
    assert abs(output.stat().st_size - len(whole("parquet"))) < 200
    assert not state_of(output).exists()


def test_two_runs_cannot_share_a_state(start: Start, hg002: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.parquet"
    first = start(hg002, output, "-@", "1")
    with ended(first):
        assert wait_for_checkpoint(first, output)
        first.send_signal(signal.SIGSTOP)
        code, errors = convert(start, hg002, output, "--resume")
        assert code not in (0, 1)
        assert str(state_of(output)) in errors
        first.send_signal(signal.SIGCONT)
        assert finish(first)[0] == 0
    assert output.exists()


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("threads", ["1", "2", "8"])
def test_bad_input_leaves_nothing(
    suffix: str, threads: str, start: Start, hg002: Path, tmp_path: Path
) -> None:
    source, output = tmp_path / "in.bam", tmp_path / f"out.{suffix}"
    # Damage behind several checkpoints.
    source.write_bytes(hg002.read_bytes()[:12_000_000])
    code, errors = convert(start, source, output, "-@", threads)
    assert code == 65
    assert str(source) in errors
    assert_nothing_stays(output)


@pytest.mark.parametrize("suffix", FORMATS)
def test_file_size_limit(
    suffix: str, start: Start, hg002: Path, whole: Callable[[str], bytes], tmp_path: Path
) -> None:
    output = tmp_path / f"out.{suffix}"
    limit = len(whole(suffix)) // 2
    process = start(hg002, output)
    with ended(process):
        # Python needs longer to start than this call.
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, limit))
        code, errors = finish(process)
    assert code == 74, errors
    assert "--resume" in errors
    assert not output.exists()
    assert records_of(checkpoint_of(output)) > 0
    assert convert(start, hg002, output, "--resume") == (0, "")
    assert output.read_bytes() == whole(suffix)


@pytest.fixture
def small_disk(mount_disk: Callable[[str], Path]) -> Path:
    """A file system with room for 8 MiB."""
    return mount_disk("8m")


def test_full_disk(
    small_disk: Path, start: Start, hg002: Path, whole: Callable[[str], bytes]
) -> None:
    output = small_disk / "out.parquet"
    code, errors = convert(start, hg002, output)
    assert code == 74
    assert "no space left" in errors
    assert "--resume" in errors
    assert records_of(checkpoint_of(output)) > 0
    # Room is made: the same run goes on.
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    assert convert(start, hg002, output, "--resume") == (0, "")
    assert output.read_bytes() == whole("parquet")


def test_resume_without_state_begins_anew(
    start: Start, hg002: Path, whole: Callable[[str], bytes], tmp_path: Path
) -> None:
    output = tmp_path / "out.parquet"
    assert convert(start, hg002, output, "--resume") == (0, "")
    assert output.read_bytes() == whole("parquet")


def test_a_damaged_state_is_an_error(interrupted: tuple[Path, Path], start: Start) -> None:
    source, output = interrupted
    (state_of(output) / "checkpoint.json").write_text('{"state": {')
    code, errors = convert(start, source, output, "--resume")
    assert code == 2
    assert "--force" in errors


@pytest.mark.parametrize("left", [1000, None])
def test_data_shorter_than_the_checkpoint(
    left: int | None, interrupted: tuple[Path, Path], start: Start
) -> None:
    source, output = interrupted
    data = state_of(output) / "data.partial"
    if left is None:
        data.unlink()
    else:
        os.truncate(data, left)
    code, errors = convert(start, source, output, "--resume")
    assert code not in (0, 1), errors
    assert "Traceback" not in errors
    assert not output.exists()


@pytest.mark.parametrize("suffix", FORMATS)
def test_killed_between_the_name_and_the_end(
    suffix: str, start: Start, hg002: Path, whole: Callable[[str], bytes], tmp_path: Path
) -> None:
    """The output has its name already, the state is still there."""
    output = tmp_path / f"out.{suffix}"
    process = start(hg002, output, "-@", "1")
    with ended(process):
        assert wait_for_checkpoint(process, output)
        process.kill()
        process.communicate()
    (state_of(output) / "data.partial").unlink()
    output.write_bytes(whole(suffix))
    assert convert(start, hg002, output, "--resume") == (0, "")
    assert output.read_bytes() == whole(suffix)
    assert not state_of(output).exists()
