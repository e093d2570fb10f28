"""What the stops of a tour share, and what each gives."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seqmill._host import Host
from seqmill._units import format_seconds, format_size
from seqmill._usage import read_memory
from seqmill.errors import SeqmillError
from seqmill.report import JobReport

__all__ = ["StepResult", "Tour"]


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one thing of the tour did.

    Attributes
    ----------
    what
        What ran.
    input_bytes
        Size of its input, None if it has none.
    seconds
        Time.
    peak_bytes
        Highest resident memory of the process while it ran, None where it cannot be told apart.
    result
        What came out, in words.
    ok
        Whether it worked.
    """

    what: str
    input_bytes: int | None
    seconds: float
    peak_bytes: int | None
    result: str
    ok: bool = True

    def cells(self) -> tuple[str, str, str, str, str]:
        """Give the row of the table."""
        return (
            self.what,
            "" if self.input_bytes is None else format_size(self.input_bytes),
            format_seconds(self.seconds),
            "" if self.peak_bytes is None else format_size(self.peak_bytes),
            self.result if self.ok else f"FAILED: {self.result}",
        )


@dataclass(slots=True)
class Tour:
    """What the steps of one tour share.

    Attributes
    ----------
    folder
        Where everything is written.
    alignments, genomes
        Alignment files and FASTA files to show; the step ``simulate`` fills both when the user
        gave none.
    expected
        Records of the files of which that is known.
    job_options
        Keywords of every job: threads, memory and so on.
    report
        The report of the whole tour.
    announce
        Called with what is about to run.
    pictured
        Metrics documents of the conversions, by file name, for the pictures.
    throughput
        Windows a second by workers, for the picture.
    repeats, archive
        What the search for repeats found, and what packing put where, for the pictures.
    """

    folder: Path
    alignments: list[Path]
    genomes: list[Path]
    job_options: dict[str, Any]
    report: JobReport
    announce: Callable[[str], None]
    expected: dict[Path, int] = field(default_factory=dict)
    pictured: dict[str, dict[str, Any]] = field(default_factory=dict)
    throughput: list[dict[str, Any]] = field(default_factory=list)
    repeats: dict[str, Any] = field(default_factory=dict)
    archive: dict[str, Any] = field(default_factory=dict)

    def options(self, *names: str) -> dict[str, Any]:
        """Give those of the keywords of every job that one of them takes."""
        return {name: self.job_options[name] for name in names}

    def measure(
        self, what: str, work: Callable[[], str], *, source: Path | None = None
    ) -> StepResult:
        """Run something and measure it; an error of the data or the system becomes the result."""
        self.announce(what)
        host = Host.current()
        separate = _reset_memory_peak()
        start = time.perf_counter()
        ok = True
        try:
            result = work()
        except (SeqmillError, OSError) as error:
            self.report.fail_unit(what, error)
            result, ok = str(error), False
        seconds = time.perf_counter() - start
        peak = read_memory(host).rss_peak if separate else None
        size = source.stat().st_size if source is not None and source.exists() else None
        return StepResult(what, size, seconds, peak, result, ok)


def _reset_memory_peak() -> bool:
    """Begin a new peak of resident memory (proc_pid_clear_refs(5)), where the kernel allows it."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True
