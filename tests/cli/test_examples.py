"""Every example of every help page is run as it stands there."""

import shutil
import subprocess
from pathlib import Path

import click
import pytest

from seqmill import cli
from seqmill.cli._options import Example, JobCommand

CONTEXT = click.Context(cli.seqmill)
COMMANDS = {name: cli.seqmill.get_command(CONTEXT, name) for name in cli.COMMANDS}
EXAMPLES = [
    pytest.param(example, id=example.line)
    for command in COMMANDS.values()
    if isinstance(command, JobCommand)
    for example in command.examples
]


@pytest.mark.parametrize("name", [name for name, command in COMMANDS.items() if command])
def test_help_page_ends_with_three_examples_that_can_be_copied(name: str) -> None:
    command = COMMANDS[name]
    assert isinstance(command, JobCommand)
    assert len(command.examples) >= 3
    page = command.get_help(click.Context(command, CONTEXT, name))
    for example in command.examples:
        assert f"  # {example.note}\n  {example.line}\n" in f"{page}\n"
        assert f"seqmill {name}" in example.line


@pytest.mark.parametrize("example", EXAMPLES)
def test_example_runs(
    example: Example, example_data: Path, tmp_path: Path, command_environment: dict[str, str]
) -> None:
    folder = tmp_path / "work"
    shutil.copytree(example_data, folder)
    told = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", example.line],
        cwd=folder,
        env=command_environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    assert "Traceback" not in told.stderr
