"""REPrise, RepeatScout and Red: run once for each genome, with figures and outputs kept.

REPrise takes minutes for each megabase. What a peer took and wrote therefore stays in a folder
(`bench/repeats.py --peers FOLDER`), and a run that is there is not repeated. For a fair ratio the
folder has to be of the same sitting. `_repeat_peers.py FOLDER [PEER:INPUT[:DISTANCE]]...` fills it.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SHARED = Path(
    os.environ.get("SEQMILL_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")
)
PATHS = {
    "sim": "repeats/sim/genome.fa.gz",
    "drosophila chr4": "real/genome/drosophila_dm3.chr4.fa.gz",
    "human 3M": "real/genome/human3M.repeatscout.fa.gz",
    "yeast": "real/yeast/S288C.fa.gz",
    "brassica": "real/genome/brassica_napus.5scaffolds.softmasked.fa.gz",
}
"""Genomes below the data folder."""
PEERS = ("REPrise", "RepeatScout", "Red")
_TIMEOUT_SECONDS = 3 * 3600
# Starts a command, waits, prints exit code, CPU seconds, wall seconds and peak bytes.
_PARENT = """
import json, os, sys, time
begun = time.monotonic()
null = os.open(os.devnull, os.O_WRONLY)
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ,
    file_actions=[(os.POSIX_SPAWN_DUP2, null, 1), (os.POSIX_SPAWN_DUP2, null, 2)])
_, status, usage = os.wait4(child, 0)
print(json.dumps([os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime,
    time.monotonic() - begun, usage.ru_maxrss * 1024]))
"""


def run(command: list[str], environment: dict[str, str] | None = None) -> dict[str, float]:
    """Run a command as a process of its own; give exit code, CPU, wall and peak."""
    program = shutil.which(command[0]) or command[0]
    whole = [sys.executable, "-S", "-c", _PARENT, program, *command[1:]]
    told = subprocess.run(
        whole,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=True,
        timeout=_TIMEOUT_SECONDS,
    )
    code, cpu, wall, peak = json.loads(told.stdout)
    return {"code": code, "cpu": cpu, "wall": wall, "peak": peak}


def plain(name: str, folder: Path) -> Path:
    """Unpack a genome for programs that read plain FASTA."""
    target = folder / f"{name.replace(' ', '_')}.fa"
    if not target.exists():
        with gzip.open(SHARED / PATHS[name]) as packed, target.open("wb") as out:
            shutil.copyfileobj(packed, out)
    return target


@dataclass(frozen=True, slots=True)
class Peers:
    """The programs that are on PATH, and the folder that keeps what they did."""

    folder: Path
    off: bool = False

    def where(self, peer: str) -> str:
        """Say where a peer is."""
        kept = "only what it did before" if self.is_there(peer) else "not on PATH"
        return shutil.which(peer) or kept

    def is_there(self, peer: str) -> bool:
        """Tell whether a peer can be run or has been."""
        return shutil.which(peer) is not None or any(self.folder.glob(f"{peer}.*/figures.json"))

    def get(self, peer: str, name: str, distance: int = 0) -> tuple[dict[str, Any], Path] | None:
        """Give figures and folder of a peer's run, kept or made now; None if it is not there."""
        own = self.folder / f"{peer}.{name.replace(' ', '_')}.{distance}"
        kept = own / "figures.json"
        if self.off:
            return None
        if kept.exists():
            return json.loads(kept.read_text()), own
        if shutil.which(peer) is None:
            return None
        shutil.rmtree(own, ignore_errors=True)
        own.mkdir(parents=True)
        genome = plain(name, self.folder)
        figures = _RUNNERS[peer](genome, own, distance)
        kept.write_text(json.dumps(figures))
        return figures, own

    def kept(self, peer: str, name: str, distance: int = 0) -> bool:
        """Tell whether a run is there already."""
        own = self.folder / f"{peer}.{name.replace(' ', '_')}.{distance}"
        return (own / "figures.json").exists()


def _reprise(genome: Path, folder: Path, distance: int) -> dict[str, Any]:
    command = ["REPrise", "-input", str(genome), "-output", str(folder / "out")]
    quiet = {"OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": "1"}
    # The flag, spelled so, stands last: it swallows the word behind it.
    return run([*command, "-dist", str(distance), "-pa", "1", "-additonalfile"], quiet)


def _repeatscout(genome: Path, folder: Path, distance: int) -> dict[str, Any]:
    del distance
    table = folder / "lmers"
    count = run(["build_lmer_table", "-sequence", str(genome), "-freq", str(table)])
    files = ["-output", str(folder / "out.fa"), "-ranges", str(folder / "ranges")]
    find = run(["RepeatScout", "-sequence", str(genome), "-freq", str(table), *files])
    return {
        "code": max(count["code"], find["code"], key=abs),
        "cpu": count["cpu"] + find["cpu"],
        "wall": count["wall"] + find["wall"],
        "peak": max(count["peak"], find["peak"]),
    }


def _red(genome: Path, folder: Path, distance: int) -> dict[str, Any]:
    del distance
    source = folder / "in"
    source.mkdir()
    shutil.copy(genome, source / "genome.fa")
    figures = run(["Red", "-gnm", str(source), "-rpt", str(folder), "-frm", "2"])
    shutil.rmtree(source)
    return figures


_RUNNERS = {"REPrise": _reprise, "RepeatScout": _repeatscout, "Red": _red}


def main() -> None:
    """Run what is named."""
    folder, *wanted = sys.argv[1:]
    peers = Peers(Path(folder))
    for one in wanted:
        peer, name, *distance = one.split(":")
        found = peers.get(peer, name, int(distance[0]) if distance else 0)
        print(one, found[0] if found else "not on PATH", flush=True)


if __name__ == "__main__":
    main()
