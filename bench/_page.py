"""Writes ``docs/benchmarks.md`` from the result files that the scripts here leave.

``python bench/_page.py`` takes the newest file of each job in ``results``; files that are named as
arguments are taken instead. Every figure of the page stands in a result file.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _report import table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_HERE = Path(__file__).resolve().parent
_PAGE = _HERE.parent / "docs" / "benchmarks.md"
_NAME = re.compile(r"(?P<job>[a-z-]+)-(?P<day>\d{8})-(?P<time>\d{6})\.json")
_OWN = "seqmill"
_MACHINE = {
    "cpu": "CPU",
    "cpus": "CPUs",
    "system": "system",
    "python": "Python",
    "simd": "SIMD",
    "load": "load at the start",
}
_UNITS = {"cpu_s": "CPU s", "cpu_us": "CPU µs", "wall_s": "wall s", "wall_us": "wall µs"}
_UNITS |= {"sensitivity": "sensitivity", "precision": "precision"}
_UNITS |= {"rss_peak_mib": "peak MiB", "output_bytes": "output bytes"}
_HEAD = """\
# Benchmarks

<!-- Written by bench/_page.py from the result files of bench/results; do not edit. -->

How seqmill compares with its peers, and with a limit program that does the least work a job can be.
Every figure is what a result file says; what does not hold is listed like what does. `make bench`
measures anew on your machine and writes this page;
what is measured and how is explained in `bench/README.md`.

CPU is user and system time of the whole process. Wall times of a machine that does other work say
little: look at the load. "/ seqmill" is the CPU time divided by that of seqmill in the same table:
above 1, seqmill took less; below 1, it took more.
"""


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description="Write the benchmark page from result files.")
    parser.add_argument("files", nargs="*", type=Path, help="result files (default: the newest)")
    parser.add_argument("--output", type=Path, default=_PAGE)
    arguments = parser.parse_args()
    files = arguments.files or newest(_HERE / "results")
    if not files:
        parser.error("no result files in bench/results: run `make bench` first")
    parts = [_HEAD, *(section(path) for path in files)]
    arguments.output.write_text("\n".join(parts), encoding="utf-8")
    print(f"{arguments.output}: {len(files)} result files")


def newest(folder: Path) -> list[Path]:
    """Find the newest result file of each job."""
    found = {}
    for path in sorted(folder.glob("*.json"), key=lambda path: path.name):
        name = _NAME.fullmatch(path.name)
        if name:
            found[name["job"]] = path
    return [found[job] for job in sorted(found)]


def section(path: Path) -> str:
    """Lay out one result file."""
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    name = _NAME.fullmatch(path.name)
    title = path.stem
    if name:
        day, clock = name["day"], name["time"]
        title = f"{name['job']}, {day[:4]}-{day[4:6]}-{day[6:]} {clock[:2]}:{clock[2:4]}"
    claims = [claim_row(one) for one in document.get("claims", [])]
    lines = [f"## {title}\n", *conditions(document), *claims_part(claims)]
    for heading, series in tables(document):
        # Collapsed: there are many, and the claims above are drawn from them.
        lines += [f'??? note "{heading}"\n', indented(series_table(series)), ""]
    return "\n".join(lines)


def conditions(document: dict[str, Any]) -> Iterator[str]:
    """Say where it was measured, and what."""
    machine = document.get("machine")
    if machine is None:
        yield "The file does not say on which machine this was measured.\n"
    else:
        rows = [[words, text(machine[key])] for key, words in _MACHINE.items() if key in machine]
        yield table(["machine", ""], rows) + "\n"
    versions = document.get("versions")
    if versions:
        listed = ", ".join(f"{name} {words}" for name, words in versions.items())
        yield f"Versions: {listed}.\n"
    missing = document.get("missing_peers")
    if missing:
        yield "Not there to be measured: " + ", ".join(sorted(missing)) + ".\n"


def text(value: Any) -> str:
    """Write a value of a result file in a cell."""
    if isinstance(value, list):
        return ", ".join(map(text, value))
    if isinstance(value, float):
        return f"{value:.3g}"
    return str(value).replace("|", "\\|")


def claim_row(claim: dict[str, Any]) -> list[str]:
    """Lay out a claim."""
    cells = [claim["name"], claim["value"], claim["asked"]]
    words = {True: "yes", False: "**no**", None: "not measured"}[claim["holds"]]
    return [*("-" if cell is None else text(cell) for cell in cells), words, text(claim["note"])]


def claims_part(rows: Sequence[list[str]]) -> Iterator[str]:
    """Lay out the claims; those that do not hold come first."""
    measured = [row for row in rows if row[3] != "not measured"]
    if not measured:
        return
    holding = sum(row[3] == "yes" for row in measured)
    head = ["claim", "measured", "asked", "holds", ""]
    yield f"{holding} of {len(measured)} claims that could be measured hold.\n"
    lost = [row for row in measured if row[3] != "yes"]
    if lost:
        yield "What does not hold:\n"
        yield table(head, lost) + "\n"
    yield '??? note "All claims"\n'
    yield indented(table(head, list(rows))) + "\n"


def tables(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, dict[str, Any]]]]:
    """Find whatever maps names to figures of processes."""
    for name, part in document.items():
        if not isinstance(part, dict):
            continue
        if is_series(part):
            yield name, part
            continue
        for kind, inner in part.items():
            if not (isinstance(inner, dict) and is_series(inner)):
                continue
            if kind != "tasks":
                yield f"{name}: {kind}", inner
                continue
            tasks: dict[str, dict[str, Any]] = defaultdict(dict)
            for key, figures in inner.items():
                task, _, contestant = key.partition(" ")
                tasks[task][contestant] = figures
            for task, series in tasks.items():
                yield f"{name}: {task}", series


def is_series(part: dict[str, Any]) -> bool:
    """Tell whether this maps names to figures."""
    rows = [one for one in part.values() if isinstance(one, dict)]
    return any(not _UNITS.keys().isdisjoint(one) for one in rows)


def series_table(series: dict[str, Any]) -> str:
    """Lay out figures, one contestant a row, beside seqmill's CPU time."""
    rows_of = {name: one for name, one in series.items() if isinstance(one, dict)}
    used = [key for key in _UNITS if any(key in one for one in rows_of.values())]
    unit = used[0]
    own = rows_of.get(_OWN, {}).get(unit)
    rows = []
    for name, one in rows_of.items():
        if "failure" in one and unit not in one:
            rows.append([text(name), *["failed"] * len(used), ""])
            continue
        cells = [text(one[key]) if one.get(key) is not None else "-" for key in used]
        ratio = f"{one[unit] / own:.2f}" if own and one.get(unit) else "-"
        rows.append([text(name), *cells, ratio])
    head = ["", *(_UNITS[key] for key in used), "/ seqmill"]
    if own is None:
        return table(head[:-1], [row[:-1] for row in rows])
    return table(head, rows)


def indented(block: str) -> str:
    """Put a block inside an admonition."""
    return "\n".join(f"    {line}" for line in block.splitlines())


if __name__ == "__main__":
    main()
