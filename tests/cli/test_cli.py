import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]

LOAD = "from seqmill import cli, errors\n"
HEAVY = ("numpy", "rich", "pyarrow", "polars", "pandas", "matplotlib", "seqmill._native")


def main_program(body: str, *arguments: str) -> list[str]:
    """The real `main` around a command that does what `body` says."""
    program = (
        f"{LOAD}import os, sys, time, warnings\n"
        f"def run(arguments, session):\n    {body}\n"
        f"cli._run = run\ncli.main({list(arguments)!r})\n"
    )
    return [sys.executable, "-c", program]


def run_main(
    body: str, environment: dict[str, str], *arguments: str
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        main_program(body, *arguments),
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def on_a_terminal(command: Sequence[str], environment: dict[str, str]) -> tuple[int, str]:
    """Run a command whose stdout and stderr are a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    text = b""
    while True:
        ready, _, _ = select.select([ours], [], [], 60)
        try:
            piece = os.read(ours, 65536) if ready else b""
        except OSError:  # Linux says so when the other end is closed.
            piece = b""
        if not piece:
            break
        text += piece
    os.close(ours)
    return process.wait(60), text.decode()


def test_help_lists_commands_and_exit_codes(run_seqmill: Run) -> None:
    told = run_seqmill("--help")
    assert told.returncode == 0
    assert told.stderr == ""
    for words in ("info", "completion", "65 bad input", "memory budget"):
        assert words in told.stdout


def test_program_without_command_shows_help_and_is_wrong_usage(run_seqmill: Run) -> None:
    told = run_seqmill()
    assert (told.returncode, told.stdout) == (2, "")
    assert "Usage: seqmill" in told.stderr


def test_version(run_seqmill: Run) -> None:
    told = run_seqmill("--version")
    assert told.returncode == 0
    assert told.stdout.startswith("seqmill 0.")


def test_module_is_the_command(command_environment: dict[str, str]) -> None:
    told = subprocess.run(
        [sys.executable, "-m", "seqmill", "--version"],
        env=command_environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.startswith("seqmill 0.")


@pytest.mark.parametrize("arguments", [["--help"], ["info", "--help"], ["completion", "bash"]])
def test_help_and_completion_import_nothing_heavy(
    arguments: list[str], command_environment: dict[str, str]
) -> None:
    program = (
        "import sys\nfrom seqmill.cli import main\n"
        f"try:\n    main({arguments!r})\n"
        f"finally:\n    print([n for n in {HEAVY!r} if n in sys.modules], file=sys.stderr)\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", program],
        env=command_environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stderr == "[]\n"


def test_every_command_that_is_listed_has_a_help_page_in_sections(run_seqmill: Run) -> None:
    from seqmill import cli  # noqa: PLC0415 - the list is what is tested

    names = cli.seqmill.list_commands(None)  # type: ignore[arg-type]
    assert {"info", "completion"} <= set(names)
    for name in names:
        told = run_seqmill(name, "--help")
        assert told.returncode == 0, told.stderr
        assert told.stdout.startswith(f"Usage: seqmill {name}")
        assert "Examples:" in told.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nope"], "no such command 'nope'"),
        (["info", "--nope"], "no such option '--nope'"),
        (["info", "--color", "pink"], "'pink' is not one of"),
        (["completion"], "missing argument"),
        (["completion", "tcsh"], "'tcsh' is not one of"),
    ],
)
def test_wrong_usage_is_one_line_and_a_hint(
    run_seqmill: Run, arguments: list[str], words: str
) -> None:
    told = run_seqmill(*arguments)
    assert (told.returncode, told.stdout) == (2, "")
    error, hint = told.stderr.splitlines()
    assert error.startswith("seqmill: error: ")
    assert words in error
    assert not error.endswith(".")
    assert hint.startswith("seqmill: hint: see 'seqmill")


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        ("errors.InputError('x is wrong')", 2, "x is wrong"),
        ("errors.OutputExistsError('x exists', path='x')", 2, "x exists"),
        ("errors.ChecksumError('x.bam: wrong\\nin two lines')", 65, "x.bam: wrong in two lines"),
        ("OSError(2, 'No such file or directory', 'x.bam')", 74,
         "x.bam: no such file or directory"),
        ("OSError(110, 'Connection timed out', 'x')", 75, "x: connection timed out"),
        ("errors.BudgetError('needs 64 MiB')", 78, "needs 64 MiB"),
        ("MemoryError()", 78, "out of memory"),
        ("KeyboardInterrupt()", 130, "interrupted"),
        ("errors.CancelledError('cancelled')", 130, "cancelled"),
    ],
)  # fmt: skip
def test_error_is_one_line_on_stderr_with_its_exit_code(
    error: str, code: int, message: str, command_environment: dict[str, str]
) -> None:
    told = run_main(f"raise {error}", command_environment)
    assert (told.returncode, told.stdout) == (code, "")
    assert told.stderr == f"seqmill: error: {message}\n"


def test_hint_and_notes_follow_the_error(command_environment: dict[str, str]) -> None:
    body = (
        "e = errors.BudgetError('too small', hint='give 64M'); "
        "e.add_note('--resume goes on'); raise e"
    )
    told = run_main(body, command_environment)
    assert told.stderr.splitlines() == [
        "seqmill: error: too small",
        "seqmill: hint: give 64M",
        "seqmill: hint: --resume goes on",
    ]


@pytest.mark.parametrize("error", ["ZeroDivisionError('oops')", "errors.InternalError('oops')"])
def test_bug_says_that_it_is_one(error: str, command_environment: dict[str, str]) -> None:
    told = run_main(f"raise {error}", command_environment)
    assert told.returncode == 1
    assert "oops" in told.stderr
    assert "report" in told.stderr.splitlines()[-1]


def test_value_of_a_command_is_its_exit_code(command_environment: dict[str, str]) -> None:
    assert run_main("return 1", command_environment).returncode == 1
    assert run_main("return None", command_environment).returncode == 0


def test_warning_is_one_line(command_environment: dict[str, str]) -> None:
    told = run_main("warnings.warn('x.bam: no end marker')", command_environment)
    assert (told.returncode, told.stderr) == (0, "seqmill: warning: x.bam: no end marker\n")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signal_ends_the_command_with_its_code(
    number: signal.Signals, code: int, command_environment: dict[str, str]
) -> None:
    command = main_program("print('ready', flush=True); time.sleep(60)")
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=command_environment
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        sent = time.monotonic()
        process.send_signal(number)
        _, text = process.communicate(timeout=30)
        assert time.monotonic() - sent < 5
    assert process.returncode == code
    assert "Traceback" not in text


@pytest.mark.parametrize("body", ["print('x' * 1000)", "sys.stdout.write('x' * 1_000_000)"])
def test_closed_pipe_ends_quietly_with_141(body: str, command_environment: dict[str, str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.run(
        main_program(body),
        stdout=writer,
        stderr=subprocess.PIPE,
        env=command_environment,
        timeout=60,
        check=False,
    )
    os.close(writer)
    assert (process.returncode, process.stderr) == (141, b"")


def test_command_whose_output_is_closed_ends_quietly(command_environment: dict[str, str]) -> None:
    told = subprocess.run(
        ["bash", "-c", "seqmill completion bash >&-"],
        env=command_environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in told.stderr


COLOURED = "seqmill: \x1b[1;31merror:\x1b[0m x"
BARE = "seqmill: error: x"


@pytest.mark.parametrize(
    ("variables", "terminal", "pipe"),
    [
        ({}, COLOURED, BARE),
        ({"NO_COLOR": "1"}, BARE, BARE),
        ({"FORCE_COLOR": "1"}, COLOURED, COLOURED),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, BARE, BARE),
        ({"TERM": "dumb"}, BARE, BARE),
    ],
)
def test_colour_follows_terminal_and_variables(
    variables: dict[str, str], terminal: str, pipe: str, command_environment: dict[str, str]
) -> None:
    environment = {**command_environment, "TERM": "xterm", **variables}
    body = "raise errors.SamError('x')"
    code, text = on_a_terminal(main_program(body), environment)
    assert (code, text.strip()) == (65, terminal)
    assert run_main(body, environment).stderr.strip() == pipe


@pytest.mark.parametrize(("choice", "coloured"), [("always", True), ("never", False)])
def test_color_option_wins_over_variables(
    run_seqmill: Run,
    choice: str,
    coloured: bool,  # noqa: FBT001
) -> None:
    variable = {"NO_COLOR": "1"} if coloured else {"FORCE_COLOR": "1"}
    told = run_seqmill("info", "--color", choice, env={**variable, "SEQMILL_THREADS": "many"})
    assert told.returncode == 2
    assert ("\x1b[" in told.stderr) is coloured


def test_info_tells_a_person_and_a_program_the_same(run_seqmill: Run) -> None:
    table, document = run_seqmill("info"), run_seqmill("info", "--json")
    assert (table.returncode, document.returncode) == (0, 0)
    facts = json.loads(document.stdout)
    assert facts["threads"]["value"] >= 1
    assert facts["threads"]["source"] in table.stdout
    assert facts["memory"]["value"] > 0
    assert facts["packages"]["numpy"] in table.stdout
    assert facts["version"] in table.stdout


def test_info_obeys_the_environment(run_seqmill: Run) -> None:
    told = run_seqmill("info", "--json", env={"SEQMILL_MEMORY": "2.GB", "SLURM_CPUS_PER_TASK": "1"})
    facts = json.loads(told.stdout)
    assert facts["memory"] == {"value": 2 << 30, "source": "SEQMILL_MEMORY"}
    assert facts["threads"]["value"] == 1
    told = run_seqmill("info", env={"SEQMILL_THREADS": "many"})
    assert told.returncode == 2
    assert told.stderr.startswith("seqmill: error: 'many' is not a number of threads")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_is_one_of_its_shell(
    run_seqmill: Run, shell: str, tmp_path: Path
) -> None:
    told = run_seqmill("completion", shell)
    assert told.returncode == 0
    assert "_SEQMILL_COMPLETE" in told.stdout
    program = shutil.which(shell)
    if program is None:
        return
    script = tmp_path / "script"
    script.write_text(told.stdout)
    subprocess.run([program, "-n", str(script)], check=True, timeout=30)


def test_bash_completes_commands_and_options(run_seqmill: Run) -> None:
    def complete(line: str, place: int) -> list[str]:
        told = run_seqmill(
            env={
                "_SEQMILL_COMPLETE": "bash_complete",
                "COMP_WORDS": line,
                "COMP_CWORD": str(place),
            }
        )
        return [word.partition(",")[2] for word in told.stdout.splitlines()]

    assert complete("seqmill in", 1) == ["info"]
    assert complete("seqmill info --js", 2) == ["--json"]
    assert complete("seqmill completion z", 2) == ["zsh"]
