"""Opening the inputs of a conversion: local ones as they are, remote ones through readers.

What reads remote files is loaded only where an input is remote.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from seqmill._addresses import is_remote

if TYPE_CHECKING:
    from seqmill import _native

__all__ = ["RANGES", "RANGES_MAX", "open_inputs"]

RANGES: Final = 8
"""Ranges of remote files that may be on their way at a time."""
RANGES_MAX: Final = 64


@contextmanager
def open_inputs(
    options: Mapping[str, Any], *, any_region: bool = False
) -> "Iterator[tuple[dict[str, Any], _native.RemoteFiles | None]]":
    """Make the inputs of a conversion readable.

    Parameters
    ----------
    options
        What the engine is asked to do.
    any_region
        Regions may be asked for later.

    Yields
    ------
    tuple
        The same with what only concerns remote files taken out and an index brought here, and the
        remote files, None if there is none.
    """
    request = dict(options)
    ranges = request.pop("concurrent_ranges", RANGES)
    index, mate = request.get("index"), request["semantic"].get("mate")
    inputs = [path for path in (*request["inputs"], mate) if path is not None]
    remote = [path for path in inputs if is_remote(path)]
    if not remote and not (index is not None and is_remote(index)):
        yield request, None
        return
    from seqmill._remote import bring_inputs  # noqa: PLC0415 - see above

    with bring_inputs(request, remote, ranges=ranges, any_region=any_region) as found:
        yield found
