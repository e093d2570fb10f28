"""All commands speak alike: options, help pages, exit codes."""

import os
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from seqmill import cli
from seqmill.cli._options import EXIT_CODES, JobCommand
from seqmill.errors import ExitCode
from tests.conftest import REPOSITORY, RunCommand

# The letters of these belong to them in every command.
SHARED = {
    "--threads": "-@",
    "--memory": "-m",
    "--output": "-o",
    "--region": "-r",
    "--regions-file": "-R",
    "--force": "-f",
    "--quiet": "-q",
    "--verbose": "-v",
    "--help": "-h",
    "--resume": None,
    "--tmpdir": None,
    "--metrics": None,
    "--html": None,
    "--progress": None,
    "--color": None,
}
# What these say does not depend on the command.
SAME_TEXT = {
    "--threads", "--memory", "--force", "--resume", "--tmpdir", "--metrics", "--html", "--progress",
    "--verbose", "--color", "--help",
}  # fmt: skip
# Other tools' names for the same things.
FOREIGN = {"--overwrite", "--cpus", "--jobs", "--mem", "--ram", "--tmp-dir", "--temp-dir", "--out"}
# It keeps the letters of the program whose arguments it takes.
OWN_LETTERS = "agc"


def walk(command: click.Command, context: click.Context) -> Iterator[tuple[str, click.Context]]:
    """Give every command that has no commands below it, and its path."""
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None, name
            yield from walk(below, click.Context(below, context, name))
    else:
        yield context.command_path, context


TOP = click.Context(cli.seqmill, info_name="seqmill", **cli.seqmill.context_settings)
ALL = dict(walk(cli.seqmill, TOP))
every_command = pytest.mark.parametrize("path", ALL)


def options_of(path: str) -> list[click.Option]:
    command = ALL[path].command
    return [one for one in command.get_params(ALL[path]) if isinstance(one, click.Option)]


def test_commands_are_found() -> None:
    assert {"seqmill convert", "seqmill fetch", "seqmill repeats", "seqmill demo"} <= set(ALL)


@every_command
def test_shared_options_are_spelled_alike(path: str) -> None:
    if path.split()[1] == OWN_LETTERS:
        return
    letters = {letter: name for name, letter in SHARED.items() if letter}
    for option in options_of(path):
        names = {*option.opts, *option.secondary_opts}
        for name in names & SHARED.keys():
            letter = SHARED[name]
            assert letter is None or letter in names, f"{path}: {name} without {letter}"
        for letter in names & letters.keys():
            assert letters[letter] in names, f"{path}: {letter} is not {letters[letter]}"
        assert not names & FOREIGN, path


@every_command
def test_options_are_explained(path: str) -> None:
    for option in options_of(path):
        text = option.help or ""
        assert text, f"{path}: {option.opts}"
        assert text[0].isupper() or not text[0].isalpha() or ":" in text, f"{path}: {text}"
        assert text.rstrip().endswith((".", "]")), f"{path}: {text}"
        long = [name for name in option.opts if name.startswith("--")]
        if path.split()[1] != OWN_LETTERS:
            assert long or option.opts == ["-k"], f"{path}: {option.opts} has no long name"


def test_shared_options_say_the_same_everywhere() -> None:
    said: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for path in ALL:
        for option in options_of(path):
            for name in SAME_TEXT & set(option.opts):
                said[name][option.help or ""].append(path)
    different = {name: dict(texts) for name, texts in said.items() if len(texts) > 1}
    assert not different


@every_command
def test_help_pages_are_whole(path: str) -> None:
    command = ALL[path].command
    assert isinstance(command, JobCommand)
    page = command.get_help(ALL[path])
    words = " ".join(page.split())
    assert EXIT_CODES in words
    assert len(command.examples) >= 3
    # Examples are never wrapped, so that they can be copied.
    assert max(map(len, page.split("\nExamples:")[0].splitlines())) <= 100
    assert command.help
    assert command.help.strip().splitlines()[0].rstrip().endswith((".", ",")) or len(words) > 100


