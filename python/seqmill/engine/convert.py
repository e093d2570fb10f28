"""`convert` on an engine: one unit for each output, be it a file's, a shard's or a partition's."""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from seqmill import _native
from seqmill._addresses import is_remote
from seqmill._driver import is_finished
from seqmill._footer import count_rows
from seqmill._inputs import open_inputs
from seqmill._tasks import PHASE, FileResult, Task, raise_common_mistake
from seqmill.engine.inputs import absolute, check_unchanged, describe_inputs
from seqmill.engine.job import EngineJob, RunningJob
from seqmill.engine.parts import move_into_place
from seqmill.engine.protocol import Unit, UnitResult
from seqmill.engine.stage import Outcome
from seqmill.engine.units import Resources
from seqmill.errors import ChangedError, ExitCode, InputError, InternalError, exit_code

__all__ = ["convert_on_engine", "run"]

_NOT_HERE: Final = ("bad_records", "index_only", "write_chunk_index")
_SIDE_FILES: Final = ("reference", "mate")


def run(work: Mapping[str, Any], output: Path, resources: Resources) -> dict[str, Any]:
    """Make one output on a worker; one without records may be dropped."""
    options = {
        **work["options"],
        "output": str(output),
        "force": True,
        "resume": False,
        "resources": {
            **work["options"].get("resources", {}),
            "threads": resources.threads,
            "memory": resources.memory,
        },
    }
    began = time.monotonic()
    with open_inputs(options) as (request, remote):
        answer = _native.convert(json.dumps(request), lambda _: True, work["overview"], remote)
    document = json.loads(answer)
    if work["drop_empty"] and document["records"] == 0:
        output.unlink()
    metrics = document["metrics"]
    metrics["memory"] = {k: v for k, v in metrics["memory"].items() if k != "limit"}
    return {
        "records": document["records"],
        "bytes": document["bytes"],
        "input_bytes": metrics["totals"].get("bytes_in"),
        "run_seconds": time.monotonic() - began,
        "metrics": metrics,
        "warnings": document["warnings"],
    }


def convert_on_engine(
    job: EngineJob,
    tasks: Sequence[Task],
    *,
    fail_fast: bool,
    overview: bool,
    add: Callable[[dict[str, Any], str | None], None],
) -> list[FileResult]:
    """Make the outputs of `tasks` on an engine; what `convert` does with one.

    Parameters
    ----------
    job
        Engine, resources and report.
    tasks
        The outputs.
    fail_fast
        Stop at the first that fails.
    overview
        Gather the counts for the pictures.
    add
        Called with the document of each run and its output.
    """
    for task in tasks:
        _check(task)
    finished = {task.name: task for task in tasks if is_finished(task.options)}
    todo = [task for task in tasks if task.name not in finished]
    inputs = describe_inputs((path for task in tasks for path in _read_by(task)), missing_ok=True)
    described = {one["path"]: one for one in inputs}
    facts = {
        "command": "convert",
        "version": _native.version(),
        "outputs": [os.fspath(Path(str(task.output)).absolute()) for task in tasks],
        "options": [task.options["semantic"] for task in tasks],
        "overview": overview,
        "inputs": inputs,
    }
    results = {task.name: _skipped(task) for task in finished.values()}
    for task in finished.values():
        job.report.count_unit("skipped", task.name)
    with job.open(facts) as running:
        units = {task.name: _unit(running.make_unit, task, overview=overview) for task in todo}
        outputs = {unit.key: Path(str(task.output)) for task, unit in _pairs(todo, units)}
        keep_going = len(tasks) > 1 and not fail_fast
        outcome = _run(running, list(units.values()), outputs, keep_going=keep_going)
        for task, unit in _pairs(todo, units):
            wrong = outcome.failures.get(unit.key) or _changed(task, described)
            if wrong is not None:
                if not keep_going:
                    raise wrong
                results[task.name] = _failed(running, task, wrong)
                continue
            result = outcome.results[unit.key]
            _place(running.journal.parts, unit, result, outputs[unit.key])
            skipped = unit.key in outcome.skipped
            results[task.name] = _made(task, result, skipped=skipped)
            add(
                {**result.stats, "metrics": result.stats["metrics"]},
                results[task.name].output,
            )
        running.complete()
    found = [results[task.name] for task in tasks]
    raise_common_mistake(found, fail_fast=fail_fast)
    return found


