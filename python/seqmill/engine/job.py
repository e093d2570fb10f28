"""One job on an engine: its journal, its stages, and what happens to the state at its end."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqmill.engine.inputs import check_unchanged
from seqmill.engine.journal import Journal
from seqmill.engine.protocol import Engine, EngineInfo, Unit
from seqmill.engine.stage import Outcome, Repair, Stage, check_engine, unit_resources
from seqmill.errors import ExitCode, exit_code
from seqmill.report import JobReport

__all__ = ["EngineJob", "RunningJob"]


@dataclass(slots=True)
class RunningJob:
    """A job whose journal is open and whose workers are known.

    Attributes
    ----------
    engine, report, journal
        Where units run, who is told, where they are recorded.
    info
        The workers.
    resources
        Threads and memory of each unit.
    inputs
        What the inputs were when the job began.
    """

    engine: Engine
    report: JobReport
    journal: Journal
    info: EngineInfo
    resources: dict[str, Any]
    inputs: Sequence[Mapping[str, Any]] = ()
    is_complete: bool = False
    _worker_cpu: float = 0.0
    _retried: int = 0
    _units: int = 0
    _exchanged: int = 0

    def make_unit(self, stage: str, kind: str, description: str, work: Mapping[str, Any]) -> Unit:
        """Make a unit of this job with its share of a worker."""
        return self.journal.make_unit(stage, kind, description, work, **self.resources)

    def run_stage(
        self,
        name: str,
        units: Sequence[Unit],
        *,
        keep_going: bool = False,
        final_paths: Mapping[str, Path] | None = None,
        repair: Repair | None = None,
    ) -> Outcome:
        """Run the units of a stage that are not done yet; see :class:`Stage`."""
        self._units += len(units)
        self.report.plan(self._units)
        stage = Stage(
            self.engine, self.journal, self.report, name, keep_going=keep_going, repair=repair
        )
        outcome = stage.run(units, final_paths=final_paths)
        ran = [r for key, r in outcome.results.items() if key not in outcome.skipped]
        self._worker_cpu += sum(float(result.stats.get("cpu_s", 0.0)) for result in ran)
        self.describe()
        return outcome

    def check_inputs(self) -> None:
        """Fail if an input changed since the job began; see :func:`check_unchanged`."""
        check_unchanged(self.inputs)

    def exchanged(self, size: int) -> None:
        """Count bytes that units left for other units."""
        self._exchanged += size

    def describe(self) -> None:
        """Tell the report where units ran."""
        self.report.describe_engine(
            name=self.info.name,
            address=self.info.address,
            workers=len(self.info.workers),
            tasks=self._units,
            exchange_bytes=self._exchanged or None,
        )
        self.report.detail["worker_cpu_s"] = round(self._worker_cpu, 6)

    def complete(
        self, outputs: Iterable[Path] = (), answer: Mapping[str, Any] | None = None
    ) -> None:
        """Say that everything the job had to make is made.

        Parameters
        ----------
        outputs
            Files and folders that do not say by themselves what they were made of.
        answer
            What the job gives, for one that is resumed although these outputs are in place.
        """
        self.is_complete = True
        if answer is not None:
            self.journal.finish(outputs, answer)

    def finished(self) -> dict[str, Any] | None:
        """Give the answer of a job that was ended between its outputs and its own end."""
        answer = self.journal.finished()
        if answer is not None:
            self.is_complete = True
            self._units = len(self.journal.done)
            self.report.plan(self._units)
            for key in self.journal.done:
                self.report.count_unit("skipped", key)
            self.describe()
        return answer


@dataclass(slots=True, kw_only=True)
class EngineJob:
    """What a job on an engine needs, before its journal is open.

    Attributes
    ----------
    engine
        Where units run.
    report
        The report of the job.
    state
        Folder of its state, ``OUT.seqmill``.
    threads, memory
        What a unit may use, None: what workers have.
    resume, force
        Go on with state that is there, or discard it.
    last
        Closed when the engine is: until then the state of a job says that it is done. None: the
        state goes at once.
    """

    engine: Engine
    report: JobReport
    state: Path
    threads: int | None = None
    memory: int | None = None
    resume: bool = False
    force: bool = False
    last: ExitStack | None = None

    @contextmanager
    def open(self, facts: Mapping[str, Any]) -> Iterator[RunningJob]:
        """Open the journal and ask the workers; at the end remove the state or keep it.

        State goes when the job is complete, and when it ended by what would come again (wrong
        usage, bad input); otherwise it stays and the error says so.
        """
        with ExitStack() as stack:
            journal = stack.enter_context(
                Journal(self.state, facts, resume=self.resume, force=self.force)
            )
            try:
                info = check_engine(self.engine, journal)
                resources = unit_resources(info, self.threads, self.memory)
                inputs = [one for one in facts.get("inputs", ()) if isinstance(one, Mapping)]
                running = RunningJob(self.engine, self.report, journal, info, resources, inputs)
                running.describe()
                yield running
            except BaseException as error:
                again = exit_code(error) in (ExitCode.usage, ExitCode.data)
                if again or (journal.is_fresh and not journal.done):
                    journal.remove()
                else:
                    error.add_note(f"--resume (resume=True) goes on from {self.state}")
                raise
            if running.is_complete and not journal.is_finished:
                journal.remove()
            elif running.is_complete:
                stack.callback(journal.remove)
                if self.last is not None:
                    self.last.enter_context(stack.pop_all())
