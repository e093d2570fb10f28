"""The client of a job on an engine is killed again and again; what it makes stays the same."""

import json
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine_jobs import contents, write_genome

pytest.importorskip("distributed", reason="Dask is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning")]

KILLS = 20
FILES = 40
JOBS = ("convert", "kmers", "coverage")


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    from seqmill.engine.dask import connect  # noqa: PLC0415 - an extra

    with connect("local:2") as engine:
        yield str(engine._client.scheduler.address)


def command_of(job: str, folder: Path, example_data: Path) -> list[str]:
    """Give the command of a job without engine and output."""
    if job == "convert":
        inputs = folder / "in"
        inputs.mkdir()
        for number in range(FILES):
            shutil.copy(example_data / "small.bam", inputs / f"{number:02}.bam")
        paths = sorted(map(str, inputs.glob("*.bam")))
        return ["seqmill", "convert", *paths, "-q", "--out-dir"]
    genome = str(write_genome(folder / "g.fa", records=9, bases=300_000))
    if job == "kmers":
        counting = ["seqmill", "kmers", "count", genome, "-k", "21", "--unit-bases", "90000"]
        return [*counting, "--format", "skm,tsv", "-q", "-o"]
    measuring = ["seqmill", "coverage", genome, "--windows", "900", "--unit-bases", "60000"]
    return [*measuring, "-q", "-o"]


@pytest.mark.parametrize("job", JOBS)
def test_twenty_kills_of_the_client(
    job: str,
    scheduler: str,
    example_data: Path,
    command_environment: dict[str, str],
    tmp_path: Path,
) -> None:
    command = command_of(job, tmp_path, example_data)
    made = tmp_path / "out"
    made.mkdir()
    # Several formats of a count are files beside one another.
    output = made / "o"
    run = [command[0], *command[1:]]
    subprocess.run(without_units([*run, str(output)]), env=command_environment, check=True)
    whole = contents(made)
    place = random.Random(20)  # noqa: S311 - where to kill, not a secret
    units = 0
    for kill in range(KILLS):
        shutil.rmtree(made)
        made.mkdir()
        metrics = tmp_path / "metrics.json"
        dividing = [*run[:-1], "--scheduler", scheduler, "--metrics", str(metrics), run[-1]]
        client = start([*dividing, str(output)], command_environment)
        # From before the first unit to after the last, by what the journal says.
        wait_for_units(client, made, place.randrange((units or FILES) + 1))
        time.sleep(place.random() * 0.05)
        client.send_signal(signal.SIGKILL)
        client.wait()
        done = units_done(made)
        again = start([*dividing[:-1], "--resume", run[-1], str(output)], command_environment)
        _, errors = again.communicate(timeout=300)
        assert (again.returncode, errors) == (0, ""), kill
        assert contents(made) == whole, kill
        totals = json.loads(metrics.read_text())["totals"]
        # Whatever was recorded is not done again; what was not recorded was in flight.
        skipped, ran = totals["units_skipped"] or 0, totals["units_run"] or 0
        assert skipped >= done, kill
        assert units in (0, skipped + ran)
        units = skipped + ran
    assert units > FILES // 2


def without_units(command: list[str]) -> list[str]:
    """Give the command as it is without an engine."""
    if "--unit-bases" not in command:
        return command
    at = command.index("--unit-bases")
    return [*command[:at], *command[at + 2 :]]


def start(command: list[str], environment: dict[str, str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def journal_of(folder: Path) -> Path | None:
    return next(iter(folder.glob("*.seqmill/units.jsonl")), None)


def units_done(folder: Path) -> int:
    journal = journal_of(folder)
    return journal.read_bytes().count(b"\n") if journal is not None else 0


def wait_for_units(client: "subprocess.Popen[str]", folder: Path, number: int) -> None:
    while client.poll() is None:
        if number == 0 and any(folder.iterdir()):
            return
        if units_done(folder) >= max(1, number):
            return
        time.sleep(0.002)
