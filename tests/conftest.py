"""What several test files need: the shared data, the installed command, example data."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says more of the machine than of the code.
settings.register_profile("seqmill", deadline=None)
settings.load_profile("seqmill")

REPOSITORY = Path(__file__).resolve().parent.parent


def find_shared_data() -> Path | None:
    """Find the data that are too large for the repository, None if they are not here."""
    told = os.environ.get("SEQMILL_SHARED_DATA")
    folder = Path(told) if told else REPOSITORY.parent / "shared" / "data"
    return folder if folder.is_dir() else None


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the shared data; the test is skipped where it is absent."""
    folder = find_shared_data()
    if folder is None:
        pytest.skip("no shared data: neither ../shared/data nor SEQMILL_SHARED_DATA is a folder")
    return folder


@pytest.fixture
def mount_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mount a file system of a size such as ``"4m"``; skipped where that may not be done."""
    mounted: list[Path] = []

    def mount(size: str) -> Path:
        folder = tmp_path / "disk"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        # Lazily: a worker that was killed may still hold a file.
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture(scope="session")
def command_environment() -> dict[str, str]:
    """Environment in which `seqmill` is the command under test and nothing changes its output."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("SEQMILL_", "SLURM_")) and key not in ("NO_COLOR", "FORCE_COLOR")
    }
    folder = str(Path(sys.executable).parent)
    return {**kept, "PATH": f"{folder}{os.pathsep}{kept['PATH']}", "COLUMNS": "80"}


RunCommand = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def run_seqmill(command_environment: dict[str, str]) -> RunCommand:
    """Run the installed command: `run_seqmill("info", "--json", cwd=..., env={...})`."""

    def run(
        *arguments: str | os.PathLike[str],
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
        timeout: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["seqmill", *map(os.fspath, arguments)],
            env={**command_environment, **(env or {})},
            cwd=cwd,
            timeout=timeout,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def example_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the small files that the examples of the help pages use; do not write to it."""
    simulate = pytest.importorskip("seqmill.simulate")
    if not hasattr(simulate, "write_example_data"):
        pytest.skip("seqmill.simulate.write_example_data does not exist yet")
    folder = tmp_path_factory.mktemp("example_data")
    simulate.write_example_data(folder)
    return folder
