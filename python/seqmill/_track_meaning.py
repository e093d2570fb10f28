"""What the raw bytes of a track mean."""

import json
import os
from typing import Any, Final, NamedTuple

import numpy as np

from seqmill.errors import FormatError, InputError

__all__ = ["DTYPE", "KINDS", "TrackMeaning", "check_pad", "read_note"]

_SUFFIX: Final = ".track.gz"
_NOTE_SUFFIX: Final = ".track.json"
DTYPE: Final = np.dtype("<f4")
"""What numbers are where nothing tells."""
KINDS: Final = "fiub"
"""Kinds of types that a track may have: floats, integers and truth."""


class TrackMeaning(NamedTuple):
    """What the bytes of a track are.

    Attributes
    ----------
    dtype
        Type of the elements.
    channels
        Elements for each position, one beside the other.
    description
        Words for people.
    """

    dtype: np.dtype[Any]
    channels: int = 1
    description: str = ""

    @property
    def width(self) -> int:
        """Bytes of a position."""
        return self.dtype.itemsize * self.channels


def check_pad(value: float, dtype: np.dtype[Any]) -> None:
    """Refuse a value that would become another one in a track."""
    if dtype.kind == "f":
        return
    room = np.iinfo(dtype) if dtype.kind in "iu" else None
    low, high = (0, 1) if room is None else (room.min, room.max)
    if not (np.isfinite(value) and value == int(value) and low <= value <= high):
        message = f"{value} does not fit into {dtype}; give pad_value"
        raise InputError(message, option="pad_value", value=value)


def read_note(track: "str | os.PathLike[str]") -> TrackMeaning:
    """Read ``NAME.track.json`` beside a track, if it is there."""
    path = os.fspath(track).removesuffix(_SUFFIX) + _NOTE_SUFFIX
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 - bytes of a path stay as they are
            told = json.load(file)
    except FileNotFoundError:
        return TrackMeaning(DTYPE)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path}: this is no JSON ({error})", path=path) from error
    try:
        dtype = np.dtype(told.get("dtype", DTYPE))
        channels, description = told.get("channels", 1), told.get("description", "")
    except (TypeError, AttributeError) as error:
        raise FormatError(f"{path}: {error}", path=path) from error
    fine = type(channels) is int and channels >= 1 and isinstance(description, str)
    if not fine or dtype.kind not in KINDS:
        message = f"{path}: dtype is a type of numbers, channels 1 or more, description a text"
        raise FormatError(message, path=path)
    return TrackMeaning(dtype, channels, description)
