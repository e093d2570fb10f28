"""`coverage` on an engine: shares of the regions, and the files written from all of them.

A share is measured into a folder with its results in the order of the sequences. The last step
puts them one behind the other and writes the files as one job does, in the order of the list.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from seqmill import _native
from seqmill._sums import sum_figures
from seqmill.engine.inputs import describe_inputs
from seqmill.engine.job import EngineJob, RunningJob
from seqmill.engine.parts import is_whole
from seqmill.engine.protocol import Unit, UnitResult
from seqmill.engine.units import Resources
from seqmill.errors import InputError, InternalError

__all__ = ["coverage_on_engine", "run"]

_STAGE: Final = "coverage"
_SEQUENCES: Final = "sequences.tsv"
_REPAIRS: Final = 3
# A share knows its regions by the numbers of the sequences.
_NO_LIST: Final[Mapping[str, Any]] = {"regions": [], "regions_files": [], "windows": None}
_RESOURCES: Final = ("threads", "memory", "force", "resume", "output")


def run(work: Mapping[str, Any], output: Path, resources: Resources) -> dict[str, Any]:
    """Measure a share on a worker."""
    sequences = output.parent.parent / _SEQUENCES
    request = {
        **work["options"],
        "share": work["share"],
        "sequences": str(sequences) if sequences.exists() else None,
        "output": str(output),
        "threads": resources.threads,
        "memory": resources.memory,
        "version": _native.version(),
    }
    answer = json.loads(_native.coverage_share(json.dumps(request)))
    figures = answer["figures"]
    return {
        "records": figures["looked_at"],
        "counted": figures["counted"],
        "rows": figures["rows"],
        "profile": figures["profile"],
        "warnings": answer["warnings"],
    }


def coverage_on_engine(
    job: EngineJob, request: Mapping[str, Any], unit_bases: int | None
) -> dict[str, Any]:
    """Measure coverage on an engine; gives what the native job gives.

    Parameters
    ----------
    job
        Engine, resources and report.
    request
        What the native job is asked to do.
    unit_bases
        Bases of the regions of a share, about; None: enough for some seconds of work.
    """
    if request["input"] == "-":
        message = "an engine reads files, not standard input"
        raise InputError(message, option="engine")
    semantic = {**request["semantic"]}
    semantic["regions_files"] = [_absolute(path) for path in semantic.get("regions_files") or ()]
    for name in ("reference", "kmer_db"):
        semantic[name] = _absolute(semantic.get(name))
    options = {
        **request,
        "input": _absolute(request["input"]),
        "index": _absolute(request["index"]),
        "semantic": semantic,
        "share_bases": unit_bases or 0,
    }
    inputs = [options["input"], *semantic["regions_files"]]
    if semantic["kmer_db"] is not None:
        inputs.append(semantic["kmer_db"])
    # Only CRAM is read with it.
    side = [semantic["reference"]] if semantic["reference"] is not None else []
    outputs = [_absolute(request["output"]), _absolute(request["per_base"])]
    facts = {
        "command": "coverage",
        "version": _native.version(),
        "options": semantic,
        "unit_bases": unit_bases,
        "outputs": outputs,
        "inputs": [*describe_inputs(inputs), *describe_inputs(side, missing_ok=True)],
    }
    with job.open(facts) as running:
        answer = running.finished()
        if answer is None:
            answer = _measure(running, options)
            running.complete([Path(path) for path in outputs if path is not None], answer)
    return answer


def _absolute(path: Any) -> Any:
    return None if path is None else str(Path(path).absolute())


def _measure(running: RunningJob, options: Mapping[str, Any]) -> dict[str, Any]:
    plan = running.journal.note("plan", lambda: _plan(running, options))
    shares = plan["shares"]
    told = {name: value for name, value in options.items() if name not in _RESOURCES}
    divided = {**told, "semantic": {**options["semantic"], **_NO_LIST}}
    units = [
        running.make_unit(
            _STAGE,
            "coverage",
            f"share {number} of {len(shares)}",
            {"options": told if share["everything"] else divided, "share": share},
        )
        for number, share in enumerate(shares)
    ]
    outcome = running.run_stage(_STAGE, units)
    results = [outcome.results[unit.key] for unit in units]
    results = [_sound(running, pair) for pair in zip(units, results, strict=True)]
    running.exchanged(sum(file["bytes"] for result in results for file in result.files))
    running.check_inputs()
    answer = _assemble(running, options, units)
    return _with_figures(answer, plan, results)


def _plan(running: RunningJob, options: Mapping[str, Any]) -> dict[str, Any]:
    request = {**options, "sequences_to": str(running.journal.state / _SEQUENCES)}
    plan: dict[str, Any] = json.loads(_native.coverage_plan(json.dumps(request)))
    return plan


def _sound(running: RunningJob, pair: tuple[Unit, UnitResult]) -> UnitResult:
    """Make a part anew that is not as it was recorded."""
    unit, result = pair
    for _ in range(_REPAIRS):
        if is_whole(running.journal.parts, result.files):
            return result
        running.journal.void(unit)
        result = running.run_stage(_STAGE, [unit]).results[unit.key]
    message = f"{running.journal.parts / unit.name}: the part is damaged again and again"
    raise InternalError(message)


def _assemble(
    running: RunningJob, options: Mapping[str, Any], units: Sequence[Unit]
) -> dict[str, Any]:
    folder = running.journal.state / "final"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    sequences = running.journal.state / _SEQUENCES
    request = {
        **options,
        "work": str(folder),
        "sequences": str(sequences) if sequences.exists() else None,
        "parts": [str(running.journal.parts / unit.name) for unit in units],
    }
    feed = running.report.feed
    text = _native.coverage_assemble(
        json.dumps(request), lambda raw: feed({"phase": "write", **raw})
    )
    answer: dict[str, Any] = json.loads(text)
    return answer


def _with_figures(
    answer: dict[str, Any], plan: Mapping[str, Any], results: Sequence[UnitResult]
) -> dict[str, Any]:
    """Add what the shares tell of the input, each warning once."""
    metrics = answer["metrics"]
    looked_at = sum(int(result.stats["records"]) for result in results)
    counted = sum(int(result.stats["counted"]) for result in results)
    metrics["totals"] |= {"records_in": looked_at, "records_filtered": looked_at - counted}
    metrics["detail"]["records_counted"] = counted
    profile = None
    for result in results:
        profile = sum_figures(profile, result.stats["profile"])
    metrics["detail"]["profile"] = profile
    told = [plan["warnings"], *(result.stats["warnings"] for result in results)]
    warnings = dict.fromkeys(text for texts in (*told, answer["warnings"]) for text in texts)
    return {**answer, "warnings": list(warnings)}
