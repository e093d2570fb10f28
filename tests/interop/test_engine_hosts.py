"""Two hosts in network namespaces joined by a bridge: equal bytes, also after a partition."""

import contextlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import RunCommand
from tests.engine_jobs import contents, write_genome

pytest.importorskip("distributed", reason="Dask is not installed")
pytestmark = pytest.mark.slow

# Names and addresses that no other run of this test has.
TAG = f"{os.getpid() % 10_000}"
NET = f"10.199.{os.getpid() % 250}"
BRIDGE = f"smb{TAG}"
PORT = 8786
PARTITION_SECONDS = 12


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


class Hosts:
    """A client's namespace, `c`, with scheduler and a worker, and another with a worker."""

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []

    @staticmethod
    def namespace(host: int) -> str:
        return f"smt{TAG}-{host}"

    def make(self) -> None:
        ip("link", "add", BRIDGE, "type", "bridge")
        ip("link", "set", BRIDGE, "up")
        for host in (0, 1):
            name, outside, inside = self.namespace(host), f"smv{TAG}{host}", f"sme{TAG}{host}"
            ip("netns", "add", name)
            ip("link", "add", outside, "type", "veth", "peer", "name", inside)
            ip("link", "set", outside, "master", BRIDGE, "up")
            ip("link", "set", inside, "netns", name)
            ip("-n", name, "addr", "add", f"{NET}.{host + 1}/24", "dev", inside)
            ip("-n", name, "link", "set", inside, "up")
            ip("-n", name, "link", "set", "lo", "up")

    def partition(self, state: str) -> None:
        ip("-n", self.namespace(1), "link", "set", f"sme{TAG}1", state)

    def start(self, host: int, *command: str) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            ["ip", "netns", "exec", self.namespace(host), sys.executable, "-m", *command],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.processes.append(process)
        return process

    def remove(self) -> None:
        for process in reversed(self.processes):
            process.terminate()
        for process in reversed(self.processes):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()
        for host in (0, 1):
            subprocess.run(["ip", "netns", "del", self.namespace(host)], check=False)
        subprocess.run(["ip", "link", "del", BRIDGE], check=False)


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    """Scheduler and a worker on one host, a second worker on another."""
    made = Hosts()
    try:
        made.make()
    except (OSError, subprocess.CalledProcessError) as error:
        made.remove()
        pytest.skip(f"no network namespaces here: {getattr(error, 'stderr', error)}")
    try:
        scheduler = ["distributed.cli.dask_scheduler", "--no-dashboard", "--port", str(PORT)]
        made.start(0, *scheduler, "--host", f"{NET}.1")
        for host in (0, 1):
            command = ["distributed.cli.dask_worker", f"tcp://{NET}.1:{PORT}", "--no-dashboard"]
            command += ["--host", f"{NET}.{host + 1}", "--nworkers", "1", "--nthreads", "1"]
            made.start(host, *command, "--local-directory", str(tmp_path / f"worker{host}"))
        yield made
    finally:
        made.remove()


@pytest.mark.parametrize("job", ["convert", "kmers", "coverage"])
def test_two_hosts_and_a_partition(
    *,
    job: str,
    hosts: Hosts,
    example_data: Path,
    run_seqmill: RunCommand,
    command_environment: dict[str, str],
    tmp_path: Path,
) -> None:
    arguments, output, alone = arguments_of(job, tmp_path, example_data)
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    done = run_seqmill(*arguments, *alone, output, tmp_path / "a" / "o")
    assert (done.returncode, done.stderr) == (0, "")
    command = ["ip", "netns", "exec", hosts.namespace(0), "seqmill", *arguments]
    command += ["--scheduler", f"tcp://{NET}.1:{PORT}", output]

    def run(name: str, metrics: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [*command, str(tmp_path / name / "o"), "--metrics", str(tmp_path / metrics)],
            env=command_environment,
            stderr=subprocess.PIPE,
            text=True,
        )

    wait_for_workers(hosts, 2)
    client = run("b", "b.json")
    _, errors = client.communicate(timeout=180)
    assert (client.returncode, errors) == (0, "")
    assert contents(tmp_path / "b") == contents(tmp_path / "a")
    assert workers_of(tmp_path / "b.json") == 2

    client = run("c", "c.json")
    journal = tmp_path / "c" / "o.seqmill" / "units.jsonl"
    if job == "kmers":
        journal = tmp_path / "c" / "o.skm.seqmill" / "units.jsonl"
    wait_for(lambda: journal.exists() and journal.stat().st_size > 0)
    hosts.partition("down")
    healed = threading.Timer(PARTITION_SECONDS, hosts.partition, ["up"])
    healed.start()
    _, errors = client.communicate(timeout=240)
    healed.join()
    assert (client.returncode, errors) == (0, "")
    assert contents(tmp_path / "c") == contents(tmp_path / "a")
    assert not list(tmp_path.rglob("*.seqmill"))


def arguments_of(job: str, folder: Path, example_data: Path) -> tuple[list[str], str, list[str]]:
    """Give a command without its engine, its option for the output, and more if it is alone."""
    if job == "convert":
        inputs = folder / "in"
        inputs.mkdir()
        for number in range(60):
            shutil.copy(example_data / "small.bam", inputs / f"{number:02}.bam")
        return ["convert", *sorted(map(str, inputs.glob("*.bam"))), "-q"], "--out-dir", []
    genome = str(write_genome(folder / "g.fa", records=12, bases=300_000))
    if job == "kmers":
        counting = ["kmers", "count", genome, "-k", "21", "--format", "skm,json", "-q"]
        return [*counting, "--unit-bases", "60000"], "-o", ["--unit-bases", "2000000000"]
    measuring = ["coverage", genome, "--windows", "900", "--region-files", "-q"]
    return [*measuring, "--unit-bases", "40000"], "-o", []


def wait_for_workers(hosts: Hosts, number: int) -> None:
    program = (
        "import sys, distributed as d\n"
        "with d.Client(sys.argv[1], timeout=60) as client:\n"
        "    client.wait_for_workers(int(sys.argv[2]), timeout=60)\n"
    )
    command = ["ip", "netns", "exec", hosts.namespace(0), sys.executable, "-c", program]
    subprocess.run([*command, f"tcp://{NET}.1:{PORT}", str(number)], check=True, timeout=150)


def workers_of(metrics: Path) -> int:
    import json  # noqa: PLC0415

    return int(json.loads(metrics.read_text())["engine"]["workers"])


def wait_for(condition: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)
