"""What `FastaStore` can turn bases into: for each encoding a table of 256 entries."""

import math
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final, Literal, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray

from seqmill import _native
from seqmill.errors import InputError, OutOfRangeError

__all__ = [
    "Case",
    "Channels",
    "Encode",
    "Encoding",
    "Iupac",
    "as_bytes",
    "choose_encoding",
    "cut_text",
    "row_length",
]

Encode = Literal["bytes", "str", "array", "onehot", "tokens", "2bit", "softmask"]
Case = Literal["keep", "upper", "lower"]
Channels = Literal["last", "first"]
Iupac = Literal["zero", "fraction"]

_BASES: Final = "ACGT"
_IUPAC: Final = {
    **{base: base for base in _BASES},
    "U": "T",
    "R": "AG",
    "Y": "CT",
    "S": "CG",
    "W": "AT",
    "K": "GT",
    "M": "AC",
    "B": "CGT",
    "D": "AGT",
    "H": "ACT",
    "V": "ACG",
    "N": "ACGT",
}
_DTYPES: Final[dict[str, tuple[str, ...]]] = {
    "array": ("uint8",),
    "onehot": ("uint8", "bool", "float16", "float32"),
    "tokens": ("uint8", "int8", "int32", "int64"),
    "softmask": ("bool",),
}
_OTHER_TOKEN: Final = 4
_BYTES: Final = 256
_ARRAY_BYTES_MAX: Final = (1 << 63) - 1


class Encoding:
    """An encoding as the engine takes it, and the arrays that it fills.

    Parameters
    ----------
    kind
        Name of the encoding.
    dtype
        Type of the elements.
    layout
        Layout of the entries, as the engine calls it.
    table
        The entries.
    """

    __slots__ = ("dtype", "is_text", "kind", "layout", "native")

    def __init__(
        self, kind: Encode, dtype: np.dtype[Any], layout: str, table: NDArray[Any]
    ) -> None:
        self.kind = kind
        self.dtype = dtype
        self.layout = layout
        self.is_text = kind in ("bytes", "str")
        width = table.nbytes // _BYTES
        self.native = _native.FetchEncoder(layout, width, table.tobytes())

    def shape(self, bases: int) -> tuple[int, ...]:
        """Give the shape of a window of so many bases."""
        if self.kind == "onehot":
            return (bases, 4) if self.layout == "rows" else (4, bases)
        return (bases,)

    def empty(self, rows: int | None, bases: int) -> NDArray[Any]:
        """Make an array for one window (`rows` is None) or for several of one length."""
        shape = (self.native.output_bytes(bases),) if self.kind == "2bit" else self.shape(bases)
        whole = shape if rows is None else (rows, *shape)
        if math.prod(whole) * self.dtype.itemsize > _ARRAY_BYTES_MAX:
            message = f"windows of {bases} bases are too long for this machine"
            raise OutOfRangeError(message)
        return np.empty(whole, self.dtype)

    def check(self, out: NDArray[Any], rows: int | None, bases: int) -> None:
        """Refuse an array that is not what :meth:`empty` makes."""
        if not isinstance(out, np.ndarray) or not out.flags.writeable:
            message = f"out is {type(out).__name__}; it must be a NumPy array that can be written"
            raise InputError(message, option="out")
        expected = self.empty(rows, 0).dtype, self.empty(None, bases).shape
        shape = expected[1] if rows is None else (rows, *expected[1])
        if out.dtype != expected[0] or out.shape != shape or not out.flags.c_contiguous:
            message = (
                f"out is {out.dtype}{list(out.shape)}; it must be contiguous "
                f"{expected[0]}{list(shape)}"
            )
            raise InputError(message, option="out")


def choose_encoding(
    encode: Encode = "bytes",
    *,
    dtype: DTypeLike | None = None,
    channels: Channels = "last",
    case: Case = "keep",
    mask: str | None = None,
    n_value: float = 0.0,
    iupac: Iupac = "zero",
    vocab: bytes | None = None,
) -> Encoding:
    """Find the encoding for the options of a call.

    Parameters
    ----------
    encode
        What bases become.
    dtype
        Type of the elements; by default the first that the encoding has.
    channels
        Whether the four channels of ``"onehot"`` come last or first.
    case
        What becomes of lower case in bytes.
    mask
        ``"N"`` turns lower case into N.
    n_value
        What stands in all channels of ``"onehot"`` for a base that is none of the four.
    iupac
        ``"fraction"`` shares an ambiguous base among those it stands for.
    vocab
        256 tokens, by byte.

    Returns
    -------
    Encoding
        Made once for equal options.
    """
    try:
        name = None if dtype is None else np.dtype(dtype).name
    except TypeError:
        message = f"{dtype!r} is no type of elements"
        raise InputError(message, option="dtype", value=dtype) from None
    try:
        vocabulary = None if vocab is None else bytes(list(vocab))
    except (TypeError, ValueError):
        message = "vocab takes 256 tokens from 0 to 255"
        raise InputError(message, option="vocab") from None
    return _make(
        encode=encode,
        dtype=name,
        channels=channels,
        case=case,
        mask=mask,
        n_value=float(n_value),
        iupac=iupac,
        vocab=vocabulary,
    )


