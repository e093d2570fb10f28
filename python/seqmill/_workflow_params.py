"""Parameters of the Nextflow pipeline, checked against `nextflow_schema.json`.

The schema uses a part of JSON Schema; what it uses is understood here, so that the check runs
wherever seqmill does, also inside of a task that has no network.
"""

import difflib
import importlib
import importlib.util
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from seqmill.errors import FormatError, InputError

__all__ = ["PIPELINE", "check_parameters", "read_parameters", "read_schema", "read_value"]

PIPELINE: Final = Path(__file__).with_name("workflow")
"""Folder of the pipeline that comes with this package."""

_NOT_LINKED: Final = re.compile(r"^-|[${*?`\n\r]")
"""Names that Nextflow puts into the scripts of tasks without quoting what a shell makes of them."""
_YAML: Final = (".yml", ".yaml")
_REMOTE: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_TYPES: Final[dict[str, Callable[[Any], bool]]] = {
    "string": lambda value: isinstance(value, str | int | float) and not isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
}
_KINDS: Final = {"string": "text", "integer": "a whole number", "boolean": "true or false"}


def read_schema(pipeline: Path = PIPELINE) -> dict[str, dict[str, Any]]:
    """Give what the schema says of each parameter, in its order.

    Parameters
    ----------
    pipeline
        Folder of the pipeline.

    Returns
    -------
    dict
        By name; ``required`` is added to what the schema says.

    Examples
    --------
    >>> schema = read_schema()
    >>> schema["k"]["default"], schema["reference"]["required"]
    (31, True)
    """
    document = json.loads((pipeline / "nextflow_schema.json").read_text(encoding="utf-8"))
    return {
        name: {**rules, "required": name in group.get("required", ())}
        for group in document["$defs"].values()
        for name, rules in group["properties"].items()
    }


def read_parameters(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a file of parameters: JSON, or YAML where PyYAML is installed.

    Raises
    ------
    FormatError
        If it holds something else than names and values.
    InputError
        If it is YAML and PyYAML is not installed.
    """
    name = os.fspath(path)
    text = Path(name).read_text(encoding="utf-8")
    is_yaml = name.lower().endswith(_YAML)
    try:
        found = _read_yaml(text, name) if is_yaml else json.loads(text)
    except InputError:
        raise
    except ValueError as error:
        reason = str(error).splitlines()[0]
        message = f"{name}: no {'YAML' if is_yaml else 'JSON'}: {reason[:1].lower()}{reason[1:]}"
        raise FormatError(message, path=name, line=getattr(error, "lineno", None)) from None
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise FormatError(f"{name}: no names with values", path=name)
    return found


def _read_yaml(text: str, name: str) -> Any:
    if importlib.util.find_spec("yaml") is None:
        raise InputError(
            f"{name}: YAML needs PyYAML; install it, or write JSON", option="params_file"
        )
    yaml = importlib.import_module("yaml")
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None


def read_value(text: str) -> Any:
    """Give what Nextflow takes a value of the command line for.

    Examples
    --------
    >>> read_value("21"), read_value("1.5"), read_value("true"), read_value("results")
    (21, 1.5, True, 'results')
    """
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind, pattern in ((int, r"-?[0-9]+"), (float, r"-?[0-9]+\.[0-9]+")):
        if re.fullmatch(pattern, text):
            return kind(text)
    return text


def check_parameters(
    given: Mapping[str, Any],
    *,
    schema: Mapping[str, Mapping[str, Any]] | None = None,
    source: str = "parameters",
    files: bool = True,
) -> list[str]:
    """Compare parameters with the schema.

    Parameters
    ----------
    given
        Names and values; None is the same as absent.
    schema
        As :func:`read_schema` gives it; by default that of the pipeline that comes along.
    source
        What a message begins with.
    files
        Look whether the files exist.

    Returns
    -------
    list of str
        Warnings about names that the pipeline does not know; other configurations may use them.

    Raises
    ------
    InputError
        If a value is wrong, a required one is missing, or a name is close to one that exists; all
        faults are in one message.

    Examples
    --------
    >>> check_parameters({"reference": "genome.fa", "k": 21}, files=False)
    []
    >>> check_parameters({"k": 300}, files=False)
    Traceback (most recent call last):
    ...
    seqmill.errors.InputError: parameters: reference is missing; k: 300 is above 255
    """
    known = read_schema() if schema is None else schema
    values = {name: value for name, value in given.items() if value is not None}
    faults = [
        f"{name} is missing" for name in known if known[name]["required"] and name not in values
    ]
    warnings = []
    for name, value in values.items():
        if name in known:
            faults += _faults_of(name, value, known[name], files=files)
            continue
        close = difflib.get_close_matches(name.replace("-", "_"), known, n=1, cutoff=0.8)
        if close:
            faults.append(f"{name} is no parameter; did you mean {close[0]}?")
        else:
            warnings.append(f"{source}: {name} is no parameter of the pipeline")
    faults += _contradictions({**_defaults(known), **values})
    if faults:
        raise InputError(f"{source}: {'; '.join(faults)}", option="params")
    return warnings


def _defaults(schema: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {name: rules["default"] for name, rules in schema.items() if "default" in rules}


def _faults_of(name: str, value: Any, rules: Mapping[str, Any], *, files: bool) -> Iterator[str]:
    kind = rules["type"]
    if not _TYPES[kind](value):
        yield f"{name}: {value!r} is not {_KINDS[kind]}"
        return
    if "enum" in rules and value not in rules["enum"]:
        yield f"{name}: {value!r} is none of {', '.join(rules['enum'])}"
    if value < rules.get("minimum", value):
        yield f"{name}: {value} is below {rules['minimum']}"
    if value > rules.get("maximum", value):
        yield f"{name}: {value} is above {rules['maximum']}"
    text = str(value)
    if len(text) < rules.get("minLength", 0):
        yield f"{name} is empty"
    elif not re.search(rules.get("pattern", ""), text):
        example = f", such as {rules['default']}" if "default" in rules else ""
        yield f"{name}: {text!r} is no {name}{example}"
    if rules.get("exists") and _NOT_LINKED.search(text.rpartition("/")[2]):
        yield (
            f"{name}: {text!r}: Nextflow cannot handle names that begin with - or have one of "
            "$ { * ? ` or a line break; link the file under another name"
        )
    if files and rules.get("exists") and not _REMOTE.match(text) and not Path(text).is_file():
        yield f"{name}: {text}: no such file"


def _contradictions(values: Mapping[str, Any]) -> Iterator[str]:
    """Give what no rule about one parameter can say."""
    k, chunk_size = values.get("k"), values.get("chunk_size")
    if isinstance(k, int) and isinstance(chunk_size, int) and chunk_size < k:
        yield f"chunk_size: {chunk_size} is below k = {k}"
    if values.get("alignments") and not values.get("region_list"):
        yield "alignments is given without region_list: say whose depth is measured"
