"""`seqmill repeats`: exit codes, outputs, the same bytes after interruptions and in any budget."""

import gzip
import json
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]
HUMAN = "real/genome/human3M.repeatscout.fa.gz"
FORMATS = "library,bed,gff3,softmask,hardmask,freq,stockholm,parquet,arrow"
KILLS = 10
MOST_RUNS = 60


def outputs(folder: Path, prefix: str) -> dict[str, bytes]:
    found = folder.glob(f"{prefix}.*")
    return {path.name.removeprefix(prefix): path.read_bytes() for path in found if path.is_file()}


@pytest.fixture
def genome(example_data: Path, tmp_path: Path) -> Path:
    path = tmp_path / "genome.fa"
    path.write_bytes((example_data / "genome.fa").read_bytes())
    return path


def test_outputs_agree_with_each_other(run_seqmill: Run, genome: Path, tmp_path: Path) -> None:
    told = run_seqmill("repeats", genome, "-o", tmp_path / "a", "--format", FORMATS)
    assert told.returncode == 0, told.stderr
    made = outputs(tmp_path, "a")
    assert len(made) == 11
    bed = [line.split("\t") for line in made[".bed"].decode().splitlines()]
    order = ["chr1", "chr2", "HLA-A*01:01", "chrM"]
    assert bed == sorted(bed, key=lambda row: (order.index(row[0]), int(row[1]), int(row[2])))
    gff = [line.split("\t") for line in made[".gff3"].decode().splitlines() if line[0] != "#"]
    rows = [(g[0], str(int(g[3]) - 1), g[4], g[6]) for g in gff]
    assert [(b[0], b[1], b[2], b[5]) for b in bed] == rows
    original = genome.read_text()
    soft, hard = made[".softmasked.fa"].decode(), made[".hardmasked.fa"].decode()
    assert soft.upper() == original.upper()
    assert [line for line in soft.splitlines() if line[0] == ">"] == [
        line for line in original.splitlines() if line[0] == ">"
    ]
    masked = sum(a == "N" and b != "N" for a, b in zip(hard, original, strict=True))
    union = {(b[0], i) for b in bed for i in range(int(b[1]), int(b[2]))}
    assert masked == len(union) > 0
    stockholm = made[".stk"].decode().split("//\n")
    consensus = made[".families.fa"].decode().split(">")[1].split("\n", 1)[1].replace("\n", "")
    reference = stockholm[0].split("#=GC RF ")[1].strip()
    assert reference.replace(".", "") == consensus
    rows_of_first = [line.split()[1] for line in stockholm[0].splitlines() if line[0] not in "#\n"]
    assert {len(row) for row in rows_of_first} == {len(reference)}


def test_layout_and_case_are_kept(run_seqmill: Run, genome: Path, tmp_path: Path) -> None:
    lines = genome.read_text().splitlines()
    odd = tmp_path / "odd.fa"
    text = "".join(
        f"{line}\r\n" if i % 3 else f"{line.lower() if line[0] != '>' else line}\n"
        for i, line in enumerate(lines)
    )
    odd.write_bytes(text.encode())
    packed = tmp_path / "odd2.fa.gz"
    packed.write_bytes(gzip.compress(text.encode()))
    for i, path in enumerate((genome, odd, packed)):
        told = run_seqmill("repeats", path, "-o", tmp_path / f"m{i}", "--format", "bed,softmask")
        assert told.returncode == 0, told.stderr
    plain, changed, unpacked = (outputs(tmp_path, f"m{i}") for i in range(3))
    assert plain[".bed"] == changed[".bed"] == unpacked[".bed"]
    assert changed[".softmasked.fa"] == unpacked[".softmasked.fa"]
    pairs = zip(text, changed[".softmasked.fa"].decode(), strict=True)
    assert all(b in (a, a.lower()) for a, b in pairs)
    for name, path in (("r", odd), ("s", genome)):
        options = ("-o", tmp_path / name, "--format", "softmask", "--reset-softmask")
        assert run_seqmill("repeats", path, *options).returncode == 0
    anew, also = (outputs(tmp_path, name)[".softmasked.fa"] for name in "rs")
    assert anew.replace(b"\r\n", b"\n") == also


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (b"", 65, "holds no sequence"),
        (b"ACGT\n", 65, "line 1"),
        (b"@r\nACGT\n+\nIIII\n", 65, "FASTQ"),
        (b">a\nACGT\nAC-GT\n", 65, "line 3: '-' is no letter"),
        (b">a\nACGT\n\n>b x\nAC GT5\n", 65, "column 6"),
        (b">a\nACU\n", 65, "'U'"),
        (b"\x1f\x8b\x08\x00garbage", 65, ""),
        (b">a\n", 0, "no k-mer"),
        (b">a\nNNNNNNNNNNNNNNNN\n>b\nACG\n>c\n", 0, "no k-mer"),
        (b">only\r\nACGTACGTRYKMXacgtn\r\n", 0, "no k-mer"),
    ],
)
def test_bad_input(run_seqmill: Run, tmp_path: Path, content: bytes, code: int, words: str) -> None:
    path = tmp_path / "x.fa"
    path.write_bytes(content)
    told = run_seqmill("repeats", path, "-o", tmp_path / "out", "--progress", "none")
    assert (told.returncode, words in told.stderr) == (code, True), told.stderr
    left = {name.name for name in tmp_path.iterdir()} - {"x.fa"}
    assert left == (set() if code else {"out.bed", "out.families.fa"})