def _run(
    running: RunningJob, units: Sequence[Unit], outputs: Mapping[str, Path], *, keep_going: bool
) -> Outcome:
    """Run the units; where the state goes with what ends the job, what is finished is not lost."""
    try:
        return running.run_stage(PHASE, units, keep_going=keep_going, final_paths=outputs)
    except BaseException as error:
        if exit_code(error) in (ExitCode.usage, ExitCode.data):
            for unit in units:
                if unit.key in running.journal.done:
                    done = running.journal.done[unit.key]
                    _place(running.journal.parts, unit, done, outputs[unit.key])
        raise


def _read_by(task: Task) -> Iterator[str]:
    yield from task.inputs
    for name in _SIDE_FILES:
        if task.options["semantic"].get(name) is not None:
            yield task.options["semantic"][name]


def _changed(task: Task, described: Mapping[str, Mapping[str, Any]]) -> BaseException | None:
    try:
        check_unchanged(described[absolute(path)] for path in _read_by(task))
    except ChangedError as error:
        return error
    return None


def _pairs(tasks: Sequence[Task], units: Mapping[str, Unit]) -> list[tuple[Task, Unit]]:
    return [(task, units[task.name]) for task in tasks]


def _check(task: Task) -> None:
    semantic = task.options["semantic"]
    wrong = next((name for name in _NOT_HERE if task.options.get(name)), None)
    if wrong is not None:
        message = f"{wrong} writes beside the parts of a job; leave the engine out"
        raise InputError(message, option=wrong)
    if "-" in (*task.inputs, task.output):
        message = "an engine reads and writes files, not standard input and output"
        raise InputError(message, option="engine")
    for name in _SIDE_FILES:
        given = semantic.get(name)
        if given is not None and not is_remote(given) and not Path(given).is_absolute():
            message = f"{name}: give an absolute path, as workers run in folders of their own"
            raise InputError(message, option=name, value=semantic[name])
    if semantic.get("record_paths") and not all(
        is_remote(path) or Path(path).is_absolute() for path in task.inputs
    ):
        message = "record_paths with an engine: give absolute paths, as these are what is kept"
        raise InputError(message, option="record_paths")


def _unit(make_unit: Callable[..., Unit], task: Task, *, overview: bool) -> Unit:
    options = {**task.options, "inputs": [absolute(path) for path in task.inputs]}
    if options.get("index") is not None:
        options["index"] = absolute(options["index"])
    if options["resources"].get("tmpdir") is not None:
        tmpdir = str(Path(options["resources"]["tmpdir"]).absolute())
        options["resources"] = {**options["resources"], "tmpdir": tmpdir}
    work = {"options": options, "drop_empty": task.drop_empty, "overview": overview}
    return make_unit(PHASE, "convert", str(task.output), work)


def _place(parts: Path, unit: Unit, result: UnitResult, output: Path) -> None:
    part = parts / unit.name
    if not result.files:
        with suppress(OSError):
            output.parent.rmdir()
    elif part.exists():
        move_into_place(part, output)
    elif not output.exists():
        message = f"{part}: a finished part has disappeared; run the job again with --resume"
        raise InternalError(message)


def _skipped(task: Task) -> FileResult:
    output = str(task.output)
    return FileResult(
        inputs=task.inputs,
        output=output,
        status="skipped",
        records=count_rows(output),
        bytes=Path(output).stat().st_size,
    )


def _made(task: Task, result: UnitResult, *, skipped: bool) -> FileResult:
    return FileResult(
        inputs=task.inputs,
        output=task.output if result.files else None,
        status="skipped" if skipped else "done",
        records=result.stats["records"],
        bytes=result.stats["bytes"],
        seconds=result.stats["run_seconds"],
    )


def _failed(running: Any, task: Task, error: BaseException) -> FileResult:
    running.report.fail_unit(task.name, error)
    return FileResult(inputs=task.inputs, output=task.output, status="failed", error=error)
