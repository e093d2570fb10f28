"""Units on Dask: workers on this machine, a batch system, Kubernetes, wherever Dask runs.

Only this module imports Dask, and only when it is asked for.
"""

import json
import logging
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from seqmill import _native
from seqmill.engine.completed import Completed
from seqmill.engine.protocol import EngineInfo, Handle, Unit, UnitResult, WorkerInfo
from seqmill.engine.units import POISON_DEATHS, run_unit
from seqmill.errors import EngineError, InputError

__all__ = ["WORKER_SETTINGS", "DaskEngine", "connect"]

WORKER_SETTINGS: Final[Mapping[str, Any]] = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "500ms",
    "distributed.admin.tick.cycle": "5s",
}
"""What workers need not do: units run for seconds inside native code, of which Dask's profiler sees
nothing, and for the same reason its clocks may tick seldom."""

_CONNECT_SECONDS: Final = 30
_WORKER_SECONDS: Final = 120
_ASK_SECONDS: Final = 5.0
_LOCAL: Final = "local:"
_ADDRESS: Final = re.compile(
    r"((?P<scheme>tcp|tls|ws|wss|ucx|ucxx)://)?(\[[0-9A-Fa-f:.%\w]+\]|[^\s:@/?#]+):(?P<port>[0-9]{1,5})"
)
_ENCRYPTED: Final = ("tls", "wss")
_PORT_MAX: Final = 65535
_MEMORY_RESOURCE: Final = "seqmill_mem"


@dataclass(slots=True, eq=False)
class _DaskHandle:
    unit: Unit
    future: Any

    def result(self) -> UnitResult:
        from distributed import CancelledError, KilledWorker  # noqa: PLC0415 - an extra

        try:
            return UnitResult(**self.future.result())
        except KilledWorker as error:
            message = (
                f"unit {self.unit.description!r} ended its workers, the last "
                f"{error.last_worker.address}; it is not tried again. Descriptor: "
                f"{json.dumps(self.unit.to_dict(), sort_keys=True)}"
            )
            raise EngineError(message, unit=self.unit.description) from None
        except CancelledError:
            message = "the scheduler was lost, or gave up a unit; see whether it runs"
            raise EngineError(message, unit=self.unit.description, transient=True) from None
        except Exception as error:
            message = f"Dask could not run unit {self.unit.description!r}: {error}"
            raise EngineError(message, unit=self.unit.description) from error
        finally:
            # The scheduler forgets the key, so that a resumed job may submit it again.
            self.future.release()


def connect(scheduler: Any) -> "DaskEngine":
    """Connect to a scheduler.

    Parameters
    ----------
    scheduler
        Address (``tcp://host:8786``, ``tls://…``), a scheduler file, ``local:N`` for N worker
        processes on this machine, or a cluster or client object of Dask.

    Raises
    ------
    InputError
        If nothing is given, or Dask is not installed.
    EngineError
        If no scheduler answers (may be retried).
    """
    try:
        import distributed  # noqa: PLC0415 - an extra
    except ImportError:
        message = "the engine dask needs Dask: pip install 'seqmill[dask]'"
        raise InputError(message, option="engine", value="dask") from None
    if isinstance(scheduler, distributed.Client):
        return DaskEngine(scheduler)
    if scheduler is None:
        message = (
            "the engine dask needs a scheduler: an address such as tcp://host:8786, a scheduler "
            "file, or local:N for N workers on this machine"
        )
        raise InputError(message, option="scheduler")
    if isinstance(scheduler, os.PathLike):
        scheduler = os.fspath(scheduler)
    if not isinstance(scheduler, str):
        if not hasattr(scheduler, "scheduler_address"):
            message = f"{scheduler!r} is no scheduler: it is no cluster and no client of Dask"
            raise InputError(message, option="engine")
        client = distributed.Client(scheduler, set_as_default=False)
        return DaskEngine(client, owned=(client,))
    if scheduler.startswith(_LOCAL):
        return _start_workers(scheduler)
    address = _address(scheduler)
    try:
        client = distributed.Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        message = f"no scheduler answers at {address}: {error}"
        raise EngineError(message, transient=isinstance(error, OSError)) from None
    return DaskEngine(client, owned=(client,))


def _address(text: str) -> str:
    """Find the address of a scheduler, and refuse what can be none.

    Dask itself would wait for a minute, then end in an error of its own.
    """
    told = text
    if Path(text).is_file():
        try:
            told = str(json.loads(Path(text).read_text(encoding="utf-8"))["address"])
        except (ValueError, KeyError, TypeError):
            message = f"{text}: no scheduler file; it holds JSON with the address of a scheduler"
            raise InputError(message, option="scheduler", value=text) from None
    found = _ADDRESS.fullmatch(told)
    if found is None or int(found["port"]) > _PORT_MAX:
        seen = told.rpartition("@")[2]
        message = (
            f"{seen!r} is no scheduler: it is neither a file that exists nor an address such as "
            "tcp://host:8786"
        )
        raise InputError(message, option="scheduler", value=seen)
    if found["scheme"] in _ENCRYPTED and not _has_certificates():
        message = (
            f"{told}: no certificates; name them for Dask, such as in "
            "DASK_DISTRIBUTED__COMM__TLS__CA_FILE, ...CLIENT__CERT and ...CLIENT__KEY"
        )
        raise InputError(message, option="scheduler", value=told)
    return told


def _has_certificates() -> bool:
    from distributed.security import Security  # noqa: PLC0415 - an extra

    return Security().get_connection_args("client").get("ssl_context") is not None


