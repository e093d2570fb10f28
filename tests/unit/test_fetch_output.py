"""Windows that are longer than a batch are written piece by piece, as they are written whole."""

import io
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from seqmill import FastaStore
from seqmill.cli._fetch_output import TextOptions, write_text
from seqmill.cli._fetch_room import Room
from seqmill.cli._fetch_windows import Wanted
from seqmill.errors import BudgetError, OutOfRangeError

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20
LENGTH = 997


class Narrow(Room):
    """Room for so few bases that every window is longer."""

    def fit_batch(self, base_bytes: int, least: int = 0) -> int:  # noqa: ARG002 - as it is called
        return self.memory


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FastaStore:
    path: Path = tmp_path_factory.mktemp("store") / "a.fa"
    bases = ("ACGTTGCANNacgtRYk" * LENGTH)[:LENGTH]
    lines = [bases[at : at + 50] for at in range(0, LENGTH, 50)]
    path.write_text(">a\n" + "\n".join(lines) + "\n")
    return FastaStore.open(path)


def written(store: FastaStore, item: Wanted, options: TextOptions) -> bytes:
    out = io.BytesIO()
    figures = write_text(store, [item], out, options)
    assert figures.windows == 1
    return out.getvalue()


def told(store: FastaStore, item: Wanted, options: TextOptions) -> bytes | str:
    try:
        return written(store, item, options)
    except OutOfRangeError as error:
        return str(error)


@example(start=LENGTH, length=2, minus=False, policy="pad", bed=False, width=1, most=1)
@example(start=-9, length=4, minus=True, policy="pad", bed=True, width=3, most=2)
@given(
    start=st.integers(-60, LENGTH + 40),
    length=st.integers(0, LENGTH + 100),
    minus=st.booleans(),
    policy=st.sampled_from(["error", "pad", "clip", "shift"]),
    bed=st.booleans(),
    width=st.integers(1, 80),
    most=st.integers(1, 70),
)
def test_pieces_are_what_the_whole_is(store: FastaStore, **drawn: object) -> None:
    start, length, width, most = (int(str(drawn[k])) for k in ("start", "length", "width", "most"))
    item = Wanted("a:1", 0, 0, start, start + length, minus=bool(drawn["minus"]))
    kept = {"out_of_range": drawn["policy"], "bed": drawn["bed"], "width": width}
    whole = TextOptions(room=Room(1 << 30, 1), **kept)  # type: ignore[arg-type]
    pieces = TextOptions(room=Narrow(most, 1), **kept)  # type: ignore[arg-type]
    assert told(store, item, pieces) == told(store, item, whole)


def test_budget_that_the_program_exceeds_is_refused() -> None:
    with pytest.raises(BudgetError, match="give at least --memory") as caught:
        Room(4 * MIB, 1).check()
    assert caught.value.needed is not None
    least = caught.value.needed
    assert Room(least + 64 * MIB, 1).fit_batch(3) <= 8 * MIB
    with pytest.raises(BudgetError, match="give at least --memory"):
        Room(least + 64 * MIB, 1).fit_batch(16, 64 * MIB)
