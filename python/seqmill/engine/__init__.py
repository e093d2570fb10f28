"""Jobs that divide into units, on engines beyond this process.

A job is planned as a list of units, an :class:`Engine` runs them wherever its workers are, each
leaves a part on shared storage, and the parts are put together. What comes out has the bytes of
the undivided job.
"""

from seqmill.engine.local import LocalEngine
from seqmill.engine.protocol import (
    Engine,
    EngineInfo,
    Handle,
    Unit,
    UnitResult,
    WorkerInfo,
)
from seqmill.engine.registry import list_engines, open_engine
from seqmill.engine.units import run_unit

__all__ = [
    "Engine",
    "EngineInfo",
    "Handle",
    "LocalEngine",
    "Unit",
    "UnitResult",
    "WorkerInfo",
    "list_engines",
    "open_engine",
    "run_unit",
]
