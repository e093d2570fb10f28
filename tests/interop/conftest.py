"""What the tests of engines share: one cluster of two worker processes."""

from collections.abc import Callable, Iterator
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
def small_disk(mount_disk: Callable[[str], Path]) -> Path:
    """A file system of 256 KiB."""
    return mount_disk("256k")
