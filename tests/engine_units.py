"""Units that write, wait, fail or end their worker, for the tests of engines."""

import errno
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

KIND = "tests.engine_units:run"


def run(work: Mapping[str, Any], output: Path, _resources: object) -> dict[str, Any]:
    """Do what `work` says, then write its text."""
    count = _count(work)
    time.sleep(work.get("seconds", 0.0))
    if count < work.get("deaths", 0):
        os.kill(os.getpid(), signal.SIGKILL)
    if count < work.get("refusals", 0):
        raise OSError(errno.ECONNRESET, "connection reset", "somewhere")
    if count < work.get("failures", 0):
        words = {"same": "again", "numbered": str(count), "new": "o" * count}
        message = f"failure {words[work.get('words', 'same')]}: {output}"
        raise ValueError(message)
    if work.get("full") and not Path(work["full"]).exists():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(output))
    if "needs" in work and b"damaged" in (output.parent / work["needs"]).read_bytes():
        error = ValueError(f"{work['needs']}: block 3 is damaged")
        error.bad_parts = [work["needs"]]  # type: ignore[attr-defined]
        raise error
    if "files" in work:
        output.mkdir()
    for file in [output / str(n) for n in range(work["files"])] if "files" in work else [output]:
        file.write_text(work["text"], encoding="utf-8")
    return {"records": 1, "bytes": len(work["text"])}


def _count(work: Mapping[str, Any]) -> int:
    """Count how often this unit began before."""
    if "log" not in work:
        return 0
    path = Path(work["log"])
    before = len(path.read_bytes()) if path.exists() else 0
    with path.open("ab") as log:
        log.write(b".")
    return before
