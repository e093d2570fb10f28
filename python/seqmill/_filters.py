"""Filter expressions and flags: from what people write to what the engine asks of records.

An expression such as ``mapq >= 30 and not flag.dup`` is Python syntax of which nothing is ever
executed: it is parsed with :mod:`ast`, and everything but the forms below is refused.
"""

import ast
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from seqmill.errors import InputError, NotFoundError

__all__ = ["FLAG_BITS", "Expression", "parse_filter", "parse_flags"]

Expression: TypeAlias = dict[str, Any]
"""An expression as the engine reads it: one key that says what it is."""
_Scalar: TypeAlias = int | float | str

FLAG_BITS: Final[Mapping[str, int]] = {
    "paired": 0x1,
    "proper_pair": 0x2,
    "unmap": 0x4,
    "munmap": 0x8,
    "reverse": 0x10,
    "mreverse": 0x20,
    "read1": 0x40,
    "read2": 0x80,
    "secondary": 0x100,
    "qcfail": 0x200,
    "dup": 0x400,
    "supplementary": 0x800,
}
"""Names of the flag bits as samtools spells them, in lower case."""

# Other spellings of some bits: those of the flag columns, and what people write.
_MORE_FLAGS: Final[Mapping[str, int]] = {
    "unmapped": 0x4,
    "mate_unmapped": 0x8,
    "mate_reverse": 0x20,
    "duplicate": 0x400,
}
_FLAG_MAX: Final = 0xFFFF
_INT64: Final = 1 << 63

_NUMBERS: Final = frozenset(
    {"flag", "flags", "pos", "start", "mapq", "mapping_quality", "pnext", "mate_start", "tlen"}
    | {"template_length", "end", "seq_len", "length", "aligned_len", "ref_id", "mate_ref_id"}
)
_TEXTS: Final = frozenset(
    {"qname", "name", "rname", "chrom", "rnext", "mate_chrom", "strand", "read_group", "barcode"}
    | {"umi"}
)
_OPERATORS: Final[Mapping[type[ast.cmpop], str]] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}
_MIRRORED: Final[Mapping[str, str]] = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_FORMS: Final = (
    "comparisons, and, or, not, in, columns, flag.NAME and tags.XX, such as "
    "'mapq >= 30 and not flag.dup and tags.NM <= 2'"
)
_TAG_LENGTH: Final = 2


def parse_flags(value: int | str, option: str = "flags") -> int:
    """Read flag bits: a decimal or 0x number, or names joined by commas.

    Parameters
    ----------
    value
        What was given.
    option
        Name of the option for the message.

    Returns
    -------
    int
        The bits.

    Raises
    ------
    InputError
        If it is none of these, or beyond 65535.

    Examples
    --------
    >>> parse_flags("0x904"), parse_flags("UNMAP,secondary"), parse_flags(4)
    (2308, 260, 4)
    """
    number = _flag_number(value)
    if number is None or not 0 <= number <= _FLAG_MAX:
        allowed = f"0 to {_FLAG_MAX}, 0x…, or names joined by commas: " + ", ".join(
            name.upper() for name in FLAG_BITS
        )
        raise InputError(
            f"{value!r} is not a set of flags; {option} takes {allowed}",
            option=option,
            value=value,
            allowed=allowed,
        )
    return number


