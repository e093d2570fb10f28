"""What the tests of engines share: one cluster of two worker processes."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from seqmill.engine.dask import DaskEngine


@pytest.fixture(scope="session")
def engine() -> Iterator["DaskEngine"]:
    """Two worker processes that are started anew when they die."""
    pytest.importorskip("distributed", reason="Dask is not installed")
    from seqmill.engine.dask import connect  # noqa: PLC0415 - an extra

    with connect("local:2") as opened:
        yield opened


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
