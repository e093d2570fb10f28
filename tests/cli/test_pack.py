"""`seqmill pack`, `unpack` and `agc` as they are installed."""

import gzip
import json
import subprocess
from pathlib import Path

from tests.conftest import RunCommand


def texts(fasta: str) -> dict[str, str]:
    found = {}
    for record in fasta.split(">")[1:]:
        head, _, body = record.partition("\n")
        found[head] = body.replace("\n", "")
    return found


def test_genomes_make_the_round_trip(
    run_seqmill: RunCommand, example_data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "x.agc"
    files = [example_data / name for name in ("sample1.fa", "sample2.fa", "sample3.fa.gz")]
    done = run_seqmill("pack", "-o", out, *files, "--metrics", tmp_path / "m.json")
    assert done.returncode == 0, done.stderr
    assert "3 samples" in done.stderr
    metrics = json.loads((tmp_path / "m.json").read_text())
    assert metrics["detail"]["samples"] == 3
    assert {stage["name"] for stage in metrics["stages"]} >= {"segment", "code", "compress"}
    assert run_seqmill("unpack", out, "--list").stdout.split() == ["sample1", "sample2", "sample3"]
    assert run_seqmill("unpack", out, "--list", "reference").stdout == "sample1\n"
    listed = run_seqmill("unpack", out, "--list", "contigs").stdout.splitlines()
    assert listed[0].split("\t")[:2] == ["sample1", "chr2"]
    whole = texts((example_data / "sample2.fa").read_text().upper())
    got = run_seqmill("unpack", out, "--sample", "sample2")
    assert {k.upper(): v for k, v in texts(got.stdout).items()} == whole
    again = run_seqmill("pack", "-o", out, *files)
    assert again.returncode == 2
    assert "--force" in again.stderr
    region = run_seqmill("unpack", out, "-r", "chr2@sample2:11-20").stdout
    assert region == f">chr2@sample2:11-20\n{whole['CHR2'][10:20]}\n"
    assert run_seqmill("unpack", out, "--verify").returncode == 0
    assert "k-mer length" in run_seqmill("unpack", out, "--info").stdout


def test_the_page_shows_where_the_bytes_went(
    run_seqmill: RunCommand, example_data: Path, tmp_path: Path
) -> None:
    files = [example_data / name for name in ("sample1.fa", "sample2.fa", "sample3.fa.gz")]
    page = tmp_path / "page.html"
    done = run_seqmill("pack", "-o", tmp_path / "x.agc", *files, "--html", page)
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    for words in ("Size by sample", "Novelty of each added genome", "Bytes of the archive"):
        assert words in text
    assert len(text) < 300 * 1024
    again = run_seqmill("pack", "-o", tmp_path / "y.agc", *files, "--html", page)
    assert again.returncode == 2
    assert not (tmp_path / "y.agc").exists()


def test_bgzf_has_its_indices(run_seqmill: RunCommand, example_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "all.fa.gz"
    archive = example_data / "genomes.agc"
    assert run_seqmill("unpack", archive, "--sample", "sample1", "-o", out).returncode == 0
    plain = tmp_path / "all.fa"
    assert run_seqmill("unpack", archive, "-s", "sample1", "-o", plain).returncode == 0
    assert gzip.decompress(out.read_bytes()) == plain.read_bytes()
    index = (tmp_path / "all.fa.gz.fai").read_text().splitlines()
    name, length, offset, bases, width = index[1].split("\t")
    text = plain.read_bytes()
    assert text[: int(offset)].endswith(f">{name}\n".encode())
    assert int(width) == int(bases) + 1
    fetched = run_seqmill("fetch", out, f"{name}:1-30").stdout.split("\n")[1]
    assert fetched == text[int(offset) : int(offset) + 30].decode()
    assert int(length) > 30


def test_errors_have_their_codes(
    run_seqmill: RunCommand, example_data: Path, tmp_path: Path
) -> None:
    archive = example_data / "genomes.agc"
    bad = tmp_path / "bad.fa"
    bad.write_text(">a\nAC*GT\n")
    for code, arguments in [
        (2, ("unpack", archive)),
        (2, ("unpack", archive, "--all", "--list")),
        (2, ("unpack", archive, "--sample", "nobody")),
        (2, ("unpack", archive, "-r", "chr2@sample1:1-999999")),
        (65, ("unpack", example_data / "genome.fa", "--all")),
        (74, ("unpack", tmp_path / "none.agc", "--all")),
        (74, ("pack", "-o", tmp_path / "x.agc", tmp_path / "none.fa")),
        (65, ("pack", "-o", tmp_path / "x.agc", bad)),
        (2, ("pack", "-o", tmp_path / "x.agc", "--append", archive, bad)),
        (78, ("pack", "-o", tmp_path / "x.agc", "-m", "1M", example_data / "sample1.fa")),
    ]:
        done = run_seqmill(*arguments)
        assert done.returncode == code, (arguments, done.stderr)
        assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["bad.fa"]


def test_pipes(
    run_seqmill: RunCommand,
    example_data: Path,
    tmp_path: Path,
    command_environment: dict[str, str],
) -> None:
    line = (
        f"cat {example_data}/haplotypes.fa | seqmill pack -q --samples pansn -o x.agc - "
        "&& seqmill unpack x.agc --list && seqmill unpack x.agc --all | head -1"
    )
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=tmp_path,
        env=command_environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == ["one#1", "two#1", "three#1", ">one#1#chr2"]
    assert run_seqmill("unpack", tmp_path / "x.agc", "--verify").returncode == 0


def test_the_reference_programs_commands(
    run_seqmill: RunCommand, example_data: Path, tmp_path: Path
) -> None:
    out, more = tmp_path / "x.agc", tmp_path / "y.agc"
    one, two = example_data / "sample1.fa", example_data / "sample2.fa"
    made = run_seqmill("agc", "create", "-k", "21", "-s", "1000", "-t", "2", "-o", out, one)
    assert made.returncode == 0, made.stderr
    assert run_seqmill("agc", "append", "-o", more, out, two).returncode == 0
    assert run_seqmill("agc", "listset", out).stdout == "sample1\n"
    assert run_seqmill("agc", "listset", more).stdout == "sample1\nsample2\n"
    assert run_seqmill("agc", "listref", more).stdout == "sample1"
    assert run_seqmill("agc", "listctg", more, "sample2").stdout.splitlines()[:2] == [
        "sample2",
        "   chr2",
    ]
    whole = texts(two.read_text().upper())["CHR2"]
    found = run_seqmill("agc", "getctg", more, "chr2@sample2:3-7").stdout
    assert found == f">chr2:3-7\n{whole[3:8]}\n"
    assert "k-mer length     : 21" in run_seqmill("agc", "info", more).stdout
    folder = tmp_path / "all"
    assert run_seqmill("agc", "getcol", "-o", folder, more).returncode == 0
    assert sorted(path.name for path in folder.iterdir()) == ["sample1.fa", "sample2.fa"]
    assert run_seqmill("agc", "getset", more, "nobody").returncode == 2
    assert run_seqmill("agc", "fly", more).returncode == 2