def _flag_number(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if not isinstance(value, str):
        return None
    text = value.strip().lower()
    try:
        return int(text, 16 if text.startswith("0x") else 10)
    except ValueError:
        bits = [_flag_bit(name.strip()) for name in text.split(",")]
    total = 0
    for bit in bits:
        if bit is None:
            return None
        total |= bit
    return total


def _flag_bit(name: str) -> int | None:
    name = name.removeprefix("is_")
    return FLAG_BITS.get(name) or _MORE_FLAGS.get(name)


def parse_filter(text: str) -> Expression:
    """Parse a filter expression.

    Values are those of the output's columns: `pos` follows `coords`. A comparison with a missing
    value is neither true nor false, and only what is true passes.

    Parameters
    ----------
    text
        The expression.

    Returns
    -------
    dict
        The expression as the engine reads it.

    Raises
    ------
    InputError
        If the text is no such expression; the message names the part that is not understood.
    NotFoundError
        If a column or flag does not exist.

    Examples
    --------
    >>> parse_filter("mapq >= 30 and not flag.dup")
    {'and': [{'compare': ['mapq', '>=', 30]}, {'not': {'flag': 1024}}]}
    >>> parse_filter("rname in ('chr1', 'chr2') or tags.NM is None")
    {'or': [{'in': ['rname', ['chr1', 'chr2']]}, {'is_null': 'tags.NM'}]}
    >>> parse_filter("100 <= pos < 200")
    {'and': [{'compare': ['pos', '>=', 100]}, {'compare': ['pos', '<', 200]}]}
    """
    try:
        tree = ast.parse(text.strip(), mode="eval")
        return _Parser(text).expression(tree.body)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        if isinstance(error, InputError):
            raise
        raise _refusal(text, "cannot be read") from None


def _refusal(text: str, problem: str) -> InputError:
    return InputError(
        f"filter {text!r}: {problem}; it takes {_FORMS}",
        option="filter",
        value=text,
        allowed=_FORMS,
    )


class _Parser:
    """Translates one parsed expression; keeps its text for the messages."""

    def __init__(self, text: str) -> None:
        self._text = text

    def expression(self, node: ast.expr) -> Expression:
        """Translate a condition."""
        match node:
            case ast.BoolOp(op=ast.And(), values=values):
                return {"and": [self.expression(value) for value in values]}
            case ast.BoolOp(op=ast.Or(), values=values):
                return {"or": [self.expression(value) for value in values]}
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return {"not": self.expression(operand)}
            case ast.Constant(value=bool(value)):
                return {"constant": value}
            case ast.Compare(left=left, ops=ops, comparators=right):
                return self._chain([left, *right], ops)
        name = _flag_name(node)
        if name is not None:
            return {"flag": self._flag(name)}
        raise self._wrong(node, "is no condition")

    def _chain(self, operands: Sequence[ast.expr], ops: Sequence[ast.cmpop]) -> Expression:
        pairs = zip(operands, operands[1:], ops, strict=False)
        parts = [self._comparison(left, right, op) for left, right, op in pairs]
        return parts[0] if len(parts) == 1 else {"and": parts}

    def _comparison(self, left: ast.expr, right: ast.expr, op: ast.cmpop) -> Expression:
        if isinstance(op, ast.In | ast.NotIn):
            found: Expression = {"in": [self._column(left), self._values(left, right)]}
            return {"not": found} if isinstance(op, ast.NotIn) else found
        if isinstance(right, ast.Constant) and right.value is None:
            return self._null_test(left, op)
        operator = _OPERATORS.get(type(op))
        if operator is None:
            raise self._wrong(right, "can only be compared with ==, !=, <, <=, >, >= and in")
        if not self._is_value(right):
            left, right, operator = right, left, _MIRRORED.get(operator, operator)
        if isinstance(left, ast.BinOp):
            return self._masked(left, operator, right)
        column = self._column(left)
        return {"compare": [column, operator, self._value(column, right)]}

    def _null_test(self, left: ast.expr, op: ast.cmpop) -> Expression:
        found: Expression = {"is_null": self._column(left)}
        if isinstance(op, ast.Is | ast.Eq):
            return found
        if isinstance(op, ast.IsNot | ast.NotEq):
            return {"not": found}
        raise self._wrong(left, "cannot be ordered against None")

    def _masked(self, node: ast.BinOp, operator: str, right: ast.expr) -> Expression:
        """Translate ``flag & 0x904 == 0`` and its like."""
        name = node.left.id if isinstance(node.left, ast.Name) else None
        mask, value = _constant(node.right), _constant(right)
        good = isinstance(node.op, ast.BitAnd) and name in ("flag", "flags")
        good = good and operator in ("==", "!=")
        if not (good and isinstance(mask, int) and 0 <= mask <= _FLAG_MAX and value in (0, mask)):
            raise self._wrong(node, "is not understood; write flag & MASK == 0 or == MASK")
        bits = [{"flag": 1 << bit} for bit in range(16) if mask >> bit & 1]
        if value == 0:
            found: Expression = {"not": {"or": bits}}
        else:
            found = {"and": bits}
        return {"not": found} if operator == "!=" else found

    def _column(self, node: ast.expr) -> str:
        match node:
            case ast.Name(id=name) if name in _NUMBERS or name in _TEXTS:
                return name
            case ast.Name(id=name):
                raise self._unknown("column", name, [*_NUMBERS, *_TEXTS])
            case ast.Attribute(value=ast.Name(id="tags"), attr=tag):
                return self._tag(tag)
            case ast.Subscript(value=ast.Name(id="tags"), slice=ast.Constant(value=str(tag))):
                return self._tag(tag)
        raise self._wrong(node, "is neither a column nor a tag")

    def _tag(self, tag: str) -> str:
        if len(tag) != _TAG_LENGTH or not tag.isascii():
            raise _refusal(self._text, f"tag {tag!r} does not have two characters")
        return f"tags.{tag}"

    def _flag(self, name: str) -> int:
        bit = _flag_bit(name.lower())
        if bit is None:
            raise self._unknown("flag", name, FLAG_BITS)
        return bit

    def _values(self, column: ast.expr, node: ast.expr) -> list[_Scalar]:
        if not isinstance(node, ast.Tuple | ast.List | ast.Set):
            raise self._wrong(node, "is no list of values, such as ('chr1', 'chr2')")
        name = self._column(column)
        return [self._value(name, item) for item in node.elts]

    def _value(self, column: str, node: ast.expr) -> _Scalar:
        value = _constant(node)
        if value is None:
            raise self._wrong(node, "is neither a number nor text")
        # A comparison of a number with text would never hold: a mistake, not a filter.
        if column in _NUMBERS and isinstance(value, str):
            raise self._wrong(node, f"is text, but {column} is a number")
        if column in _TEXTS and not isinstance(value, str):
            raise self._wrong(node, f"is a number, but {column} is text")
        if isinstance(value, int) and not -_INT64 <= value < _INT64:
            raise self._wrong(node, "is beyond 64 bits")
        return value

    @staticmethod
    def _is_value(node: ast.expr) -> bool:
        return _constant(node) is not None

    def _unknown(self, kind: str, name: str, known: Iterable[str]) -> NotFoundError:
        from difflib import get_close_matches  # noqa: PLC0415 - seldom

        near = tuple(get_close_matches(name, sorted(known), n=3, cutoff=0))
        return NotFoundError(
            f"filter {self._text!r}: {kind} {name!r} does not exist; closest: {', '.join(near)}",
            name=name,
            suggestions=near,
        )

    def _wrong(self, node: ast.expr, problem: str) -> InputError:
        part = ast.get_source_segment(self._text.strip(), node) or ast.unparse(node)
        return _refusal(self._text, f"{part!r} {problem}")


def _flag_name(node: ast.expr) -> str | None:
    """Give the name of ``flag.dup`` or ``is_dup``."""
    match node:
        case ast.Attribute(value=ast.Name(id="flag"), attr=name):
            return name
        case ast.Name(id=name) if name.startswith("is_"):
            return name
    return None


def _constant(node: ast.expr) -> _Scalar | None:
    match node:
        case ast.Constant(value=bool()):
            return None
        case ast.Constant(value=int() | float() | str() as value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
    return None
