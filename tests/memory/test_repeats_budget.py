"""`seqmill repeats` stays inside its budget, and says the same in the least as in any other."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

MIB = 1 << 20
# A parent of a few MiB: a child's peak begins with what its parent held.
PARENT = """
import json, os, sys
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(child, 0)
print(json.dumps([os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024]))
"""
GENOMES = {
    "sim": ("repeats/sim/genome.fa.gz", "0", (36, 64)),
    "sim near": ("repeats/sim/genome.fa.gz", "1", (56, 128)),
    "yeast": ("real/yeast/S288C.fa.gz", "0", (64, 128)),
    "yeast near": ("real/yeast/S288C.fa.gz", "1", (128, 256)),
}
SLOW = {"yeast near"}


@pytest.mark.parametrize("threads", ["1", "2"])
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in GENOMES],
)
def test_peak_is_within_the_budget(
    shared_data: Path,
    tmp_path: Path,
    command_environment: dict[str, str],
    name: str,
    threads: str,
) -> None:
    path, distance, budgets = GENOMES[name]
    program = str(Path(sys.executable).parent / "seqmill")
    seen: set[tuple[bytes, ...]] = set()
    for budget in budgets:
        prefix = tmp_path / str(budget)
        command = [program, "repeats", str(shared_data / path), "-o", str(prefix), "-q"]
        command += ["--distance", distance, "-@", threads, "-m", f"{budget}M"]
        told = subprocess.run(
            [sys.executable, "-S", "-c", PARENT, *command],
            env=command_environment,
            capture_output=True,
            text=True,
            check=True,
        )
        code, peak = json.loads(told.stdout)
        assert code == 0, told.stderr
        assert peak <= budget * MIB
        files = (f"{budget}.families.fa", f"{budget}.bed")
        seen.add(tuple((tmp_path / file).read_bytes() for file in files))
    assert len(seen) == 1
