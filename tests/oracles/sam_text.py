"""SAM text from the tables that `convert` makes: slow, and plainly right."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

COLUMNS = ["qname", "flag", "rname", "pos", "mapq", "cigar", "rnext", "pnext", "tlen"]
COLUMNS += ["seq", "qual"]
# What SAM shows where a table has null.
MISSING = {"pos": "0", "pnext": "0"}


def column_text(table: pa.Table, name: str) -> list[str]:
    """Values of a column as SAM writes them."""
    missing = MISSING.get(name, "*")
    return [missing if value is None else str(value) for value in table[name].to_pylist()]


def md5_of_lines(lines: Iterable[str]) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    for line in lines:
        digest.update(line.encode())
        digest.update(b"\n")
    return digest.hexdigest()


def sam_lines(table: pa.Table, tags: Iterable[str] | None = None) -> Iterator[str]:
    """Lines as `samtools view` prints them, from columns and tag texts (`tags="sam"`)."""
    columns = {name: column_text(table, name) for name in COLUMNS}
    columns["rnext"] = [
        "=" if mate == name != "*" else mate
        for name, mate in zip(columns["rname"], columns["rnext"], strict=True)
    ]
    texts = table["tags"].to_pylist() if tags is None else tags
    for *fields, tag_text in zip(*columns.values(), texts, strict=True):
        yield "\t".join([*fields, tag_text] if tag_text else fields)


def float_text(value: float) -> str:
    return f"{float(np.float32(value)):g}"


def tag_text(name: str, sam_type: str, value: Any) -> str:
    """One tag from the value of its field."""
    if sam_type.startswith("B"):
        form = float_text if sam_type == "B:f" else str
        return ",".join([f"{name}:B:{sam_type[2:]}", *map(form, value)])
    return f"{name}:{sam_type}:{float_text(value) if sam_type == 'f' else value}"


def sorted_tags(table: pa.Table) -> Iterator[str]:
    """All tags of each record from `tags` and `tags_other`, in sorted order."""
    kinds = {
        field.name: (field.metadata or {})[b"sam_type"].decode()
        for field in table.schema.field("tags").type
    }
    rows = zip(table["tags"].to_pylist(), table["tags_other"].to_pylist(), strict=True)
    for fields, others in rows:
        found = [tag_text(n, kinds[n], v) for n, v in fields.items() if v is not None]
        found += [other_text(item) for item in others or ()]
        yield "\t".join(sorted(found))


def other_text(item: Mapping[str, str]) -> str:
    if item["type"].startswith("B"):
        # The type has the subtype; the text does not repeat it.
        value = re.sub(r"^[cCsSiIf],?", "", item["value"])
        return f"{item['tag']}:B:{item['type'][2:]}" + (f",{value}" if value else "")
    return f"{item['tag']}:{item['type']}:{item['value']}"


def sort_tags_of(line: str) -> str:
    """A SAM line whose tags are in sorted order."""
    fields = line.split("\t")
    return "\t".join([*fields[:11], *sorted(fields[11:])])
