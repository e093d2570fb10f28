"""A lazy frame of polars over a scan; the engine does what it can of a query."""

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import polars as pl
from polars.io.plugins import register_io_source

from seqmill._filters import Expression

if TYPE_CHECKING:
    from seqmill._scan import AlignmentScan

__all__ = ["scan_lazily", "translate_predicate"]

# Columns whose values the engine compares on raw records just as polars does.
_NUMBERS: Final = frozenset(
    {"flag", "flags", "pos", "start", "mapq", "mapping_quality", "pnext", "mate_start", "tlen"}
    | {"template_length", "end", "seq_len", "aligned_len", "ref_id", "mate_ref_id"}
)
_TEXTS: Final = frozenset({"qname", "name", "rname", "chrom", "rnext", "mate_chrom"})
_FLAGS: Final = ("flag", "flags")
_OPERATORS: Final[Mapping[str, str]] = {
    "Eq": "==",
    "NotEq": "!=",
    "Lt": "<",
    "LtEq": "<=",
    "Gt": ">",
    "GtEq": ">=",
}
_MIRRORED: Final[Mapping[str, str]] = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_INT64: Final = 1 << 63
_FLAG_BITS: Final = 16


def scan_lazily(scan: "AlignmentScan") -> pl.LazyFrame:
    """Make the lazy frame."""
    schema = scan._frame({"limit": 0}).schema  # noqa: SLF001 - of this package

    def source(
        with_columns: list[str] | None,
        predicate: pl.Expr | None,
        n_rows: int | None,
        batch_size: int | None,  # noqa: ARG001 - batches are the engine's
    ) -> Iterator[pl.DataFrame]:
        overrides = _overrides(scan._request["semantic"], schema, with_columns)  # noqa: SLF001
        if n_rows is not None:
            # Polars counts rows before its predicate, the engine after its filter.
            limit = overrides.get("limit")
            overrides["limit"] = n_rows if limit is None else min(n_rows, limit)
        elif predicate is not None:
            pushed = translate_predicate(predicate, schema)
            given = overrides.get("filter")
            if pushed is not None and overrides.get("limit") is None and not overrides["offset"]:
                overrides["filter"] = pushed if given is None else {"and": [given, pushed]}
        for frame in _frames(scan, overrides):
            chosen = frame.filter(predicate) if predicate is not None else frame
            yield chosen.select(with_columns) if with_columns is not None else chosen

    return register_io_source(source, schema=schema)


def _overrides(
    semantic: Mapping[str, Any], schema: Mapping[str, Any], with_columns: list[str] | None
) -> dict[str, Any]:
    """Give the options of one collection; with ``tags="columns"`` all tags are one column."""
    overrides = {key: semantic.get(key) for key in ("limit", "filter")}
    overrides["offset"] = semantic.get("offset", 0)
    if with_columns is not None:
        in_columns = semantic.get("tags") == "columns" or semantic.get("profile") == "bio"
        tags = {name for name in schema if in_columns and _is_tag_column(name)}
        names = dict.fromkeys("tags" if name in tags else name for name in with_columns)
        overrides |= {"columns": list(names), "exclude_columns": []}
    return overrides


def _is_tag_column(name: str) -> bool:
    return len(name.removeprefix("tag_")) == 2  # noqa: PLR2004 - no other column is that short


def _frames(scan: "AlignmentScan", overrides: Mapping[str, Any]) -> Iterator[pl.DataFrame]:
    """Give a frame for each batch; without pyarrow polars can only read the whole stream."""
    try:
        import pyarrow as pa  # noqa: F401, PLC0415 - optional
    except ImportError:
        yield scan._frame(overrides)  # noqa: SLF001
        return
    for batch in scan._batches(overrides):  # noqa: SLF001
        yield pl.DataFrame(batch)


def translate_predicate(predicate: pl.Expr, schema: Mapping[str, Any]) -> Expression | None:
    """Translate what the engine can ask of raw records; the rest is left to polars.

    Parameters
    ----------
    predicate
        Condition of polars, applied to every batch in any case.
    schema
        Names and types of the columns.

    Returns
    -------
    dict or None
        A condition that every row passes that passes `predicate`; None if there is none.

    Examples
    --------
    >>> schema = {"flag": pl.UInt16, "mapq": pl.UInt8, "rname": pl.Categorical}
    >>> translate_predicate((pl.col("mapq") >= 30) & pl.col("rname").is_not_null(), schema)
    {'and': [{'compare': ['mapq', '>=', 30]}, {'not': {'is_null': 'rname'}}]}
    """
    if not any(name in schema for name in _FLAGS):
        return None
    try:
        tree = json.loads(predicate.meta.serialize(format="json"))
    except (pl.exceptions.PolarsError, ValueError, TypeError):
        return None
    parts = [found for part in _conjuncts(tree) if (found := _exact(part, schema)) is not None]
    return None if not parts else parts[0] if len(parts) == 1 else {"and": parts}


