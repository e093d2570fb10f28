"""`kmers count` on an engine: batches of text to partial tables, those by key range to one.

A batch is a stretch of a FASTA file, or whole files (`plan_batches`). Each batch is counted into a
table; the keys of all tables are cut into ranges that hold about as much each, every range is
merged from all tables, and the ranges are written one behind the other in the formats asked for
(`workflow.md` D.3).
"""

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Any, Final

from seqmill import _native
from seqmill._kmer_jobs import to_text
from seqmill._outputs import refuse_existing
from seqmill.engine.inputs import describe_inputs
from seqmill.engine.job import EngineJob, RunningJob
from seqmill.engine.parts import move_into_place
from seqmill.engine.protocol import Unit, UnitResult
from seqmill.errors import FormatError, InputError

__all__ = ["UNIT_BYTES", "count_on_engine", "plan_batches"]

UNIT_BYTES: Final = 100_000_000
"""Text of a batch: a few seconds of work."""

_COUNT: Final = "count"
_GATHER: Final = "gather"
_MERGE: Final = "merge"
_WRITE: Final = "write"
_TABLES_MAX: Final = 512
"""More partial tables than this are merged in two steps."""
_RANGES_MAX: Final = 4096
_UNITS_MAX: Final = 100_000
"""What is noted of each unit would outgrow the work."""
_MERGED_FOR_A_COUNTED: Final = 4
"""K-mers of partial tables that are merged in the time in which one base is counted, about."""
_BATCHES_AT_ONCE: Final = 4
"""What takes no longer to merge than so many batches to count is merged by the last step."""
_REPAIRS: Final = 3
# What the last step does to the sums; partial tables are never filtered.
_OF_THE_LAST_STEP: Final = ("min_count", "max_count", "pretty", "kmer_text", "hist_max")
_RESOURCES: Final = ("threads", "memory", "tmpdir", "force", "resume")


def plan_batches(paths: Sequence[str], unit_bytes: int) -> list[list[list[Any]]]:
    """Divide inputs into batches, in order: a function of the files and `unit_bytes` alone.

    Parameters
    ----------
    paths
        Inputs.
    unit_bytes
        A file with more text than this is cut where it can be (FASTA, plain or BGZF); smaller ones
        are put together until they have as much.

    Returns
    -------
    list
        For each batch its items: number of the input, begin and end of the part. Both are None
        for a whole file; an end of None is that of the file.
    """
    batches: list[list[list[Any]]] = []
    waiting: list[list[Any]] = []
    held = 0
    for number, path in enumerate(paths):
        parts = _native.sequence_parts(path, unit_bytes)
        if len(parts) > 1:
            if waiting:
                batches.append(waiting)
            batches += [[[number, begin, end]] for begin, end in parts]
            waiting, held = [], 0
            continue
        waiting.append([number, None, None])
        held += _native.fingerprint(path)["size"]
        if held >= unit_bytes:
            batches.append(waiting)
            waiting, held = [], 0
        if len(batches) > _UNITS_MAX:
            message = (
                f"unit-bases {unit_bytes} makes more than {_UNITS_MAX} units of {len(paths)} "
                "inputs; give more"
            )
            raise InputError(message, option="unit_bases", value=unit_bytes)
    return [*batches, waiting] if waiting else batches


def count_on_engine(
    job: EngineJob, options: Mapping[str, Any], paths: Sequence[str], outputs: Sequence[Any]
) -> dict[str, Any]:
    """Count on an engine; gives what the native job gives.

    Parameters
    ----------
    job
        Engine, resources and report.
    options
        What the native job is asked to do.
    paths
        Inputs.
    outputs
        Pairs of a format and a path.
    """
    _check(options, paths, outputs, job)
    semantic = {
        name: value
        for name, value in options.items()
        if name not in ("inputs", "outputs", *_RESOURCES)
    }
    facts = {
        "command": "kmers count",
        "version": _native.version(),
        "options": semantic,
        "outputs": [[name, os.fspath(Path(path).absolute())] for name, path in outputs],
        "inputs": describe_inputs(paths),
    }
    with job.open(facts) as running:
        answer = running.finished()
        if answer is None:
            counting = Counting(running, options, [str(Path(path).absolute()) for path in paths])
            answer = counting.run(outputs)
            running.complete([Path(path) for _, path in outputs], answer)
    return answer


