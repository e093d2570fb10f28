"""`seqmill profile`: the pictures, the exit codes, who takes the samples."""

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from seqmill._flame import draw_flame, fold_perf, parse_folded

Run = Callable[..., Any]
SVG = "{http://www.w3.org/2000/svg}"


def titles(path: Path) -> list[str]:
    return [one.text or "" for one in ET.parse(path).iter(f"{SVG}title")]  # noqa: S314 - our own


def test_widths_are_shares_and_names_are_escaped() -> None:
    stacks = Counter({("main", "a<b>"): 3, ("main", "c"): 1})
    text = draw_flame(stacks, title="x & y")
    assert text == draw_flame(Counter(dict(reversed(stacks.items()))), title="x & y")
    root = ET.fromstring(text)  # noqa: S314 - our own
    widths = {
        group.findtext(f"{SVG}title", "").split(" (")[0]: float(
            group.find(f"{SVG}rect").attrib["width"]  # type: ignore[union-attr]
        )
        for group in root.iter(f"{SVG}g")
    }
    assert widths == {"all": 1200, "main": 1200, "a<b>": 900, "c": 300}


def test_folding_counts_samples_and_drops_hashes() -> None:
    lines = ["seqmill 1/2 ", "\t 1f inner::h0123456789abcdef", "\t 2f outer", "", "seqmill 1/3", ""]
    assert fold_perf(lines) == {("seqmill", "outer", "inner"): 1, ("seqmill",): 1}
    assert parse_folded(["a;b 2\n", "\n"]) == {("a", "b"): 2}


def test_stages_need_no_other_program(run_seqmill: Run, example_data: Path, tmp_path: Path) -> None:
    source = example_data / "small.bam"
    arguments = ["profile", "--by", "stages", "-o", "x.svg", "--", "convert", source]
    told = run_seqmill(*arguments, "-o", "small.parquet", "-q", cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    assert any(title.startswith("convert (") for title in titles(tmp_path / "x.svg"))
    again = run_seqmill(*arguments, "-o", "other.parquet", cwd=tmp_path)
    assert again.returncode == 2
    assert "--force" in again.stderr
    assert not (tmp_path / "other.parquet").exists()


def test_exit_code_is_that_of_the_command(run_seqmill: Run, tmp_path: Path) -> None:
    told = run_seqmill("profile", "--by", "stages", "--", "convert", "no.bam", "-o", "x.parquet",
                       cwd=tmp_path)  # fmt: skip
    assert told.returncode == 74
    told = run_seqmill("profile", "--by", "stages", "-f", "--", "true", cwd=tmp_path)
    assert told.returncode == 2
    assert "only commands of seqmill" in told.stderr


@pytest.mark.skipif(shutil.which("perf") is None, reason="perf is not on PATH")
def test_perf_draws_functions(run_seqmill: Run, example_data: Path, tmp_path: Path) -> None:
    told = run_seqmill(
        "profile", "--by", "perf", "--frequency", "997", "--",
        "convert", example_data / "small.bam", "-o", "small.parquet", "-q", cwd=tmp_path,
    )  # fmt: skip
    if "may not take samples" in told.stderr:
        pytest.skip("the kernel allows no samples")
    assert told.returncode == 0, told.stderr
    assert len(titles(tmp_path / "profile.svg")) > 5
