"""Every `console` and `python` block of the README and the manual runs, page by page, in order.

A page's blocks share a scratch folder with the example data and, those in Python, their names; the
same job shown as a command and in Python must not find the other's output, so each language has a
folder of its own, except where a page is one story. In a
block with prompts (`$ `) what stands below a command must be what it prints (`...` stands for
anything). A block that cannot run says so, and why, in the title that readers see:

    ```console title="not run in the tests: builds the package"
"""

import doctest
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from seqmill import simulate
from tests.conftest import REPOSITORY

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
# One story from beginning to end; it takes longer than the quick suite should.
STORIES = {"tutorial.md"}
LANGUAGES = {"console", "python"}
OTHERS = {"json", "text", "toml"}
FENCE = re.compile(r"^(?P<indent>\s*)```(?P<language>\w*)(?P<rest>[^`]*)$")
EXCUSE = re.compile(r'title="not run in the tests: (?P<reason>[^"]{10,})"')
LOOSE = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    rest: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(REPOSITORY)}:{self.line}"

    @property
    def excuse(self) -> str | None:
        found = EXCUSE.fullmatch(self.rest.strip())
        return found["reason"] if found else None


def blocks_of(page: Path) -> Iterator[Block]:
    lines = iter(enumerate(page.read_text(encoding="utf-8").splitlines(), start=1))
    for number, line in lines:
        opening = FENCE.match(line)
        if opening is None:
            continue
        assert not opening["indent"], f"{page.name}:{number}: indented blocks would not be found"
        body = []
        for _, inner in lines:
            if inner.rstrip() == "```":
                break
            body.append(inner)
        else:
            pytest.fail(f"{page.name}:{number}: block without an end")
        yield Block(page, number, opening["language"], opening["rest"], "\n".join(body))


def make_folder(scratch: Path, example_data: Path) -> Path:
    """Make a scratch folder with what the pages speak of."""
    shutil.copytree(example_data, scratch)
    for suffix in ("", ".bai"):
        shutil.copy(scratch / f"small.bam{suffix}", scratch / f"reads.bam{suffix}")
    (scratch / "genomes").mkdir()
    genome = simulate.simulate_genome(
        simulate.GenomeOptions(contigs=(("chr1", 20_000), ("chr2", 8_000))), seed=7
    )
    members = [genome, *simulate.simulate_collection(genome, seed=7)]
    for number, member in enumerate(members[:3]):
        simulate.write_fasta(scratch / f"genomes/sample{number}.fa.gz", member.contigs)
    return scratch


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_are_of_a_known_kind(page: Path) -> None:
    for block in blocks_of(page):
        assert block.language in LANGUAGES | OTHERS, block.place
        if block.language in LANGUAGES and block.rest.strip():
            assert block.excuse, f"{block.place}: a title that does not say why it is not run"


# A page may warn, as commands do.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=page.name, marks=[pytest.mark.slow] if page.name in STORIES else [])
        for page in PAGES
        if any(block.language in LANGUAGES for block in blocks_of(page))
    ],
)
def test_blocks_run(
    page: Path,
    tmp_path: Path,
    example_data: Path,
    command_environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    console = make_folder(tmp_path / "console", example_data)
    python = console
    if page.name not in STORIES:
        python = make_folder(tmp_path / "python", example_data)
    monkeypatch.chdir(python)
    names: dict[str, Any] = {"__name__": "__page__"}
    for block in blocks_of(page):
        if block.language not in LANGUAGES or block.excuse:
            continue
        if block.language == "python":
            code = compile("\n" * block.line + block.text, str(page), "exec")
            exec(code, names)  # noqa: S102 - the page's own code is what is tested
        else:
            run_console(block, console, command_environment)


def run_console(block: Block, folder: Path, environment: dict[str, str]) -> None:
    """Run the commands of a block; behind prompts, compare what they print."""
    for command, expected in commands_of(block.text):
        told = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert told.returncode == 0, f"{block.place}: {command}\n{told.stderr}"
        assert "Traceback" not in told.stderr, f"{block.place}: {command}\n{told.stderr}"
        if expected:
            same = doctest.OutputChecker().check_output(f"{expected}\n", told.stdout, LOOSE)
            assert same, f"{block.place}: {command}\nprints\n{told.stdout}instead of\n{expected}"


def commands_of(text: str) -> Iterator[tuple[str, str]]:
    """Split a block into commands and what they print; without prompts it is one command."""
    if not text.startswith("$ "):
        yield text, ""
        return
    for piece in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        lines = piece.splitlines()
        length = next((i for i, line in enumerate(lines, 1) if not line.endswith("\\")), len(lines))
        yield "\n".join(lines[:length]), "\n".join(lines[length:]).rstrip()
