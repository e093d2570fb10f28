"""The Nextflow pipeline: where it is, a copy of it, and the command that runs it."""

import json
import os
import secrets
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from seqmill._workflow_params import PIPELINE
from seqmill.errors import InputError, OutputExistsError

__all__ = ["PIPELINE", "Launch", "copy_pipeline", "find_nextflow", "plan_launch", "record_launch"]

VARIABLE: Final = "SEQMILL_NEXTFLOW"
_RECORD: Final = Path(".nextflow", "seqmill.json")
_HISTORY: Final = Path(".nextflow", "history")
_RUN_NAME, _SESSION, _HISTORY_FIELDS = 2, 5, 7
_HOW_TO_GET_IT: Final = (
    "install Nextflow 24.10 or newer (conda install -c bioconda nextflow, or as its manual says; "
    f"it needs Java 17), or name the program in {VARIABLE}"
)


def copy_pipeline(folder: str | os.PathLike[str]) -> Path:
    """Copy the pipeline into a folder, which must not hold anything yet.

    Raises
    ------
    OutputExistsError
        If `folder` exists and is not empty.
    """
    target = Path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise OutputExistsError(
            f"{target}: exists already; a pipeline that may have been edited is never replaced",
            path=str(target),
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        # The user's own permissions, whatever those of the installation are.
        shutil.copytree(PIPELINE, aside, copy_function=shutil.copyfile)
        aside.replace(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return target


def find_nextflow() -> str | None:
    """Find the program: `$SEQMILL_NEXTFLOW`, then `nextflow` on `PATH`.

    Raises
    ------
    InputError
        If the variable names something that cannot be run.
    """
    told = os.environ.get(VARIABLE)
    if told:
        found = shutil.which(told)
        if found is None:
            raise InputError(f"{told}: no program, but {VARIABLE} names it", option=VARIABLE)
        return found
    return shutil.which("nextflow")


def require_nextflow() -> str:
    """Find the program, or say how to get it."""
    found = find_nextflow()
    if found is None:
        error = InputError("nextflow: no such program on PATH", option="nextflow")
        error.hint = _HOW_TO_GET_IT
        raise error
    return found


@dataclass(frozen=True, slots=True)
class Launch:
    """A run of the pipeline from one folder.

    Attributes
    ----------
    arguments
        What Nextflow is given, the program itself left out.
    run_name
        Name of the run, by which the session is found again.
    output_dir
        Folder of the results.
    resumed
        Session that the run goes on with, None for a new one.
    """

    arguments: tuple[str, ...]
    run_name: str
    output_dir: str
    resumed: str | None

    def command_line(self, program: str) -> str:
        """Give the command as a shell takes it."""
        return shlex.join([program, *self.arguments])


def plan_launch(
    parameters: Mapping[str, Any],
    *,
    pipeline: Path = PIPELINE,
    output_dir: str = "results",
    profile: str | None = None,
    params_file: str | None = None,
    extra: Sequence[str] = (),
    resume: bool = False,
) -> Launch:
    """Put the command together.

    Parameters
    ----------
    parameters
        Parameters of the pipeline for the command line; None is left out.
    pipeline
        Folder of the pipeline.
    output_dir
        Folder of the results, after all sources of parameters were asked.
    profile, params_file
        Options of Nextflow.
    extra
        More arguments of Nextflow.
    resume
        Go on with the session of the last run that wrote to `output_dir` from this folder.

    Returns
    -------
    Launch
        The run.
    """
    session = _find_session(output_dir) if resume else None
    name = _option_value(extra, "-name") or f"seqmill-{secrets.token_hex(4)}"
    arguments = ["run", str(pipeline)]
    if "-name" not in extra:
        arguments += ["-name", name]
    if session is not None:
        # Without the session Nextflow would go on with the last run of this folder.
        arguments += ["-resume", session]
    if profile is not None:
        arguments += ["-profile", profile]
    if params_file is not None:
        arguments += ["-params-file", params_file]
    for key, value in parameters.items():
        if value is not None:
            text = str(value).lower() if isinstance(value, bool) else str(value)
            arguments += [f"--{key}", text]
    return Launch((*arguments, *extra), name, output_dir, session)


def _option_value(arguments: Sequence[str], option: str) -> str | None:
    places = [n for n, word in enumerate(arguments[:-1]) if word == option]
    return arguments[places[-1] + 1] if places else None


def record_launch(launch: Launch) -> None:
    """Note which run writes to which folder, before it starts: it may be killed at any moment."""
    runs = {**_recorded(), str(Path(launch.output_dir).absolute()): launch.run_name}
    _RECORD.parent.mkdir(exist_ok=True)
    aside = _RECORD.with_name(f".{_RECORD.name}.part")
    aside.write_text(f"{json.dumps(runs, indent=1)}\n", encoding="utf-8")
    aside.replace(_RECORD)


def _recorded() -> dict[str, str]:
    try:
        runs = json.loads(_RECORD.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return runs if isinstance(runs, dict) else {}


def _find_session(output_dir: str) -> str | None:
    """Find the session of the last run that wrote to a folder, in Nextflow's own history."""
    name = _recorded().get(str(Path(output_dir).absolute()))
    try:
        history = _HISTORY.read_text(encoding="utf-8")
    except OSError:
        return None
    found = None
    for line in history.splitlines():
        fields = line.split("\t")
        if len(fields) >= _HISTORY_FIELDS and fields[_RUN_NAME] == name:
            found = fields[_SESSION]
    return found
