"""Finding an engine by its name: ours, or one of another package."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import Any, Final

from seqmill.engine.protocol import Engine
from seqmill.errors import InputError

__all__ = ["ENGINE_GROUP", "list_engines", "open_engine"]

ENGINE_GROUP: Final = "seqmill.engines"
"""Entry points of this group make engines of what ``--scheduler`` says."""


def list_engines() -> list[str]:
    """List the names that ``--engine`` takes.

    Examples
    --------
    >>> {"dask", "local"} <= set(list_engines())
    True
    """
    return sorted({"local", "dask"} | {item.name for item in entry_points(group=ENGINE_GROUP)})


@contextmanager
def open_engine(engine: Any, scheduler: Any = None) -> Iterator[Engine | None]:
    """Open an engine; None stands for one native pipeline in this process.

    Parameters
    ----------
    engine
        A name, an :class:`Engine`, a cluster or client object of Dask, or None.
    scheduler
        Where the engine is reached: text of ``--scheduler``, or a cluster or client object.

    Raises
    ------
    InputError
        If there is no such engine.
    """
    if engine is None and scheduler is not None:
        engine = "dask"
    if engine in (None, "local"):
        if scheduler is not None:
            message = "the engine local has no scheduler; leave it out, or choose the engine dask"
            raise InputError(message, option="scheduler")
        yield None
        return
    if isinstance(engine, Engine):
        yield engine  # whoever made it closes it
        return
    opened = _maker(engine)(scheduler if isinstance(engine, str) else engine)
    try:
        yield opened
    finally:
        opened.close()


def _maker(engine: Any) -> Callable[[Any], Engine]:
    if not isinstance(engine, str) or engine == "dask":
        from seqmill.engine.dask import connect  # noqa: PLC0415 - brings Dask

        return connect
    for item in entry_points(group=ENGINE_GROUP):
        if item.name == engine:
            maker: Callable[[Any], Engine] = item.load()
            return maker
    allowed = ", ".join(list_engines())
    message = f"{engine!r} is no engine; engine takes {allowed}"
    raise InputError(message, option="engine", value=engine, allowed=allowed)
