"""Tables of what was measured, and what it says of the claims."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from _measure import Series

_RESULTS = Path(__file__).resolve().parent / "results"
_MB = 1e6
_NOTE_LENGTH = 60
PEER_RATIO = {"parquet": 4.5, "ipc": 6.0, "stream": 7.0}
LIMIT_RATIO = {"parquet": 1.2, "ipc": 1.2, "stream": 1.3}
TITLES = {
    "parquet": "Parquet, zstd, all columns and tags",
    "ipc": "Arrow IPC file, uncompressed, all columns and tags",
    "stream": "record batches in Python, all columns and tags",
    "count": "count of the records",
    "columns": "three columns in Python: pos, flag, mapq",
}


@dataclass(slots=True)
class Results:
    """All series of one input.

    Attributes
    ----------
    series
        By task and contestant.
    checks
        What the outputs hold, by task and contestant.
    """

    series: dict[tuple[str, str], Series] = field(default_factory=dict)
    checks: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)

    def get(self, task: str, contestant: str) -> Series | None:
        """Give a series with figures."""
        one = self.series.get((task, contestant))
        return one if one is not None and one.counts else None

    def is_complete(self, task: str, contestant: str) -> bool:
        """Tell whether a peer's output holds every column, tag and row."""
        # What a peer streams is what it writes.
        check = self.checks.get(("ipc" if task == "stream" else task, contestant))
        return check is not None and verdict(check) == "all"

    def best_peer(self, task: str, peers: Sequence[str]) -> tuple[str, Series] | None:
        """Give the complete peer with the least CPU time."""
        found = [
            (peer, one)
            for peer in peers
            if self.is_complete(task, peer) and (one := self.get(task, peer)) is not None
        ]
        return min(found, key=lambda pair: pair[1].cpu, default=None)


def verdict(check: dict[str, Any]) -> str:
    """Say in a few words what an output holds."""
    if "failure" in check:
        return f"unreadable: {check['failure']}"
    parts = []
    if not check["rows_right"]:
        parts.append(f"{check['rows']} rows")
    if check["missing"]:
        parts.append("no " + ", ".join(check["missing"]))
    if "qname" in check["wrong"]:
        return "; ".join([*parts, "other rows, or in another order"])
    if check["wrong"]:
        parts.append("wrong " + ", ".join(check["wrong"]))
    if check["tags"] != "all":
        parts.append("no tags" if check["tags"] == "none" else f"{check['tags']} of the tags")
    return "; ".join(parts) or "all"