def test_wrong_use(run_seqmill: Run, genome: Path, tmp_path: Path) -> None:
    for options in (
        ["--match", "0"],
        ["--gap-open", "1"],
        ["--format", "sam"],
        ["--format", ","],
        ["--seed-length", "33"],
        ["--max-gap", "-1"],
        [],
    ):
        output = [] if not options else ["-o", tmp_path / "o"]
        told = run_seqmill("repeats", genome, *output, *options)
        assert told.returncode == 2, (options, told.stderr)
    assert run_seqmill("repeats", genome, "-o", tmp_path / "o").returncode == 0
    again = run_seqmill("repeats", genome, "-o", tmp_path / "o")
    assert again.returncode == 2
    assert "--force" in again.stderr
    assert run_seqmill("repeats", tmp_path / "no.fa", "-o", tmp_path / "p").returncode == 74


def test_least_budget_is_named_and_works(
    run_seqmill: Run, shared_data: Path, tmp_path: Path
) -> None:
    source = shared_data / "repeats/sim/genome.fa.gz"
    options = ("--distance", "1", "--format", "library,bed,freq", "--progress", "none")
    small = run_seqmill("repeats", source, "-o", tmp_path / "small", "-m", "24M", *options)
    assert small.returncode == 78, small.stderr
    assert not outputs(tmp_path, "small")
    for name, budget in (("a", "64M"), ("b", "2G")):
        told = run_seqmill("repeats", source, "-o", tmp_path / name, "-m", budget, *options)
        assert told.returncode == 0, told.stderr
    assert outputs(tmp_path, "a") == outputs(tmp_path, "b")


def test_killed_runs_end_with_the_same_bytes(
    command_environment: dict[str, str], run_seqmill: Run, shared_data: Path, tmp_path: Path
) -> None:
    source, metrics = shared_data / HUMAN, tmp_path / "m.json"
    options = ["--format", "library,bed,softmask,freq", "-q", "--metrics", str(metrics)]
    begun = time.monotonic()
    assert run_seqmill("repeats", source, "-o", tmp_path / "whole", *options).returncode == 0
    whole = time.monotonic() - begun
    draw = random.Random(7)  # noqa: S311 - the same moments in every run
    command = ["seqmill", "repeats", str(source), "-o", str(tmp_path / "cut"), *options]
    ranking = tmp_path / "cut.seqmill" / "ranking.bin"
    killed = resumed = 0
    for i in range(MOST_RUNS):
        process = subprocess.Popen([*command, "--resume"], env=command_environment)
        until = time.monotonic() + whole * draw.uniform(0.2, 1.0)
        # Every other one as soon as there is something to go on from.
        while time.monotonic() < until or (i % 2 and not ranking.exists()):
            if process.poll() is not None:
                break
            time.sleep(0.002)
        process.kill()
        ended = process.wait(timeout=60) == 0
        killed += not ended
        if ended:
            # It was faster than the kill: what it wrote counts, and the next one begins anew.
            resumed += '"resumed_from": "' in metrics.read_text()
            assert outputs(tmp_path, "cut") == outputs(tmp_path, "whole")
        if killed >= KILLS:
            break
    assert killed >= KILLS
    done = run_seqmill(*command[1:], "--resume")
    assert done.returncode == 0, done.stderr
    resumed += '"resumed_from": "' in metrics.read_text()
    assert resumed > 0
    assert outputs(tmp_path, "cut") == outputs(tmp_path, "whole")
    assert not (tmp_path / "cut.seqmill").exists()


def test_interrupt_leaves_what_resume_takes(
    command_environment: dict[str, str], run_seqmill: Run, shared_data: Path, tmp_path: Path
) -> None:
    source = shared_data / "real/yeast/S288C.fa.gz"
    command = ["seqmill", "repeats", str(source), "-o", str(tmp_path / "y"), "-@", "1", "-q"]
    process = subprocess.Popen(command, env=command_environment, stderr=subprocess.PIPE, text=True)
    ranking = tmp_path / "y.seqmill" / "ranking.bin"
    until = time.monotonic() + 60
    while not ranking.exists() and time.monotonic() < until and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    if process.returncode == 0:
        pytest.skip("the run was done before it could be interrupted")
    assert process.returncode == 130
    assert "--resume" in errors
    assert not list(tmp_path.glob("y.*.fa"))
    metrics = tmp_path / "m.json"
    done = run_seqmill(*command[1:], "--resume", "--metrics", metrics)
    assert done.returncode == 0, done.stderr
    assert '"resumed_from": "' in metrics.read_text()
    assert run_seqmill(*command[1:4], tmp_path / "z", "-q").returncode == 0
    assert outputs(tmp_path, "y") == outputs(tmp_path, "z")


