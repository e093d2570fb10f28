"""Packing stays within its budget, gives the same bytes for each, and survives a kill."""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from seqmill import Archive, ArchiveWriter
from tests.peaks import SEQMILL, run_measured

MIB = 1 << 20


def run(environment: dict[str, str], *words: object) -> tuple[int, int, str]:
    """Run the command; gives exit code, peak and errors."""
    ended = run_measured([SEQMILL, *words], environment)
    return ended.code, ended.peak, ended.errors


@pytest.fixture(scope="module")
def genomes(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Six genomes of 3 Mb, so that what they need is more than a rounding error."""
    folder = tmp_path_factory.mktemp("genomes")
    rng = random.Random(4)  # noqa: S311 - test data
    blocks = [rng.randbytes(750).translate(bytes(b"ACGT"[i % 4] for i in range(256)))
              for _ in range(4000)]  # fmt: skip
    paths = []
    for number in range(6):
        for _ in range(300):
            at = rng.randrange(len(blocks))
            block = bytearray(blocks[at])
            block[rng.randrange(len(block))] = rng.choice(b"ACGT")
            blocks[at] = bytes(block)
        path = folder / f"g{number}.fa"
        path.write_bytes(b">chr1\n" + b"".join(blocks[:3000]) + b"\n>chr2\n"
                         + b"".join(blocks[3000:]) + b"\n")  # fmt: skip
        paths.append(path)
    return paths


def test_budgets_bound_the_peak_and_do_not_show(
    command_environment: dict[str, str], tmp_path: Path, genomes: list[Path]
) -> None:
    made = set()
    for memory in (64 * MIB, 96 * MIB, 512 * MIB):
        for threads in (1, 2):
            out = tmp_path / "x.agc"
            code, peak, errors = run(
                command_environment, "pack", "-o", out, "-f", "-m", memory, "-@", threads,
                "--segment-size", 5000, "-q", *genomes,
            )  # fmt: skip
            assert code == 0, errors
            assert peak <= memory
            made.add(out.read_bytes())
    assert len(made) == 1


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_yeasts_fit_what_is_promised(
    command_environment: dict[str, str], tmp_path: Path, shared_data: Path, threads: int
) -> None:
    """64 MB and 2.5 bits for each base of the references: segments of all lengths, real ones."""
    folder = shared_data / "real" / "yeast"
    genomes = sorted(folder.glob("*.fa.gz"), key=lambda path: ("S288C" not in path.name, path))
    if not genomes:
        pytest.skip("no yeasts among the shared data")
    out, made = tmp_path / "x.agc", set()
    for more in (0, 10**7, 10**9):
        memory = 64 * 10**6 + 18_000_000 * 5 // 16 + more
        code, peak, errors = run(
            command_environment, "pack", "-o", out, "-f", "-m", memory, "-@", threads, "-q",
            *genomes,
        )  # fmt: skip
        assert code == 0, errors
        assert peak <= memory
        made.add(out.read_bytes())
    assert len(made) == 1


def test_segments_that_resemble_nothing_fit_too(
    command_environment: dict[str, str], tmp_path: Path
) -> None:
    """Long segments between known cuts, coded base by base: tokens must not outweigh the text."""
    rng = random.Random(6)  # noqa: S311 - test data

    def letters(n: int) -> bytes:
        return rng.randbytes(n).translate(bytes(b"ACGT"[i % 4] for i in range(256)))

    # Cuts lie where they may first lie, a segment size apart: only that much is shared.
    size, kept, paths = 300_000, 3000, []
    shared = [letters(2 * kept) for _ in range(12)]
    for number in range(3):
        path = tmp_path / f"g{number}.fa"
        parts = [letters(size - kept)]
        for window in shared:
            parts += [window, letters(size - 2 * kept)]
        path.write_bytes(b">c\n" + b"".join(parts) + b"\n")
        paths.append(path)
    memory, made = 70 * MIB, set()
    for threads in (1, 2):
        out = tmp_path / "x.agc"
        code, peak, errors = run(
            command_environment, "pack", "-o", out, "-f", "-m", memory, "-@", threads,
            "--segment-size", size, "-q", *paths,
        )  # fmt: skip
        assert code == 0, errors
        assert peak <= memory
        made.add(out.read_bytes())
    assert len(made) == 1
    with Archive(out) as archive:
        assert archive.verify().ok


def test_adding_takes_the_same_to_few_and_to_many(
    command_environment: dict[str, str], tmp_path: Path
) -> None:
    rng = random.Random(7)  # noqa: S311 - test data
    text = bytearray(rng.randbytes(15_000).translate(bytes(b"ACGT"[i % 4] for i in range(256))))
    records = []
    for number in range(1001):
        genome = bytearray(text)
        for _ in range(20):
            genome[rng.randrange(len(genome))] = rng.choice(b"ACGT")
        records.append(b">s%d\n" % number + genome + b"\n")
    more = tmp_path / "more.fa"
    more.write_bytes(records[-1])
    peaks = []
    for count in (10, 1000):
        many, out = tmp_path / "many.fa", tmp_path / "x.agc"
        many.write_bytes(b"".join(records[:count]))
        made = run(command_environment, "pack", "-o", out, "-f", "-q", "--samples", "record", many)
        assert made[0] == 0, made[2]
        code, peak, errors = run(
            command_environment, "pack", "--append", out, "-q", "-m", 64 * MIB, "-@", 1, more
        )
        assert code == 0, errors
        peaks.append(peak)
        with Archive(out) as archive:
            assert len(archive) == count + 1
            assert archive["more"].contigs[0].text() == bytes(genome)
    assert max(peaks) <= 64 * MIB
    # The open pack, of at most B entries, is compressed anew.
    assert peaks[1] - peaks[0] < 8 * MIB


def test_unpacking_is_bounded(
    command_environment: dict[str, str], tmp_path: Path, genomes: list[Path]
) -> None:
    path = tmp_path / "x.agc"
    with ArchiveWriter(path, segment_size=5000) as writer:
        for genome in genomes:
            writer.add(genome.stem, genome)
    for memory in (64 * MIB, 256 * MIB):
        out = tmp_path / "all.fa"
        code, peak, errors = run(
            command_environment, "unpack", path, "--all", "-o", out, "-f", "-m", memory, "-q"
        )
        assert code == 0, errors
        assert peak <= memory


def test_hostile_archives_are_cheap(command_environment: dict[str, str], shared_data: Path) -> None:
    for path in sorted((shared_data / "agc" / "invalid").iterdir()):
        began = time.monotonic()
        code, peak, errors = run(command_environment, "unpack", path, "--verify")
        assert code == 65, (path, errors)
        assert peak < 100 * 10**6
        assert time.monotonic() - began < 5


@pytest.mark.slow
def test_a_kill_leaves_the_old_archive_or_the_new_one(
    command_environment: dict[str, str], tmp_path: Path, genomes: list[Path]
) -> None:
    path = tmp_path / "x.agc"
    with ArchiveWriter(path, segment_size=5000) as writer:
        writer.add("g0", genomes[0])
    old = path.read_bytes()
    with ArchiveWriter(path, append=True) as writer:
        for genome in genomes[1:]:
            writer.add(genome.stem, genome)
    new = path.read_bytes()
    rng = random.Random(8)  # noqa: S311 - test data
    seen = set()
    for _ in range(10):
        path.write_bytes(old)
        child = subprocess.Popen(
            [str(SEQMILL), "pack", "--append", str(path), *map(str, genomes[1:]), "-q"],
            env=command_environment,
        )
        time.sleep(rng.uniform(0.05, 1.2))
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        data = path.read_bytes()
        assert data in (old, new)
        seen.add(data == new)
        with Archive(path) as archive:
            assert archive.verify().ok
        code, _, errors = run(
            command_environment, "pack", "--append", path, "-q",
            *(genomes[1:] if data == old else []),
        ) if data == old else (0, 0, "")  # fmt: skip
        assert code == 0, errors
        assert path.read_bytes() == new