@pytest.mark.parametrize("page", ["README.md", "docs/formats.md"])
def test_exit_codes_are_documented(page: str) -> None:
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    part = text.split("## Exit codes")[1].split("\n## ")[0]
    documented = set(map(int, re.findall(r"\b(\d{1,3})\b(?=[ ,|])", part)))
    assert {int(code) for code in ExitCode} <= documented
    assert {int(number) for number in re.findall(r"\b\d{1,3}\b", EXIT_CODES)} <= documented


def test_every_job_has_a_page_in_the_manual() -> None:
    nav = (REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8")
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    for name in {path.split()[1] for path in ALL} - {"info", "completion", "demo"}:
        pages = [page.stem for page in (REPOSITORY / "docs").glob("*.md")]
        text = "".join(path.read_text("utf-8") for path in (REPOSITORY / "docs").glob("*.md"))
        assert f"seqmill {name}" in text, name
        if name in pages:
            assert f"{name}.md" in nav, name
            assert f"seqmill {name}" in readme, name


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_every_option(shell: str) -> None:
    from click.shell_completion import get_completion_class  # noqa: PLC0415

    maker = get_completion_class(shell)
    assert maker is not None
    completion = maker(cli.seqmill, {}, "seqmill", cli.COMPLETE_VARIABLE)
    assert {one.value for one in completion.get_completions([], "")} >= {"convert", "demo"}
    for path in ALL:
        offered = {one.value for one in completion.get_completions(path.split()[1:], "--")}
        wanted = {name for one in options_of(path) for name in one.opts if name.startswith("--")}
        assert not wanted - offered, path


@pytest.mark.parametrize(
    "words",
    [
        ("convert", "{}", "-o", "out.parquet"),
        ("coverage", "{}", "-o", "out"),
        ("repeats", "{}", "-o", "out"),
        ("pack", "-o", "out.agc", "{}"),
    ],
    ids=lambda words: words[0],
)
def test_names_that_are_no_text_are_refused(
    words: tuple[str, ...], run_seqmill: RunCommand, tmp_path: Path
) -> None:
    """Linux allows any bytes in them; tables, reports and states hold text."""
    name = os.fsdecode(b"\xff.fa")
    (tmp_path / name).write_text(">a\nACGTACGTACGTACGTACGTACGTACGTACGTACGT\n")
    ended = run_seqmill(*(word.format(name) for word in words), cwd=tmp_path)
    assert ended.returncode == ExitCode.usage, ended.stderr
    assert re.search(r"udcff(\.fa)?: is not UTF-8; give the file another name", ended.stderr)
    assert [path.name for path in tmp_path.iterdir()] == [name]


REGIONS = {
    "fetch": ["fetch", "genome.fa", "REGION"],
    "convert": ["convert", "small.bam", "-r", "REGION", "-o", "OUT.parquet"],
    "coverage": ["coverage", "small.bam", "-r", "REGION", "-o", "OUT"],
    "kmers": ["kmers", "count", "genome.fa", "-k", "5", "-r", "REGION", "-o", "OUT.skm"],
    "unpack": ["unpack", "genomes.agc", "-r", "REGION@", "-o", "OUT.fa"],
}


@pytest.mark.parametrize("command", REGIONS)
@pytest.mark.parametrize("region", ["chr1:0-5", "chr1:0", "chr1:0-"])
def test_position_0_is_no_place(
    run_seqmill: RunCommand, example_data: Path, tmp_path: Path, command: str, region: str
) -> None:
    meant = {"REGION": region, "REGION@": region.replace("chr1", "chr2@sample1")}
    words = [meant.get(word, word) for word in REGIONS[command]]
    words = [os.fspath(path) if (path := example_data / word).is_file() else word for word in words]
    told = run_seqmill(*words, cwd=tmp_path)
    assert told.returncode == 2, told.stderr
    assert "position 0 stands before the first base, which is 1" in told.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        ["kmers", "count", "folder", "-o", "out.skm"],
        ["kmers", "merge", "folder", "folder", "-o", "out.skm"],
        ["kmers", "stats", "folder"],
        ["convert", "folder", "-o", "out.parquet"],
        ["coverage", "folder", "-o", "out"],
        ["repeats", "folder", "-o", "out"],
        ["pack", "folder", "-o", "out.agc"],
        ["unpack", "folder", "--all", "-o", "out"],
    ],
    ids=" ".join,
)
def test_a_folder_as_input_leaves_nothing(
    run_seqmill: RunCommand, tmp_path: Path, words: list[str]
) -> None:
    (tmp_path / "folder").mkdir()
    told = run_seqmill(*words, cwd=tmp_path)
    assert told.returncode == 74, told.stderr
    assert "folder: is a directory" in told.stderr
    assert "--resume" not in told.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


