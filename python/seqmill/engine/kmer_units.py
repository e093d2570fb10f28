"""What a worker does for `kmers count`: count a batch, or merge a range of keys."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from seqmill import _native
from seqmill._kmer_jobs import choose_tmpdir, to_text
from seqmill.engine.kmers import bad_parts
from seqmill.engine.units import Resources
from seqmill.errors import FormatError

__all__ = ["run_count_unit", "run_merge_unit"]

_ONE_UNIT: Final = (1 << 63) - 1


def run_count_unit(work: Mapping[str, Any], output: Path, resources: Resources) -> dict[str, Any]:
    """Count a batch into a table."""
    items = work["items"]
    request = {
        **work["options"],
        "inputs": [path for *_, path in items],
        "parts": [None if begin is None else [begin, end] for _, begin, end, _ in items],
        "unit_bases": _ONE_UNIT,
        **_places(work.get("tmpdir"), output, resources),
    }
    answer = json.loads(_native.kmers_count(json.dumps(request), lambda _: True))
    facts = [[item[0], found] for item, found in zip(items, answer["inputs"], strict=True)]
    return {
        "inputs": facts,
        "records": sum(found["records"] for _, found in facts),
        "bytes": answer["bytes"],
        "stored": answer["stored"],
        "table_digest": answer["digest"],
        "spilled": answer["spilled"],
        "warnings": answer["warnings"],
    }


def run_merge_unit(work: Mapping[str, Any], output: Path, resources: Resources) -> dict[str, Any]:
    """Merge what of tables lies in a range of keys; the plan of the job says which."""
    plan = json.loads((output.parent.parent / f"{work['plan']}.json").read_text(encoding="utf-8"))
    group, begin, end = plan["tasks"][work["task"]]
    names = plan["groups"][group]
    request = {
        "operation": "union-sum",
        "inputs": [to_text(output.parent / name) for name in names],
        "range": [begin, end],
        "footer": [],
        **_places(None, output, resources),
    }
    try:
        answer = json.loads(_native.kmers_merge(json.dumps(request), lambda _: True))
    except (FormatError, FileNotFoundError) as error:
        bad = bad_parts(error, names)
        if bad:
            error.bad_parts = bad  # type: ignore[union-attr]
        raise
    return {
        "bytes": answer["bytes"],
        "stored": answer["stored"],
        "table_digest": answer["digest"],
    }


def _places(tmpdir: str | None, output: Path, resources: Resources) -> dict[str, Any]:
    table = to_text(output)
    chosen = tmpdir if tmpdir and Path(tmpdir).is_dir() else None
    return {
        "outputs": [["skm", table]],
        "tmpdir": to_text(choose_tmpdir(chosen, [("skm", str(output))])),
        "threads": resources.threads,
        "memory": resources.memory,
        "force": True,
        "resume": False,
        "is_unit": True,
    }