def _check(
    options: Mapping[str, Any], paths: Sequence[str], outputs: Sequence[Any], job: EngineJob
) -> None:
    if "-" in (*paths, *(path for _, path in outputs)):
        message = "an engine reads and writes files, not standard input and output"
        raise InputError(message, option="engine")
    if options.get("chunks") is not None:
        message = "a batch of a plan is a unit already; leave the engine out"
        raise InputError(message, option="engine")
    for _, path in outputs:
        refuse_existing(path, force=job.force or job.resume)


@dataclass(slots=True)
class Counting:
    """A count whose journal is open.

    Attributes
    ----------
    running
        The job.
    options
        What the native job is asked to do.
    paths
        Inputs.
    makers
        By name of a part: the stage and the unit that make it.
    """

    running: RunningJob
    options: Mapping[str, Any]
    paths: Sequence[str]
    makers: dict[str, tuple[str, Unit]] = field(default_factory=dict)

    def run(self, outputs: Sequence[Any]) -> dict[str, Any]:
        """Count, exchange, write."""
        counted = self._count()
        inputs, warnings = self._facts(counted)
        partial = counted if len(counted) <= _TABLES_MAX else self._gather(counted)
        parts = self._merge(partial)
        answer = self._write(parts, outputs, inputs)
        known = dict.fromkeys((*warnings, *answer["warnings"]))
        return {**answer, "inputs": inputs, "warnings": list(known)}

    def _count(self) -> list[UnitResult]:
        units = []
        semantic = {
            name: value
            for name, value in self.options.items()
            if name not in ("inputs", "outputs", *_RESOURCES, *_OF_THE_LAST_STEP)
        }
        for number, items in enumerate(self._batches()):
            what = f"batch {number}: {os.path.basename(self.paths[items[0][0]])}"  # noqa: PTH119
            files = [[*item, to_text(self.paths[item[0]])] for item in items]
            work = {"options": semantic, "items": files, "tmpdir": self.options["tmpdir"]}
            units.append(self.running.make_unit(_COUNT, "kmers.count", what, work))
        return self._run(_COUNT, units)

    def _batches(self) -> list[list[list[Any]]]:
        if self.options.get("regions") is not None:
            # Regions are found by the names of all inputs.
            return [[[number, None, None] for number in range(len(self.paths))]]
        plan: list[list[list[Any]]] = self.running.journal.note(
            "plan", lambda: plan_batches(self.paths, self.options["unit_bases"])
        )
        return plan

    def _run(self, stage: str, units: Sequence[Unit]) -> list[UnitResult]:
        self.makers |= {unit.name: (stage, unit) for unit in units}
        outcome = self.running.run_stage(stage, units, repair=self.repair)
        results = [outcome.results[unit.key] for unit in units]
        self.running.exchanged(sum(file["bytes"] for r in results for file in r.files))
        return results

    def repair(self, names: Iterable[str]) -> None:
        """Make parts anew that were found damaged or missing, by the units that made them."""
        for name in names:
            stage, unit = self.makers[name]
            self.running.journal.void(unit)
            self.running.run_stage(stage, [unit], repair=self.repair)

    def _facts(self, counted: Sequence[UnitResult]) -> tuple[list[dict[str, Any]], list[str]]:
        """Add up what batches tell of the inputs: the facts of the undivided count."""
        inputs = [
            {
                "name": os.path.basename(path),  # noqa: PTH119 - as the native job names it
                "size": None,
                "records": 0,
                "bases": 0,
                "skipped": 0,
            }
            for path in self.paths
        ]
        warnings: list[str] = []
        for result in counted:
            for number, facts in result.stats["inputs"]:
                inputs[number] |= {"name": facts["name"], "size": facts["size"]}
                for key in ("records", "bases", "skipped"):
                    inputs[number][key] += facts[key]
            warnings += result.stats["warnings"]
        return inputs, warnings

    def _gather(self, counted: Sequence[UnitResult]) -> list[UnitResult]:
        tables = _names(counted)
        groups = ceil(len(tables) / _TABLES_MAX)
        each = ceil(len(tables) / groups)
        plan = {
            "groups": [tables[begin : begin + each] for begin in range(0, len(tables), each)],
            "tasks": [[group, None, None] for group in range(groups)],
        }
        kept = self.running.journal.note(_GATHER, lambda: plan)
        return self._run(_GATHER, self._merging(_GATHER, len(kept["tasks"])))

    def _merging(self, stage: str, tasks: int) -> list[Unit]:
        what = {_GATHER: "group", _MERGE: "range"}[stage]
        return [
            self.running.make_unit(
                stage, "kmers.merge", f"{what} {n} of {tasks}", {"plan": stage, "task": n}
            )
            for n in range(tasks)
        ]

    def _merge(self, partial: Sequence[UnitResult]) -> list[str]:
        plan = self.running.journal.note(_MERGE, lambda: self._plan_ranges(partial))
        ranges = len(plan["tasks"])
        if ranges <= 1:
            return _names(partial)  # the last step merges them
        return _names(self._run(_MERGE, self._merging(_MERGE, ranges)))

    def _plan_ranges(self, partial: Sequence[UnitResult]) -> dict[str, Any]:
        """Fix the ranges: each takes about as long to merge as a batch takes to count.

        Merging streams, so that memory sets no bound to a range. Ranges are written twice, and to
        write them one behind the other takes half as long as to merge the tables: where there would
        be few of them, the last step merges the tables instead.
        """
        tables = _names(partial)
        paths = [self.running.journal.parts / name for name in tables]
        kmers = sum(int(result.stats["stored"]) for result in partial)
        each = _MERGED_FOR_A_COUNTED * int(self.options["unit_bases"])
        ranges = min(ceil(kmers / each), _RANGES_MAX)
        if ranges <= _BATCHES_AT_ONCE:
            ranges = 1
        bounds: list[str] = []
        if len(tables) > 1 and ranges > 1:
            bounds = self._with_sound_parts(lambda: _native.kmers_boundaries(paths, ranges))
        edges = [None, *bounds, None]
        tasks = [[0, edges[n], edges[n + 1]] for n in range(len(bounds) + 1)]
        return {"groups": [tables], "tasks": tasks}

    def _with_sound_parts(self, work: Any) -> Any:
        """Do what reads parts; one that is damaged is made anew."""
        for attempt in range(_REPAIRS + 1):
            try:
                return work()
            except (FormatError, FileNotFoundError) as error:
                bad = bad_parts(error, self.makers)
                if not bad or attempt == _REPAIRS:
                    raise
                self.repair(bad)
        return None

    def _write(
        self, parts: Sequence[str], outputs: Sequence[Any], inputs: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """Write the sums in all formats, and give the files their names when all are whole."""
        report, journal = self.running.report, self.running.journal
        folder = journal.state / "final"
        staged = [folder / str(n) / Path(path).name for n, (_, path) in enumerate(outputs)]
        request = {
            **self.options,
            "inputs": [to_text(journal.parts / name) for name in parts],
            "outputs": [
                [name, to_text(path)] for (name, _), path in zip(outputs, staged, strict=True)
            ],
            "tmpdir": to_text(folder),
            "footer": inputs,
            "force": True,
            "resume": False,
            "is_unit": True,
        }

        def write() -> str:
            shutil.rmtree(folder, ignore_errors=True)
            for path in staged:
                path.parent.mkdir(parents=True)
            return _native.kmers_merge(
                json.dumps(request), lambda raw: report.feed({"phase": _WRITE, **raw})
            )

        answer: dict[str, Any] = json.loads(self._with_sound_parts(write))
        self.running.check_inputs()
        for path, (_, target) in zip(staged, outputs, strict=True):
            move_into_place(path, Path(target))
        return answer


def bad_parts(error: BaseException, names: Iterable[str]) -> list[str]:
    """Give the names of parts that an error is about."""
    place = getattr(error, "path", None) or getattr(error, "filename", None)
    name = None if place is None else Path(str(place)).name
    return [name] if name is not None and name in set(names) else []


def _names(results: Iterable[UnitResult]) -> list[str]:
    return [str(file["name"]) for result in results for file in result.files]
