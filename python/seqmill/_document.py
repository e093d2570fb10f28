"""Sections of the metrics document: empty, filled from the engine's runs, and judged."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeGuard

__all__ = ["add_run", "bottleneck", "describe_input", "empty_sections", "rates"]

_TOTALS: Final = (
    "bytes_in",
    "bytes_out",
    "bases",
    "records_in",
    "records_out",
    "records_filtered",
    "units_total",
    "units_run",
    "units_skipped",
    "units_retried",
    "wall_s",
    "cpu_user_s",
    "cpu_sys_s",
    "records_per_s",
    "mb_in_per_s",
    "compression_ratio",
)
_MEMORY: Final = (
    "limit",
    "limit_source",
    "policy",
    "overhead",
    "reserved_peak",
    "anon_peak",
    "mapped_peak",
    "rss_peak",
    "heap_peak",
    "cgroup_peak",
    "untracked_peak",
)
_IO: Final = (
    "read_calls",
    "read_bytes",
    "read_wait_s",
    "write_calls",
    "write_bytes",
    "write_wait_s",
    "storage_read_bytes",
    "storage_write_bytes",
    "major_faults",
    "minor_faults",
    "vol_ctx",
    "invol_ctx",
)
# Figures of the whole process: those of one run say nothing about the job.
_OF_THE_PROCESS: Final = frozenset(
    {"wall_s", "cpu_user_s", "cpu_sys_s", "records_per_s", "mb_in_per_s", "compression_ratio"}
)
_LARGEST: Final = frozenset({"threads", "floor", "share", "peak", "overhead"})


def empty_sections() -> dict[str, Any]:
    """Give every section with nothing measured yet."""
    return {
        "job": {},
        "inputs": [],
        "outputs": [],
        "options": {},
        "totals": dict.fromkeys(_TOTALS),
        "stages": [],
        "memory": {
            **dict.fromkeys(_MEMORY),
            "consumers": [],
            "pressure": dict.fromkeys(("yellow_s", "orange_s", "red_s")),
        },
        "io": dict.fromkeys(_IO),
        "engine": {
            "name": "local",
            "address": None,
            "workers": None,
            "tasks": None,
            "retries": None,
            "lost_workers": None,
            "exchange_bytes": None,
        },
        "detail": {},
    }


def describe_input(path: str) -> dict[str, Any]:
    """Say what the file system knows of an input."""
    try:
        status = Path(path).stat() if path != "-" else None
    except OSError:
        status = None
    return {
        "path": path,
        "bytes": status and status.st_size,
        "mtime_ns": status and status.st_mtime_ns,
        "kind": None,
        "fingerprint": None,
    }


def add_run(sections: dict[str, Any], run: Mapping[str, Any]) -> None:
    """Add what one run of the engine measured.

    Counters and times add up, peaks are the largest. An input that is listed already is
    completed, not listed twice.
    """
    totals = run.get("totals", {})
    _accumulate(
        sections["totals"], {key: totals[key] for key in totals if key not in _OF_THE_PROCESS}
    )
    _accumulate(sections["io"], run.get("io", {}))
    _merge_named(sections["stages"], run.get("stages", []))
    memory = dict(run.get("memory", {}))
    _merge_named(sections["memory"]["consumers"], memory.pop("consumers", None) or [])
    _accumulate(sections["memory"]["pressure"], memory.pop("pressure", None) or {})
    for key, value in memory.items():
        _keep_largest(sections["memory"], key, value)
    _merge_inputs(sections["inputs"], run.get("inputs", []))
    sections["outputs"] += [
        {"bytes": None, "records": None, "xxh3": None, **item} for item in run.get("outputs", [])
    ]
    _merge_detail(sections["detail"], run.get("detail", {}))


def _accumulate(target: dict[str, Any], source: Mapping[str, Any]) -> None:
    for key, value in source.items():
        if value is not None:
            known = target.get(key)
            target[key] = value if known is None else known + value
        else:
            target.setdefault(key, None)


def _keep_largest(target: dict[str, Any], key: str, value: Any) -> None:
    known = target.get(key)
    if known is None or (_is_number(known) and _is_number(value) and value > known):
        target[key] = value


def _merge_named(target: list[dict[str, Any]], source: Sequence[Mapping[str, Any]]) -> None:
    by_name = {item["name"]: item for item in target}
    for item in source:
        known = by_name.get(item["name"])
        if known is None:
            target.append(dict(item))
            continue
        for key, value in item.items():
            if key in _LARGEST or key.endswith("_peak"):
                _keep_largest(known, key, value)
            elif key != "name":
                _accumulate(known, {key: value})


def _merge_inputs(target: list[dict[str, Any]], source: Sequence[Mapping[str, Any]]) -> None:
    by_path = {item["path"]: item for item in target}
    for item in source:
        known = by_path.get(item["path"])
        if known is None:
            target.append({**describe_input(item["path"]), **item})
        else:
            known |= {key: value for key, value in item.items() if value is not None}


def _merge_detail(target: dict[str, Any], source: Mapping[str, Any]) -> None:
    # Numbers are combined by what their name says; of words, the last run's are kept.
    for key, value in source.items():
        known = target.get(key)
        if isinstance(known, dict) and isinstance(value, Mapping):
            _merge_detail(known, value)
        elif isinstance(known, list) and isinstance(value, Sequence) and not isinstance(value, str):
            target[key] = known + [item for item in value if item not in known]
        elif _is_number(known) and _is_number(value):
            target[key] = _combine(key, known, value)
        elif value is not None or key not in target:
            target[key] = dict(value) if isinstance(value, Mapping) else value


def _combine(name: str, one: float, other: float) -> float | None:
    if name.endswith(("max", "peak", "budget", "threads")):
        return max(one, other)
    if name.endswith("min"):
        return min(one, other)
    # Means and rates of two runs say nothing about both together.
    return None if name.endswith(("mean", "ratio", "per_s", "p95")) else one + other


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def rates(totals: Mapping[str, Any]) -> dict[str, float | None]:
    """Derive the rates from the sums: records and 10^6 input bytes a second, bytes in per out."""
    wall, bytes_in, bytes_out = totals["wall_s"], totals["bytes_in"], totals["bytes_out"]
    records = totals["records_in"]
    return {
        "records_per_s": records / wall if records is not None and wall else None,
        "mb_in_per_s": bytes_in / wall / 1e6 if bytes_in is not None and wall else None,
        "compression_ratio": bytes_in / bytes_out if bytes_in and bytes_out else None,
    }


def bottleneck(stages: Sequence[Mapping[str, Any]]) -> str:
    """Say in one sentence what limits a job.

    Examples
    --------
    >>> bottleneck([{"name": "load", "threads": 1, "busy_s": 1.0, "wait_output_s": 8.0},
    ...             {"name": "encode", "threads": 2, "busy_s": 16.0, "wait_input_s": 1.0}])
    'encode limits the job: CPU-bound, its threads were at work 94 % of the time'
    """

    def seconds(stage: Mapping[str, Any], key: str) -> float:
        return float(stage.get(key) or 0.0)

    slowest = max(stages, key=lambda s: seconds(s, "busy_s") / (s.get("threads") or 1))
    shares = {
        "CPU-bound, its threads were at work": seconds(slowest, "busy_s"),
        "input-bound, its threads waited for input": seconds(slowest, "wait_input_s"),
        "output-bound, its threads waited for what lies behind": seconds(slowest, "wait_output_s"),
        "memory-bound, its threads waited for the budget": seconds(slowest, "wait_memory_s"),
    }
    whole = sum(shares.values())
    if whole <= 0:
        return "the job was too short to say what limits it"
    words, most = max(shares.items(), key=lambda item: item[1])
    return f"{slowest['name']} limits the job: {words} {most / whole * 100:.0f} % of the time"