def _refuse(option: str, value: object, allowed: tuple[object, ...]) -> InputError:
    words = ", ".join(map(repr, allowed))
    return InputError(
        f"{value!r} is not allowed; {option} takes {words}",
        option=option,
        value=value,
        allowed=words,
    )


@lru_cache(maxsize=256)
def _make(
    *,
    encode: Encode,
    dtype: str | None,
    channels: Channels,
    case: Case,
    mask: str | None,
    n_value: float,
    iupac: Iupac,
    vocab: bytes | None,
) -> Encoding:
    _check_choices(encode, channels, case, mask, iupac)
    types = _DTYPES.get(encode, ("uint8",))
    if dtype is not None and dtype not in types:
        raise _refuse(f"dtype of {encode!r}", dtype, types)
    kind = np.dtype(dtype or types[0])
    seen = _bytes_table(case, mask)
    if encode in ("bytes", "str", "array"):
        return Encoding(encode, kind, "rows", seen)
    if encode == "2bit":
        return Encoding(encode, kind, "2bit", seen)
    if encode == "softmask":
        lower = np.frombuffer(bytes(range(_BYTES)), np.uint8)
        return Encoding(encode, kind, "rows", (lower >= ord("a")) & (lower <= ord("z")))
    if encode == "tokens":
        return Encoding(encode, kind, "rows", _tokens(kind, vocab)[seen])
    layout = "rows" if channels == "last" else "planes"
    return Encoding(encode, kind, layout, _onehot(kind, n_value, iupac)[seen])


def _check_choices(encode: str, channels: str, case: str, mask: str | None, iupac: str) -> None:
    for option, value, allowed in (
        ("encode", encode, ("bytes", "str", "array", "onehot", "tokens", "2bit", "softmask")),
        ("channels", channels, ("last", "first")),
        ("case", case, ("keep", "upper", "lower")),
        ("mask", mask, (None, "N")),
        ("iupac", iupac, ("zero", "fraction")),
    ):
        if value not in allowed:
            raise _refuse(option, value, allowed)


def _bytes_table(case: Case, mask: str | None) -> NDArray[np.uint8]:
    every = bytes(range(_BYTES))
    if mask is not None:
        lower = bytes(range(ord("a"), ord("z") + 1))
        every = every.translate(bytes.maketrans(lower, b"N" * len(lower)))
    if case != "keep":
        every = every.upper() if case == "upper" else every.lower()
    return np.frombuffer(every, np.uint8)


def _tokens(dtype: np.dtype[Any], vocab: bytes | None) -> NDArray[Any]:
    if vocab is not None:
        if len(vocab) != _BYTES:
            message = f"vocab has {len(vocab)} entries; it takes {_BYTES}, one for each byte"
            raise InputError(message, option="vocab")
        tokens = np.frombuffer(vocab, np.uint8)
        if int(tokens.max()) > np.iinfo(dtype).max:
            message = f"token {tokens.max()} of vocab does not fit into {dtype}"
            raise InputError(message, option="vocab")
        return tokens.astype(dtype)
    table = np.full(_BYTES, _OTHER_TOKEN, dtype)
    for token, base in enumerate(_BASES):
        for letter in (base, "U") if base == "T" else (base,):
            table[[ord(letter), ord(letter.lower())]] = token
    return table


def _onehot(dtype: np.dtype[Any], n_value: float, iupac: Iupac) -> NDArray[Any]:
    if dtype.kind != "f" and (n_value not in (0.0, 1.0) or iupac == "fraction"):
        message = (
            f"fractions do not fit into {dtype}; n_value and iupac take dtype float16, float32"
        )
        raise InputError(message, option="dtype")
    table = np.full((_BYTES, 4), n_value, dtype)
    for letter, bases in _IUPAC.items():
        if len(bases) > 1 and iupac == "zero":
            continue
        row = [1 / len(bases) if base in bases else 0 for base in _BASES]
        table[[ord(letter), ord(letter.lower())]] = row
    return table


def row_length(lengths: NDArray[np.int64], pad_to: int | None) -> int | None:
    """Give the one length that all rows have, None if they differ."""
    if pad_to is not None:
        if pad_to < 0:
            raise InputError("pad_to is negative", option="pad_to", value=pad_to)
        if len(lengths) and int(lengths.max()) > pad_to:
            message = f"a window of {int(lengths.max())} bases is longer than pad_to, {pad_to}"
            raise InputError(message, option="pad_to", value=pad_to)
        return pad_to
    if len(lengths) == 0:
        return 0
    first = int(lengths[0])
    return first if first >= 0 and bool((lengths == first).all()) else None


def as_bytes(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Show the bytes of a contiguous array."""
    return cast("NDArray[np.uint8]", array.reshape(-1).view(np.uint8))


def cut_text(
    data: NDArray[np.uint8], offsets: NDArray[np.int64], encode: Encode
) -> list[bytes] | list[str]:
    """Cut the bases of many windows into one text each."""
    text = data.tobytes()
    pieces = [text[begin:end] for begin, end in pairwise(offsets.tolist())]
    return pieces if encode == "bytes" else [piece.decode("latin-1") for piece in pieces]
