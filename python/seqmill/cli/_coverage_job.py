"""Runs what `seqmill coverage` was asked for."""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from seqmill._outputs import refuse_existing
from seqmill.cli._options import Session
from seqmill.coverage import CoverageTable, measure_coverage
from seqmill.errors import InputError

__all__ = ["run_coverage", "run_single"]


def _keywords(options: dict[str, Any]) -> dict[str, Any]:
    """Give the options of the command line as keywords of `measure_coverage`."""
    given = {name: value for name, value in options.items() if value is not None}
    strand, canonical = given.pop("strand", None), given.pop("canonical", False)
    if strand == "forward" and canonical:
        message = "--canonical and --strand forward contradict each other"
        raise InputError(message, option="strand")
    if canonical or strand is not None or "kmer_db" not in given:
        given["canonical"] = canonical or strand == "canonical"
    given["verify"] = not given.pop("no_verify", False)
    given["thresholds"] = _numbers(given.pop("thresholds", "1,5,10,30"))
    return given


def _numbers(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isascii() and part.isdecimal() for part in parts):
        message = f"{text!r} is no list of depths; thresholds takes numbers, such as 1,5,10,30"
        raise InputError(message, option="thresholds", value=text)
    return [int(part) for part in parts]


def run_coverage(
    source: str,
    regions: list[str],
    regions_file: Path | None,
    output: Path,
    *,
    session: Session,
    options: dict[str, Any],
) -> CoverageTable:
    """Measure into a folder."""
    listed: Any = regions or None
    if regions_file is not None:
        if regions:
            message = "give regions by -r or by -R, not both"
            raise InputError(message, option="region")
        listed = regions_file
    return measure_coverage(
        source, listed, output=output, progress=session.progress, **_keywords(options)
    )


def run_single(source: str, region: str, output: str | None, options: dict[str, Any]) -> int:
    """Write one JSON object about a region of sequence, or about the whole file."""
    keywords = _keywords(options)
    force = bool(keywords.pop("force", False))
    for name in ("resume", "per_base", "parquet", "region_files"):
        keywords.pop(name, None)
    path = None if output in (None, "-") else Path(str(output))
    if path is not None:
        refuse_existing(path, force=force)
    asked = None if region == "all" else [region]
    table = measure_coverage(source, asked, region_files=False, **keywords)
    if "acgt" not in table.columns:
        message = "--single is about sequence; give FASTA"
        raise InputError(message, option="single", value=region)
    text = f"{json.dumps(_single(table), indent=2, ensure_ascii=False)}\n"
    if path is None:
        sys.stdout.write(text)
        return 0
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
    ) as part:
        part.write(text)
    Path(part.name).chmod(0o644)
    Path(part.name).replace(path)
    return 0


def _single(table: CoverageTable) -> dict[str, Any]:
    """Give the figures of the only region, or the sums over all sequences."""
    rows = list(table)
    summed = ("length", "acgt", "gc", "n", "other", "lower", "kmers")
    figures: dict[str, Any] = {name: sum(row[name] for row in rows) for name in summed}
    length = figures["length"]
    figures["gc_fraction"] = round(figures["gc"] / figures["acgt"], 6) if figures["acgt"] else None
    if len(rows) == 1:
        figures |= {name: rows[0][name] for name in ("distinct_kmers", "coverage")}
    return {
        "region": rows[0]["region"] if len(rows) == 1 else None,
        "gc_content": figures["gc"] / length if length else 0.0,
        "sequence_length": length,
        **figures,
    }
