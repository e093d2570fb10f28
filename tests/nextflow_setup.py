"""Nextflow for the tests: its jars, from Maven Central into a folder of the checkout, and runs."""

import fcntl
import os
import re
import shutil
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY

# Sibling modules of other releases are not on Maven Central: exactly these two can be resolved.
VERSIONS = ("25.04.4", "24.10.0")
CACHE = Path(os.environ.get("SEQMILL_NEXTFLOW_CACHE") or REPOSITORY / "target" / "nextflow")
JAVA_LEAST = 17
# Without these Nextflow runs, but its cache is empty afterwards, and nothing can be resumed.
OPENED = ("lang", "io", "nio", "net", "util")
POM = """\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>seqmill</groupId><artifactId>nextflow-jars</artifactId><version>1</version>
  <dependencyManagement><dependencies>{managed}</dependencies></dependencyManagement>
  <dependencies><dependency>
    <groupId>io.nextflow</groupId><artifactId>nextflow</artifactId><version>{version}</version>
    <exclusions><exclusion>
      <groupId>io.seqera</groupId><artifactId>lib-trace</artifactId>
    </exclusion></exclusions>
  </dependency></dependencies>
</project>
"""
MANAGED = {
    "25.04.4": "<dependency><groupId>io.nextflow</groupId><artifactId>nf-lang</artifactId>"
    "<version>25.04.0</version></dependency>",
}
# Nextflow's local executor subtracts from and adds to its free CPUs in two threads without a lock,
# so that on a busy machine one may be lost, and a task waits for ever. With CPUs to spare it runs.
SPARE = "executor { $local { cpus = 64; memory = '64 GB'; queueSize = 2 } }\n"
TIMEOUT = 600


def missing_program() -> str | None:
    """Say what keeps Nextflow from being run here, None if nothing does."""
    for name in ("java", "mvn"):
        if shutil.which(name) is None:
            return f"{name} is not on PATH"
    told = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False)
    found = re.search(r'version "(\d+)', told.stderr)
    if found is None or int(found[1]) < JAVA_LEAST:
        return f"Java {JAVA_LEAST} or newer is needed"
    return None


def install(version: str) -> Path:
    """Fetch the jars once, and give the program that starts them."""
    folder = CACHE / version
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "nextflow"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            (folder / "pom.xml").write_text(
                POM.format(version=version, managed=MANAGED.get(version, "")), encoding="utf-8"
            )
            told = subprocess.run(
                [
                    *("mvn", "-B", "-q", "dependency:copy-dependencies"),
                    *("-DoutputDirectory=libs", "-DincludeScope=runtime"),
                ],
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=600,
                check=False,
            )
            if told.returncode:
                lines = [line for line in told.stdout.splitlines() if "ERROR" in line]
                pytest.skip(f"Nextflow {version}: Maven: {lines[0] if lines else told.stderr}")
            opened = [f"java.base/java.{name}" for name in OPENED]
            opened += [
                "java.base/sun.nio.ch",
                "java.base/sun.nio.fs",
                "java.base/jdk.internal.misc",
            ]
            options = " ".join(f"--add-opens={name}=ALL-UNNAMED" for name in opened)
            program.write_text(
                f"#!/bin/sh\nexec java -XX:TieredStopAtLevel=1 -Xmx512m {options} "
                f"-cp '{folder}/libs/*' nextflow.cli.Launcher \"$@\"\n",
                encoding="utf-8",
            )
            program.chmod(0o755)
    return program


@dataclass
class Nextflow:
    """One version of Nextflow, and a folder that it is started from."""

    version: str
    program: Path
    folder: Path
    environment: dict[str, str]
    told: str = field(default="", init=False)

    def start(self, *words: str | os.PathLike[str], program: str | None = None) -> Any:
        """Start `seqmill workflow run`, or another program, without waiting for its end."""
        command = [program] if program else ["seqmill", "workflow", "run"]
        return subprocess.Popen(
            [*command, *map(os.fspath, words)],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *words: str | os.PathLike[str], program: str | None = None) -> int:
        """Run to the end; what was printed is in `told`."""
        process = self.start(*words, program=program)
        try:
            self.told = process.communicate(timeout=TIMEOUT)[0]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            self.told = process.communicate()[0]
            pytest.fail(f"no end after {TIMEOUT} s:\n{self.told}\n{self.log()[-4000:]}")
        return int(process.returncode)

    def log(self) -> str:
        """Give Nextflow's own log."""
        path = self.folder / ".nextflow.log"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def trace(self, output: str = "results") -> list[dict[str, str]]:
        """Give the lines of the trace."""
        path = self.folder / output / "pipeline_info" / "trace.txt"
        lines = path.read_text(encoding="utf-8").splitlines()
        names = lines[0].split("\t")
        return [dict(zip(names, line.split("\t"), strict=True)) for line in lines[1:]]

    def statuses(self, output: str = "results") -> dict[str, set[str]]:
        """Give the statuses of the tasks of each process."""
        found: dict[str, set[str]] = {}
        for task in self.trace(output):
            found.setdefault(task["name"].split()[0], set()).add(task["status"])
        return found


def make_nextflow(version: str, folder: Path, environment: dict[str, str]) -> Nextflow:
    """Make a version ready; the test is skipped, with the reason, where that cannot be."""
    reason = missing_program()
    if reason is not None:
        pytest.skip(f"Nextflow: {reason}")
    program = install(version)
    (folder / "spare.config").write_text(SPARE, encoding="utf-8")
    # Of two first runs that make one home at the same moment, Nextflow ends one with an error.
    home = folder / "nextflow-home"
    home.mkdir()
    return Nextflow(
        version,
        program,
        folder,
        {
            **environment,
            "SEQMILL_NEXTFLOW": str(program),
            "NXF_HOME": str(home),
            "NXF_OFFLINE": "true",
            "NXF_DISABLE_CHECK_LATEST": "true",
            "NXF_ANSI_LOG": "false",
        },
    )