def test_state_of_another_job_is_refused(
    run_seqmill: Run, shared_data: Path, tmp_path: Path
) -> None:
    source, state = shared_data / "real/yeast/S288C.fa.gz", tmp_path / "o.seqmill"
    small = run_seqmill("repeats", source, "-o", tmp_path / "o", "-@", "1", "-m", "40M")
    assert small.returncode == 78
    assert "--resume" in small.stderr
    assert run_seqmill("repeats", source, "-o", tmp_path / "o").returncode == 2
    other = run_seqmill("repeats", source, "-o", tmp_path / "o", "--resume", "--distance", "1")
    assert other.returncode == 2
    assert "distance" in other.stderr
    assert state.is_dir()
    assert run_seqmill("repeats", source, "-o", tmp_path / "o", "--force").returncode == 0
    assert not state.exists()


def best_local(query: str, target: str) -> int:
    """The best score of a local alignment (match 1, mismatch and gap -1): word by word."""
    row, best = [0] * (len(target) + 1), 0
    for letter in query:
        new = [0]
        for i, other in enumerate(target):
            score = row[i] + (1 if letter == other else -1)
            new.append(max(0, score, row[i + 1] - 1, new[i] - 1))
        row, best = new, max(best, *new)
    return best


def test_clustered_library(run_seqmill: Run, tmp_path: Path) -> None:
    # A long family, and a part of it that occurs alone much more often, with changes of its own.
    rng = random.Random(11)  # noqa: S311 - not for secrets

    def letters(count: int) -> str:
        return "".join(rng.choices("ACGT", k=count))

    def aged(text: str, rate: float) -> str:
        return "".join(rng.choice("ACGT") if rng.random() < rate else one for one in text)

    whole, other = letters(900), letters(300)
    part = aged(whole[200:500], 0.12)
    units = [aged(whole, 0.01) for _ in range(5)] + [aged(other, 0.02) for _ in range(6)]
    units += [aged(part, 0.01) for _ in range(12)]
    rng.shuffle(units)
    text = "".join(letters(700) + one for one in units) + letters(700)
    (tmp_path / "g.fa").write_text(f">g\n{text}\n")
    metrics = tmp_path / "m.json"

    def library(prefix: str, *more: object) -> tuple[dict[str, str], dict[str, bytes], list[dict]]:
        run = ("repeats", tmp_path / "g.fa", "-o", tmp_path / prefix, "--metrics", metrics, "-f")
        told = run_seqmill(*run, "--format", "library,bed,stockholm,gff3", *more)
        assert told.returncode == 0, told.stderr
        made = outputs(tmp_path, prefix)
        entries = made[".families.fa"].decode().split(">")[1:]
        sequences = {e.split()[0]: "".join(e.split("\n")[1:]) for e in entries}
        return sequences, made, json.loads(metrics.read_text())["detail"]["dropped"]

    all_of_them, plain, none = library("a")
    kept, made, dropped = library("b", "--cluster", "0.8", "-@", "1")
    assert none == []
    assert dropped
    assert kept == {
        n: s for n, s in all_of_them.items() if n not in {f"fam{d['family']}" for d in dropped}
    }
    assert [made[end] for end in (".bed", ".gff3")] == [plain[end] for end in (".bed", ".gff3")]
    assert made[".stk"].count(b"#=GF ID") == len(kept)
    assert library("b", "--cluster", "0.8", "-@", "3", "-m", "64M")[1:] == (made, dropped)
    twin = str.maketrans("ACGT", "TGCA")
    for one in dropped:
        query, target = (all_of_them[f"fam{one[key]}"] for key in ("family", "by"))
        assert len(query) <= len(target)
        score = max(best_local(query, t) for t in (target, target[::-1].translate(twin)))
        # At 80 % of the length and 80 % identity the rest costs no more than it gives.
        assert score >= 0.8 * len(query) * (2 * one["identity"] - 1) * 0.9
    strict = library("c", "--cluster", "0.99")[2]
    assert len(strict) < len(dropped)
    assert all(one["identity"] >= 0.99 for one in strict)
    refused = run_seqmill("repeats", tmp_path / "g.fa", "-o", tmp_path / "d", "--cluster", "0.3")
    assert refused.returncode == 2
    both = ("--cluster", "0.9", "--compat", "reprise")
    assert run_seqmill("repeats", tmp_path / "g.fa", "-o", tmp_path / "d", *both).returncode == 2


def test_page(run_seqmill: Run, genome: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    told = run_seqmill("repeats", genome, "-o", tmp_path / "o", "--annotate", "--html", page)
    assert told.returncode == 0, told.stderr
    text = page.read_text()
    assert len(text) < 300 * 1024
    for word in (
        "Repeat landscape",
        "Longest families",
        "chr1: percent covered by elements",
        "fam0",
    ):
        assert word in text
