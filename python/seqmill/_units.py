"""Sizes, times and counts as words for people."""

from typing import Final

__all__ = ["format_count", "format_seconds", "format_size"]

_MINUTE: Final = 60
_HOUR: Final = 3600
_KIB: Final = 1024
_TEN: Final = 10


def format_size(size: float) -> str:
    """Write bytes with three digits that count.

    Examples
    --------
    >>> format_size(0), format_size(1536), format_size(104857600)
    ('0 B', '1.50 KiB', '100 MiB')
    """
    value, unit = float(size), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        # 1023.5 would be written as 1024 and belongs to the next unit.
        if value < _KIB - 0.5 or unit == "TiB":
            break
        value /= _KIB
    digits = 0 if unit == "B" or value >= 99.95 else 1 if value >= 9.995 else 2  # noqa: PLR2004
    return f"{value:.{digits}f} {unit}"


def format_seconds(seconds: float) -> str:
    """Write a duration in the two units that count.

    Examples
    --------
    >>> format_seconds(0.042), format_seconds(75), format_seconds(7325)
    ('0.04 s', '1 min 15 s', '2 h 02 min')
    """
    if seconds < _MINUTE - 0.05:
        return f"{seconds:.2f} s" if seconds < _TEN else f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE:02d} s"
    return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE:02d} min"


def format_count(count: float) -> str:
    """Write a count with its thousands apart.

    Examples
    --------
    >>> format_count(1234567)
    '1,234,567'
    """
    return f"{round(count):,}"
