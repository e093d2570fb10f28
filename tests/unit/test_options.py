import os
import re
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from seqmill.cli import _options as options

# The decisions on spelling: the same in every command.
SPELLINGS = {
    "-@, --threads", "-m, --memory", "-o, --output", "-r, --region", "-R, --regions-file",
    "-f, --force", "--resume", "--tmpdir", "--metrics", "--html", "--progress", "-q, --quiet",
    "-v, --verbose", "--color",
}  # fmt: skip


@click.command(
    "try",
    cls=options.JobCommand,
    examples=[options.Example("one line that is longer than the page " * 4, "seqmill try " * 12)],
)
@click.argument("inputs", nargs=-1)
@options.region_options
@options.output_option("Where to.")
@options.force_option
@options.resume_option
@options.metrics_option
@options.html_option
@options.resource_options
@options.display_options
@options.pass_session
def command(session: options.Session, **values: Any) -> None:
    """Show what came in."""
    click.echo(repr({**values, "session": session}))


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(command, arguments, env=environment)


def values_of(*arguments: str, **environment: str) -> dict[str, Any]:
    result = run(*arguments, **environment)
    assert result.exit_code == 0, result.output
    names = {"Session": options.Session, "PosixPath": str}
    values: dict[str, Any] = eval(result.stdout, names)  # noqa: S307 - our own repr
    return values


def test_options_are_spelled_as_decided() -> None:
    page = run("--help").stdout
    found = {match[1] for match in re.finditer(r"^  ((?:-\S, )?--[a-z-]+)", page, re.MULTILINE)}
    assert found - {"--help"} == SPELLINGS


def test_help_page_has_sections_in_order_and_examples_unwrapped() -> None:
    page = run("--help").stdout
    titles = ["Input options:", "Output options:", "Resource options:", "Display options:"]
    places = [page.index(f"\n{title}\n") for title in [*titles, "Examples:"]]
    assert places == sorted(places)
    assert f"\n  {'seqmill try ' * 12}\n" in page


def test_nothing_given() -> None:
    values = values_of()
    assert values.pop("session") == options.Session(command="try")
    assert values == {
        "inputs": (), "regions": (), "regions_file": None, "output": None, "force": False,
        "resume": False, "metrics": None, "html": None, "threads": None, "memory": None,
        "tmpdir": None,
    }  # fmt: skip


def test_values_are_read() -> None:
    values = values_of(
        "-@", "3", "-m", "1.5GiB", "-r", "chr1", "-r", "chr2:5-9", "-R", "x.bed", "-o", "-", "-f",
        "--tmpdir", ".", "--metrics", "-",
    )  # fmt: skip
    assert (values["threads"], values["memory"]) == (3, 3 << 29)
    assert values["regions"] == ("chr1", "chr2:5-9")
    assert (values["regions_file"], values["tmpdir"]) == ("x.bed", ".")
    assert (values["output"], values["metrics"], values["force"]) == ("-", "-", True)
    assert values_of("-@", "auto", "-m", "auto")["threads"] == "auto"


def test_folder_for_temporary_files_comes_from_the_environment_too() -> None:
    assert values_of(SEQMILL_TMPDIR=".")["tmpdir"] == "."
    assert values_of("--tmpdir", "..", SEQMILL_TMPDIR=".")["tmpdir"] == ".."


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-@", "0"], "'0' is not a number of threads"),
        (["-@", "two"], "'two' is not a number of threads"),
        (["-m", "2X"], "'2X' is not a memory size"),
        (["-m", "0"], "'0' is not a memory size"),
        (["--progress", "dots"], "'dots' is not one of"),
    ],
)
def test_wrong_value_is_wrong_usage(arguments: list[str], words: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr


@pytest.mark.parametrize(
    ("arguments", "progress"),
    [
        ([], "auto"),
        (["--progress", "json"], "json"),
        (["-q"], "none"),
        (["-q", "--progress", "bar"], "none"),
        (["--progress", "bar", "-q"], "none"),
    ],
)
def test_quiet_wins_over_progress(arguments: list[str], progress: str) -> None:
    assert values_of(*arguments)["session"].progress == progress


def test_verbose_counts() -> None:
    assert values_of("-vv")["session"].verbose == 2


@pytest.mark.parametrize(
    ("choice", "on", "off"),
    [("always", "FORCE_COLOR", "NO_COLOR"), ("never", "NO_COLOR", "FORCE_COLOR")],
)
def test_color_reaches_everything_that_draws(
    choice: str, on: str, off: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(on, "")
    monkeypatch.setenv(off, "1")
    assert values_of("--color", choice)["session"].color == choice
    assert os.environ.get(on) == "1"
    assert off not in os.environ