def _short(text: str | None) -> str:
    """Keep a message from widening the table; the JSON document has all of it."""
    text = text or ""
    return text if len(text) <= _NOTE_LENGTH else f"{text[: _NOTE_LENGTH - 1]}…"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a Markdown table that is readable as text."""
    widths = [max(len(line[at]) for line in [head, *rows]) for at in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        texts = [
            cell.ljust(width) if at == 0 or at == len(cells) - 1 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(texts)} |"

    rule = f"|{'|'.join('-' * (width + 2) for width in widths)}|"
    return "\n".join([line(head), rule, *map(line, rows)])


def task_table(results: Results, task: str, contestants: Sequence[str]) -> str:
    """Lay out what one task took."""
    head = ["", "CPU s", "wall s", "peak MiB", "output MB", "/ limit", "/ best peer", "holds"]
    limit = results.get(task, "limit")
    best = results.best_peer(task, [c for c in contestants if c not in ("limit", "seqmill")])
    rows = []
    for contestant in contestants:
        one = results.series.get((task, contestant))
        if one is None:
            continue
        if not one.counts:
            rows.append([contestant, *["-"] * 6, f"failed: {_short(one.failure)}"])
            continue
        check = results.checks.get((task, contestant))
        rows.append(
            [
                contestant,
                f"{one.cpu:.2f}",
                f"{one.wall:.2f}",
                f"{one.rss_mib:.0f}",
                f"{one.output_bytes / _MB:.1f}" if one.output_bytes else "-",
                f"{one.cpu / limit.cpu:.2f}" if limit else "-",
                f"{one.cpu / best[1].cpu:.2f}" if best else "-",
                verdict(check) if check else "",
            ]
        )
    return table(head, rows)


@dataclass(frozen=True, slots=True)
class Claim:
    """One line of the last table.

    Attributes
    ----------
    name
        What is claimed, of which input.
    value, bound
        What was measured, and what it may be at most; None if it could not be measured.
    note
        What one should know of it.
    least
        Whether it must be so much at least instead.
    """

    name: str
    value: float | None
    bound: float | None
    note: str = ""
    least: bool = False

    @property
    def holds(self) -> bool | None:
        """Whether it holds; None if it was not measured. What failed does not hold."""
        if self.note.startswith("failed"):
            return False
        if self.value is None or self.bound is None:
            return None
        return self.value >= self.bound if self.least else self.value <= self.bound

    @property
    def asked(self) -> str:
        """What is asked for."""
        sign = ">=" if self.least else "<="
        return "-" if self.bound is None else f"{sign} {self.bound:.3g}"

    def to_dict(self) -> dict[str, Any]:
        """Give the claim as JSON values."""
        return {
            "name": self.name,
            "value": self.value,
            "asked": self.asked,
            "holds": self.holds,
            "note": self.note,
        }


class Claims(list[Claim]):
    """Claims as they are measured."""

    def add(self, what: str, value: float, bound: float, *, least: bool) -> None:
        """Note a figure and what it must be at least, or at most."""
        self.append(Claim(what, float(value), bound, least=least))


def claims_table(claims: Sequence[Claim]) -> str:
    """Lay out the claims."""
    words = {True: "yes", False: "NO", None: "not measured"}
    rows = [
        [
            claim.name,
            "-" if claim.value is None else f"{claim.value:.3g}",
            claim.asked,
            words[claim.holds],
            claim.note,
        ]
        for claim in claims
    ]
    return table(["claim", "measured", "asked", "holds", ""], rows)


def write_results(job: str, document: dict[str, Any], claims: Sequence[Claim]) -> Path:
    """Print the claims, and leave what was measured where the page finds it.

    Parameters
    ----------
    job
        What was measured.
    document
        The figures; ``machine`` says where.
    claims
        What is claimed.

    Returns
    -------
    Path
        The result file.
    """
    if claims:
        print("\n## Claims\n\n" + claims_table(claims))
    _RESULTS.mkdir(exist_ok=True)
    path = _RESULTS / f"{job}-{time.strftime('%Y%m%d-%H%M%S')}.json"
    document = document | {"claims": [claim.to_dict() for claim in claims]}
    path.write_text(json.dumps(document, indent=1), encoding="utf-8")
    print(f"\nwritten: {path.relative_to(_RESULTS.parents[1])}")
    return path


def task_claims(name: str, results: Results, peers: Sequence[str]) -> list[Claim]:
    """Judge the tasks of one input."""
    claims = []
    for task, ratio in PEER_RATIO.items():
        own, limit = results.get(task, "seqmill"), results.get(task, "limit")
        best = results.best_peer(task, peers)
        note = "no complete peer"
        if best is not None:
            note = f"{best[0]}: {best[1].cpu:.2f} s"
            if limit is not None and best[1].cpu / ratio < limit.cpu:
                note += (
                    f"; a {ratio:g}th of that is less than the limit program's {limit.cpu:.2f} s"
                )
        value = own.cpu / best[1].cpu if own and best else None
        text = f"{name}: {task}, CPU / best complete peer"
        claims.append(Claim(text, value, 1 / ratio, note))
        value = own.cpu / limit.cpu if own and limit else None
        text = f"{name}: {task}, CPU / limit program"
        claims.append(Claim(text, value, LIMIT_RATIO[task]))
    samtools = results.get("count", "samtools")
    for task in ("count", "columns"):
        own = results.get(task, "seqmill")
        value = own.cpu / samtools.cpu if own and samtools else None
        claims.append(Claim(f"{name}: {task}, CPU / samtools view -c", value, 1.0))
    return claims