def _start_workers(text: str) -> "DaskEngine":
    import dask  # noqa: PLC0415 - an extra
    import distributed  # noqa: PLC0415

    number = text.removeprefix(_LOCAL)
    if not number.isascii() or not number.isdecimal() or int(number) < 1:
        message = f"{text!r} is no scheduler; local takes a number of workers, such as local:2"
        raise InputError(message, option="scheduler", value=text)
    # The worker whose death is one too many is the last that a unit gets.
    # On a busy machine a worker takes its time to come again; Dask would give it up for good.
    settings = {
        **WORKER_SETTINGS,
        "distributed.scheduler.allowed-failures": POISON_DEATHS - 1,
        "distributed.deploy.lost-worker-timeout": "600s",
    }
    kept = _Settings(dask.config.set(settings))
    try:
        cluster = distributed.LocalCluster(
            n_workers=int(number),
            threads_per_worker=1,
            processes=True,
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        )
        client = distributed.Client(cluster, set_as_default=False)
    except BaseException:
        kept.close(timeout=0)
        raise
    return DaskEngine(client, owned=(client, cluster, kept))


class _Settings:
    """Settings of Dask that hold while a cluster of ours runs."""

    def __init__(self, changed: Any) -> None:
        self._changed = changed

    def close(self, timeout: float) -> None:  # noqa: ARG002 - as what else is closed
        self._changed.__exit__(None, None, None)


class DaskEngine:
    """Runs units on the workers of a Dask scheduler.

    Parameters
    ----------
    client
        A connected `distributed.Client`.
    owned
        What :meth:`close` closes, in this order.
    """

    name = "dask"

    def __init__(self, client: Any, owned: Iterable[Any] = ()) -> None:
        self._client = client
        self._owned = tuple(owned)
        self._done = Completed()
        self._has_resource = False
        self._threads = 1
        self._ask_at = 0.0

    def __enter__(self) -> Self:
        """Use the engine as a context that closes it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the engine."""
        self.close()

    @property
    def parallelism(self) -> int:
        """Units that run at a time: the threads of all workers there are now."""
        now = time.monotonic()
        # The scheduler is asked from time to time only: workers seldom come and go.
        if now >= self._ask_at:
            self._ask_at = now + _ASK_SECONDS
            with suppress(Exception):
                self._threads = sum(self._client.nthreads().values()) or self._threads
        return self._threads

    def info(self, probe: str, token: str) -> EngineInfo:
        """Ask all workers; waits for the first one."""
        try:
            self._client.wait_for_workers(1, timeout=_WORKER_SECONDS)
        except TimeoutError:
            message = f"no worker has joined the scheduler within {_WORKER_SECONDS} s"
            raise EngineError(message, transient=True) from None
        try:
            told = self._client.run(_probe, {"path": probe, "token": token})
        except Exception as error:
            message = (
                f"a worker cannot run seqmill {_native.version()}: {type(error).__name__}: "
                f"{error}; install the same version everywhere"
            )
            raise EngineError(message) from error
        declared = [found.pop("declares_memory") for found in told.values()]
        self._has_resource = bool(declared) and all(declared)
        workers = tuple(
            WorkerInfo(address=address, **found) for address, found in sorted(told.items())
        )
        address = getattr(self._client.scheduler, "address", None)
        return EngineInfo(name=self.name, address=address, workers=workers)

    def submit(self, unit: Unit) -> Handle:
        """Hand over a unit; the second attempt has another key, as the first one's is known."""
        suffix = f"-{unit.attempt}" if unit.attempt else ""
        needs = {_MEMORY_RESOURCE: unit.memory} if self._has_resource and unit.memory else None
        future = self._client.submit(
            run_unit,
            unit.to_dict(),
            key=f"seqmill-{unit.key}{suffix}",
            pure=True,
            retries=2,
            resources=needs,
        )
        handle = _DaskHandle(unit, future)
        future.add_done_callback(lambda _: self._done.put(handle))
        return handle

    def as_completed(self, handles: Iterable[Handle], timeout: float) -> Iterator[Handle]:
        """Give handles as they end; stop after `timeout` seconds in which none did."""
        yield from self._done.take(handles, timeout)

    def cancel(self, handles: Iterable[Handle]) -> None:
        """Give up units; those that run go on to their end, and nobody hears of it."""
        mine = [handle for handle in handles if isinstance(handle, _DaskHandle)]
        self._done.forget(mine)
        futures = [handle.future for handle in mine]
        if futures:
            with suppress(Exception):
                self._client.cancel(futures, force=True)

    def close(self) -> None:
        """Close the connection, and the cluster if it was started here."""
        for item in self._owned:
            with suppress(TimeoutError, OSError):
                item.close(timeout=10)


def _probe(request: Mapping[str, str], dask_worker: Any = None) -> dict[str, Any]:
    """Tell of a worker what the client must know; runs there."""
    try:
        sees = Path(request["path"]).read_text(encoding="utf-8") == request["token"]
    except OSError:
        sees = False
    manager = getattr(dask_worker, "memory_manager", None)
    state = getattr(dask_worker, "state", None)
    return {
        "threads": int(getattr(state, "nthreads", 1)),
        "memory": getattr(manager, "memory_limit", None) or None,
        "version": _native.version(),
        "sees_probe": sees,
        "declares_memory": _MEMORY_RESOURCE in getattr(state, "total_resources", {}),
    }
