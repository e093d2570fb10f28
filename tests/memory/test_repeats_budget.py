"""`seqmill repeats` stays inside its budget, and says the same in the least as in any other."""

import random
import re
from pathlib import Path

import pytest

from tests.peaks import SEQMILL, run_measured

MIB = 1 << 20
GENOMES = {
    "sim": ("repeats/sim/genome.fa.gz", "0", (36, 64)),
    "sim near": ("repeats/sim/genome.fa.gz", "1", (56, 128)),
    "yeast": ("real/yeast/S288C.fa.gz", "0", (64, 128)),
    "yeast near": ("real/yeast/S288C.fa.gz", "1", (160, 256)),
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
    seen: set[tuple[bytes, ...]] = set()
    for budget in budgets:
        prefix = tmp_path / str(budget)
        command = [SEQMILL, "repeats", shared_data / path, "-o", prefix, "-q"]
        command += ["--distance", distance, "-@", threads, "-m", f"{budget}M"]
        ended = run_measured(command, command_environment)
        assert ended.code == 0, ended.errors
        assert ended.peak <= budget * MIB
        files = (f"{budget}.families.fa", f"{budget}.bed")
        seen.add(tuple((tmp_path / file).read_bytes() for file in files))
    assert len(seen) == 1


@pytest.mark.parametrize("threads", ["1", "2"])
def test_refusals_are_within_the_budget_and_lead_to_one_that_works(
    shared_data: Path, tmp_path: Path, command_environment: dict[str, str], threads: str
) -> None:
    """Lists of occurrences were made in memory of which nobody knew."""
    genome = shared_data / "real/genome/drosophila_dm3.chr4.fa.gz"
    command = [SEQMILL, "repeats", genome, "-o", tmp_path / "o", "-q", "-f"]
    command += ["--distance", "1", "-@", threads]
    budget = 38.0
    refused = 0
    while True:
        ended = run_measured([*command, "-m", f"{budget}M"], command_environment)
        assert ended.peak <= budget * MIB, ended.errors
        if ended.code == 0:
            break
        assert ended.code == 78, ended.errors
        advice = re.search(r"at least --memory ([0-9.]+)MiB", ended.errors)
        assert advice, ended.errors
        budget, refused = float(advice[1]), refused + 1
        assert refused <= 2, ended.errors
    assert refused


def letters(rng: random.Random, count: int) -> str:
    return "".join(rng.choices("ACGT", k=count))


@pytest.mark.parametrize("threads", ["1", "2"])
def test_a_tandem_array_of_many_variants_is_within_the_budget(
    tmp_path: Path, command_environment: dict[str, str], threads: str
) -> None:
    """Few seeds with very many occurrences each: what workers held of them nobody had reserved."""
    rng = random.Random(3)  # noqa: S311 - the same genome in every run
    unit = letters(rng, 171)
    aged = (
        "".join(rng.choice("ACGT") if rng.random() < 0.02 else x for x in unit) for _ in range(4000)
    )
    text = letters(rng, 20_000) + "".join(aged) + letters(rng, 20_000)
    (tmp_path / "g.fa").write_text(f">g\n{text}\n")
    seen: set[bytes] = set()
    for budget in (56, 128):
        command = [SEQMILL, "repeats", tmp_path / "g.fa", "-o", tmp_path / "o", "-q", "-f"]
        command += ["--distance", "1", "-@", threads, "-m", f"{budget}M"]
        ended = run_measured(command, command_environment)
        assert ended.code == 0, ended.errors
        assert ended.peak <= budget * MIB
        seen.add((tmp_path / "o.bed").read_bytes())
    assert len(seen) == 1
    assert len(next(iter(seen))) > 0


def test_a_genome_of_one_letter_needs_little(
    tmp_path: Path, command_environment: dict[str, str]
) -> None:
    """All its windows are of one class, which can be no seed."""
    (tmp_path / "g.fa").write_text(f">g\n{'A' * 10_000_000}\n")
    command = [SEQMILL, "repeats", tmp_path / "g.fa", "-o", tmp_path / "o", "-q", "-m", "96M"]
    ended = run_measured(command, command_environment)
    assert (ended.code, ended.peak <= 96 * MIB) == (0, True), ended.errors
