"""Runs a command in a process of its own and learns its peak memory from the kernel."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["SEQMILL", "Ended", "run_measured"]

SEQMILL: Final = Path(sys.executable).with_name("seqmill")
"""The command that is tested."""
# Joins a control group or limits private memory, starts the command from a parent of a few MiB (a
# child's peak begins with what its parent held), and tells exit code and peak.
_PARENT: Final = """
import json, os, resource, sys
group, limit = sys.argv[1], int(sys.argv[2])
if group:
    with open(group + "/cgroup.procs", "w") as procs:
        procs.write(str(os.getpid()))
elif limit:
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
child = os.posix_spawn(sys.argv[3], sys.argv[3:], os.environ)
_, status, usage = os.wait4(child, 0)
print(json.dumps([os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024]), file=sys.stderr)
"""


class Ended(NamedTuple):
    """How a command ended.

    Attributes
    ----------
    code
        Its exit code; negative for a signal.
    peak
        Most bytes of memory that it held at a time.
    output
        What it wrote to standard output.
    errors
        What it wrote to standard error.
    """

    code: int
    peak: int
    output: bytes
    errors: str


def run_measured(
    command: Sequence[object],
    environment: Mapping[str, str],
    *,
    folder: Path | None = None,
    group: Path | None = None,
    data_limit: int = 0,
) -> Ended:
    """Run a command; `group` is a control group to join, `data_limit` bounds private memory."""
    joined = "" if group is None else str(group)
    done = subprocess.run(
        [sys.executable, "-S", "-E", "-c", _PARENT, joined, str(data_limit), *map(str, command)],
        env=environment,
        cwd=folder,
        capture_output=True,
        timeout=600,
        check=False,
    )
    *errors, last = done.stderr.decode().splitlines() or [""]
    assert last, f"{command}: no answer, exit code {done.returncode}"
    code, peak = json.loads(last)
    return Ended(code, peak, done.stdout, "\n".join(errors))
