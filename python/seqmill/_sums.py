"""Figures of several runs that add up: counts for pictures, bytes by column."""

from collections.abc import Mapping
from typing import Any, Final

__all__ = ["sum_figures"]

# What tells items of a list of mappings apart.
_KEYS: Final = ("path", "name", "tag", "type", "length")
# What is the same in every run and must not be added up.
_FIXED: Final = frozenset({"edges", "length"})


def sum_figures(one: Any, other: Any) -> Any:
    """Add figures up, lists of counts place by place, lists of mappings by their names.

    Examples
    --------
    >>> sum_figures({"mapq": [1, 2], "edges": [0, 1]}, {"mapq": [3, 4]})
    {'mapq': [4, 6], 'edges': [0, 1]}
    >>> sum_figures([{"name": "chr1", "records": 2}], [{"name": "chr2", "records": 3}])
    [{'name': 'chr1', 'records': 2}, {'name': 'chr2', 'records': 3}]
    """
    if one is None or other is None:
        return other if one is None else one
    if isinstance(one, dict):
        merged = {
            key: one.get(key) if key in _FIXED and key in one else sum_figures(one.get(key), value)
            for key, value in other.items()
        }
        return {**one, **merged}
    if isinstance(one, list):
        return _sum_lists(one, other)
    is_number = isinstance(one, int | float) and not isinstance(one, bool)
    return one + other if is_number else other


def _sum_lists(one: list[Any], other: list[Any]) -> list[Any]:
    items = [*one, *other]
    if any(isinstance(item, dict) for item in items):
        return _sum_items(one, other)
    if all(isinstance(item, int | float) for item in items):
        longer, shorter = (one, other) if len(one) >= len(other) else (other, one)
        return [a + b for a, b in zip(longer, shorter, strict=False)] + longer[len(shorter) :]
    return one + [item for item in other if item not in one]


def _sum_items(one: list[Any], other: list[Any]) -> list[Any]:
    def key(item: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(item.get(name) for name in _KEYS)

    merged = {key(item): dict(item) for item in one}
    for item in other:
        known = merged.get(key(item))
        if known is None:
            merged[key(item)] = dict(item)
        else:
            known |= {
                name: sum_figures(known.get(name), value)
                for name, value in item.items()
                if name not in _KEYS
            }
    return list(merged.values())