WORK = {
    "convert": ["convert", "small.bam", "-o", "OUT.parquet"],
    "coverage": ["coverage", "small.bam", "-o", "OUT"],
    "fetch": ["fetch", "genome.fa", "chr1:1-9", "-o", "OUT.fa"],
    "kmers": ["kmers", "count", "genome.fa", "-k", "5", "-o", "OUT.skm"],
    "pack": ["pack", "sample1.fa", "-o", "OUT.agc"],
    "repeats": ["repeats", "genome.fa", "-o", "OUT"],
    "unpack": ["unpack", "genomes.agc", "--all", "-o", "OUT"],
}


@pytest.mark.parametrize("command", WORK)
@pytest.mark.parametrize(
    ("option", "value", "code"), [("--html", "none/x.html", 74), ("--tmpdir", "none", 2)]
)
def test_a_folder_that_is_not_there_is_told_before_the_work(  # noqa: PLR0917 - cases
    run_seqmill: RunCommand,
    example_data: Path,
    tmp_path: Path,
    command: str,
    option: str,
    value: str,
    code: int,
) -> None:
    words = WORK[command]
    known = {text for item in ALL[f"seqmill {' '.join(words[: 1 + (words[0] == 'kmers')])}"]
             .command.params for text in item.opts}  # fmt: skip
    if option not in known:
        pytest.skip(f"{command} has no {option}")
    words = [os.fspath(path) if (path := example_data / word).is_file() else word for word in words]
    told = run_seqmill(*words, option, value, cwd=tmp_path)
    assert told.returncode == code, told.stderr
    assert "none" in told.stderr
    assert list(tmp_path.iterdir()) == []


def test_outputs_that_cannot_be_written_are_wrong_usage(
    run_seqmill: RunCommand, tmp_path: Path
) -> None:
    source = tmp_path / "in.fa"
    source.write_text(">a\nACGTACGT\n")
    told = run_seqmill("kmers", "plan", source, "-k", "3", "-o", source, "-f")
    assert (told.returncode, "is an input and the output" in told.stderr) == (2, True)
    for output in (source, Path("/dev/full")):
        told = run_seqmill("coverage", source, "-o", output, "-f")
        assert (told.returncode, "is no folder" in told.stderr) == (2, True)
    assert source.read_text() == ">a\nACGTACGT\n"
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize("command", ["convert", "coverage", "kmers", "repeats"])
def test_state_of_an_earlier_job_is_no_place_to_go_on(
    run_seqmill: RunCommand, tmp_path: Path, command: str
) -> None:
    state = tmp_path / "out.seqmill"
    state.mkdir()
    (state / "job.json").write_text("{}")
    words = {
        "convert": ["convert", "none.bam", "--format", "parquet"],
        "coverage": ["coverage", "none.bam"],
        "kmers": ["kmers", "count", "none.fa", "--format", "skm"],
        "repeats": ["repeats", "none.fa"],
    }[command]
    told = run_seqmill(*words, "-o", "out", "-f", "-q", cwd=tmp_path)
    assert told.returncode == 74, told.stderr
    assert "none." in told.stderr
    assert "--resume" not in told.stderr
    assert state.is_dir()