def _conjuncts(node: Any) -> Iterator[Any]:
    match node:
        case {"BinaryExpr": {"left": left, "op": "And" | "LogicalAnd", "right": right}}:
            yield from _conjuncts(left)
            yield from _conjuncts(right)
        case _:
            yield node


def _exact(node: Any, schema: Mapping[str, Any]) -> Expression | None:
    """Translate a condition as a whole, or not at all."""
    match node:
        case {"BinaryExpr": {"left": left, "op": op, "right": right}} if op in _OPERATORS:
            return _comparison(left, _OPERATORS[op], right, schema)
        case {"BinaryExpr": {"left": left, "op": op, "right": right}}:
            names = {"And": "and", "LogicalAnd": "and", "Or": "or", "LogicalOr": "or"}
            parts = (_exact(left, schema), _exact(right, schema))
            return {names[op]: list(parts)} if op in names and None not in parts else None
        case {"Function": {"input": [inner], "function": {"Boolean": "Not"}}}:
            found = _exact(inner, schema)
            return None if found is None else {"not": found}
        case {"Function": {"input": [inner], "function": {"Boolean": "IsNull"}}}:
            name = _column(inner, schema)
            return None if name is None or name.startswith("tags.") else {"is_null": name}
        case {"Function": {"input": [inner], "function": {"Boolean": "IsNotNull"}}}:
            name = _column(inner, schema)
            known = name is not None and not name.startswith("tags.")
            return {"not": {"is_null": name}} if known else None
    return None


def _comparison(
    left: Any, operator: str, right: Any, schema: Mapping[str, Any]
) -> Expression | None:
    if _literal(right) is None:
        left, right, operator = right, left, _MIRRORED.get(operator, operator)
    value = _literal(right)
    if value is None:
        return None
    mask = _flag_mask(left)
    if mask is not None:
        return _masked(mask, operator, value)
    name = _column(left, schema)
    if name is None or isinstance(value, str) != _is_text(name, schema):
        return None
    if isinstance(value, str) and operator not in ("==", "!="):
        return None
    return {"compare": [name, operator, value]}


def _flag_mask(node: Any) -> int | None:
    """Give the mask of ``col("flag") & mask``."""
    match node:
        case {"BinaryExpr": {"left": {"Column": name}, "op": "And", "right": right}}:
            mask = _literal(right)
            if name in _FLAGS and isinstance(mask, int) and 0 < mask < 1 << _FLAG_BITS:
                return mask
    return None


def _masked(mask: int, operator: str, value: int | str) -> Expression | None:
    bits = [{"flag": 1 << bit} for bit in range(_FLAG_BITS) if mask >> bit & 1]
    match operator, value:
        case "==", 0:
            return {"not": {"or": bits}}
        case (("!=" | ">"), 0):
            return {"or": bits}
        case "==", number if number == mask:
            return {"and": bits}
        case "!=", number if number == mask:
            return {"not": {"and": bits}}
    return None


def _column(node: Any, schema: Mapping[str, Any]) -> str | None:
    match node:
        case {"Column": name} if name in schema and (name in _NUMBERS or name in _TEXTS):
            return str(name)
        case {
            "Function": {
                "input": [{"Column": "tags"}],
                "function": {"StructExpr": {"FieldByName": tag}},
            }
        }:
            # A float of 32 bits is compared in other ways here and there; only exact types go.
            exact = _tag_type(tag, schema) in (pl.Int64, pl.String)
            return f"tags.{tag}" if exact else None
    return None


def _tag_type(tag: str, schema: Mapping[str, Any]) -> Any:
    tags = schema.get("tags")
    fields = tags.fields if isinstance(tags, pl.Struct) else []
    return next((field.dtype for field in fields if field.name == tag), None)


def _is_text(name: str, schema: Mapping[str, Any]) -> bool:
    if name.startswith("tags."):
        return bool(_tag_type(name.removeprefix("tags."), schema) == pl.String)
    return name in _TEXTS


def _literal(node: Any) -> int | str | None:
    match node:
        case {"Literal": {"Dyn": {"Int": int(value)}}}:
            return value if -_INT64 <= value < _INT64 else None
        case {"Literal": {"Dyn": {"Str": str(value)}}}:
            return value
        case {"Literal": {"Scalar": {"String": str(value)}}}:
            return value
        case {"Literal": {"Scalar": {**parts}}} if len(parts) == 1:
            kind: Any = next(iter(parts))
            number: Any = parts[kind]
            whole = kind.startswith(("Int", "UInt")) and isinstance(number, int)
            return int(number) if whole else None
    return None
