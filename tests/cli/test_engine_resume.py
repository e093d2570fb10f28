"""The client of a job on an engine is killed again and again; what it makes stays the same."""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

import seqmill

pytest.importorskip("distributed", reason="Dask is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning")]

KILLS = 20
FILES = 40


def test_twenty_kills_of_the_client(
    example_data: Path, command_environment: dict[str, str], tmp_path: Path
) -> None:
    from seqmill.engine.dask import connect  # noqa: PLC0415 - an extra

    inputs = tmp_path / "in"
    inputs.mkdir()
    for number in range(FILES):
        shutil.copy(example_data / "small.bam", inputs / f"{number:02}.bam")
    paths = sorted(map(str, inputs.glob("*.bam")))
    seqmill.convert(paths, out_dir=tmp_path / "whole")
    whole = contents(tmp_path / "whole")
    place = random.Random(20)  # noqa: S311 - where to kill, not a secret
    with connect("local:2") as engine:
        scheduler = str(engine._client.scheduler.address)
        command = ["seqmill", "convert", *paths, "-q", "--scheduler", scheduler, "--out-dir"]
        for kill in range(KILLS):
            output = tmp_path / "out"
            client = start(command, output, command_environment)
            # From before the first unit to after the last, by what the journal says.
            wait_for_units(client, output, place.randrange(FILES + 1))
            time.sleep(place.random() * 0.05)
            client.send_signal(signal.SIGKILL)
            client.wait()
            done = units_done(output)
            metrics = tmp_path / "metrics.json"
            resumed = [*command[:-1], "--resume", "--metrics", str(metrics), command[-1]]
            again = start(resumed, output, command_environment)
            _, errors = again.communicate(timeout=120)
            assert (again.returncode, errors) == (0, ""), kill
            assert contents(output) == whole, kill
            assert not Path(f"{output}.seqmill").exists()
            totals = json.loads(metrics.read_text())["totals"]
            # Whatever was recorded is not done again; what was not recorded was in flight.
            assert (totals["units_skipped"] or 0) >= done, kill
            assert (totals["units_skipped"] or 0) + (totals["units_run"] or 0) == FILES
            shutil.rmtree(output)


def start(command: list[str], output: Path, environment: dict[str, str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*command, str(output)], env=environment, stderr=subprocess.PIPE, text=True
    )


def units_done(output: Path) -> int:
    journal = Path(f"{output}.seqmill") / "units.jsonl"
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


def wait_for_units(client: "subprocess.Popen[str]", output: Path, number: int) -> None:
    while client.poll() is None:
        if number == 0 and os.path.isdir(output):  # noqa: PTH112
            return
        if units_done(output) >= max(1, number):
            return
        time.sleep(0.002)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}
