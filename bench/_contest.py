"""Who is measured, and with which command."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import _jobs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from _measure import Tools

HERE = Path(__file__).resolve().parent
PEERS = tuple(name for name in _jobs.CONTESTANTS if name != "seqmill")
TASKS = ("parquet", "ipc", "stream", "count", "columns")
SUFFIXES = {"parquet": ".parquet", "ipc": ".arrow"}

_LIMIT_MODES = {"parquet": "zstd", "ipc": "write", "stream": "decode"}


@dataclass(frozen=True, slots=True)
class Environment:
    """What there is to measure with.

    Attributes
    ----------
    tools
        The limit program and the measuring parent.
    scratch
        Folder of inputs and outputs.
    peers_python
        Python with the peers; None without peers.
    missing
        Peers that are not there, with the reason.
    versions
        Versions of everything.
    samtools
        The program; None if it is missing.
    """

    tools: Tools
    scratch: Path
    peers_python: Path | None
    missing: dict[str, str]
    versions: dict[str, str]
    samtools: str | None

    @property
    def seqmill(self) -> list[str]:
        """The command that was installed beside this Python."""
        return [str(Path(sys.executable).with_name("seqmill"))]

    def convert(
        self, inputs: Sequence[Path], *, output: Path, threads: int, more: Sequence[str] = ()
    ) -> list[str]:
        """Give the command that converts inputs to one output."""
        command = [*self.seqmill, "convert", *map(str, inputs), "-o", str(output)]
        return [*command, "-@", str(threads), "--progress", "none", "-q", *more]

    def command(
        self, contestant: str, task: str, source: Path, output: Path, options: dict[str, Any]
    ) -> list[str] | None:
        """Give the command of a contestant for a task; None if it has none."""
        into = [str(output)] if task in SUFFIXES else []
        command: list[str] | None = None
        if contestant == "limit":
            if task in _LIMIT_MODES:
                command = [str(self.tools.limit), _LIMIT_MODES[task], str(source), *into]
        elif contestant == "samtools":
            if task == "count" and self.samtools is not None:
                command = [self.samtools, "view", "-c", str(source)]
        elif contestant == "seqmill" and task in SUFFIXES:
            command = self.convert([source], output=output, threads=options["threads"])
        elif task in _jobs.TASKS[contestant]:
            python = sys.executable if contestant == "seqmill" else str(self.peers_python)
            job = [str(HERE / "_jobs.py"), contestant, task, str(source), str(output)]
            command = [python, *job, json.dumps(options)]
        return command


def find_samtools() -> str | None:
    """Find samtools; where the system's packages may be installed, install it."""
    found = shutil.which("samtools")
    apt = shutil.which("apt-get")
    if found is None and apt is not None and os.geteuid() == 0:
        subprocess.run(
            [apt, "install", "-y", "-qq", "--no-install-recommends", "samtools"],
            check=False,
            capture_output=True,
        )
        found = shutil.which("samtools")
    return found


def install_into(folder: Path, pins: Path) -> Path:
    """Install pinned peers into an environment of their own, once; give its Python."""
    python = folder / "bin" / "python"
    mark = folder / ".installed"
    digest = hashlib.sha256(pins.read_bytes()).hexdigest()
    # The exact versions of seqmill's own environment do not bind the peers.
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_CONSTRAINT")}
    if not mark.exists() or mark.read_text(encoding="utf-8") != digest:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        install = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        done = subprocess.run([*install, "-r", str(pins)], check=False, env=environment)
        if done.returncode != 0:
            # One that cannot be had must not keep the others away.
            lines = pins.read_text(encoding="utf-8").splitlines()
            for line in (line for line in lines if line and not line.startswith("#")):
                subprocess.run([*install, line], check=False, env=environment)
        mark.write_text(digest, encoding="utf-8")
    return python


def install_peers(scratch: Path) -> tuple[Path | None, dict[str, str]]:
    """Install the peers of `convert`.

    Returns
    -------
    Path | None
        Their Python; None if it could not be made.
    dict
        Peers that are missing, with the reason.
    """
    python = install_into(scratch / "peers", HERE / "peers.txt")
    missing = {}
    for peer in PEERS:
        module = peer.replace("-", "_")
        trial = subprocess.run(
            [str(python), "-c", f"import {module}"], check=False, capture_output=True, text=True
        )
        if trial.returncode != 0:
            missing[peer] = (trial.stderr.strip().splitlines() or ["does not import"])[-1]
    return python, missing


def versions(python: Path | None, samtools: str | None) -> dict[str, str]:
    """Give the versions of what is measured."""
    found = {}
    if python is not None:
        code = (
            "import importlib.metadata as m, json; "
            "print(json.dumps({d.name.lower(): d.version for d in m.distributions()}))"
        )
        listing = subprocess.run([str(python), "-c", code], check=True, capture_output=True)
        every = json.loads(listing.stdout)
        found = {name: every[name] for name in (*PEERS, "pyarrow", "polars") if name in every}
    if samtools is not None:
        about = subprocess.run([samtools, "--version"], check=True, capture_output=True).stdout
        # Names further down are not all UTF-8.
        found["samtools"] = about.split(b"\n", 1)[0].decode().removeprefix("samtools ")
    return found


def facts_of(environment: Environment, source: Path) -> dict[str, Any] | None:
    """Give the facts of an input that outputs are compared with; made once."""
    if environment.peers_python is None or "pysam" in environment.missing:
        return None
    path = source.with_suffix(".facts.json")
    if not path.exists():
        command = [str(environment.peers_python), str(HERE / "_check.py"), str(source)]
        done = subprocess.run(command, check=True, capture_output=True)
        path.write_bytes(done.stdout)
    facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return facts


def check_table(environment: Environment, source: Path, table: Path) -> dict[str, Any]:
    """Compare an output with its input."""
    facts = source.with_suffix(".facts.json")
    command = [str(environment.peers_python), str(HERE / "_check.py"), str(facts), str(table)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        return {"failure": done.stderr.strip().splitlines()[-1][:200]}
    verdict: dict[str, Any] = json.loads(done.stdout)
    return verdict
