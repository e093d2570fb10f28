"""The budget holds with remote inputs too: what is read ahead is part of it."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.memory.test_convert_budget import MIB, SHORT_READS, Run, convert, measure
from tests.object_server import serve_folder

pytest.importorskip("obstore")

__all__ = ["convert", "measure"]  # fixtures


@pytest.mark.parametrize(("memory", "threads"), [(64 * MIB, 1), (64 * MIB, 8), (512 * MIB, 2)])
def test_remote_alignments_stay_within_the_budget(
    shared_data: Path, convert: Run, tmp_path: Path, memory: int, threads: int
) -> None:
    source = shared_data / SHORT_READS
    subprocess.run(
        [Path(sys.executable).with_name("seqmill"), "convert", source, "-o", tmp_path / "l.arrow"],
        check=True,
        capture_output=True,
    )
    output = tmp_path / "r.arrow"
    with serve_folder(source.parent) as server:
        url = f"{server.url}/{source.name}"
        ended = convert(url, output, memory, "-@", threads)
    assert ended.code == 0, ended.errors
    assert ended.peak <= memory
    local, remote = (
        hashlib.sha256(path.read_bytes()).digest() for path in (tmp_path / "l.arrow", output)
    )
    assert local == remote
