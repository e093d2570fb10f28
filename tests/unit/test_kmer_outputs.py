"""What k-mer jobs refuse, and what they write: regions, options, profiles, columns."""

import gzip
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import seqmill
from seqmill import errors
from seqmill._kmer_profile import write_profile_table
from seqmill.kmers import run_count

if TYPE_CHECKING:
    from conftest import RunCommand

TEXT = ">a x\nACGTACGTNacgtt\nGGG\n>b\nTTTTTTTTTT\n>empty\n>c\nACG-TTA*CGU\n"


@pytest.fixture(autouse=True)
def room_for_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the process of the tests holds counts too: give jobs room beside it."""
    monkeypatch.setenv("SEQMILL_MEMORY", "8G")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "in.fa"
    path.write_text(TEXT)
    return path


def test_regions_are_lists_as_coverage_reads_them(path: Path, tmp_path: Path) -> None:
    regions = tmp_path / "r.txt"
    # What only follows is no overlap: no k-mer across both.
    regions.write_text("# a list\na:1-5\tlabel\na:6-8\r\n")
    found = run_count(path, [], k=3, regions_file=regions)
    assert found.total == 4
    assert seqmill.count_kmers(path, k=3, regions=["a:1-5", "a:5-8"]).total == 6
    for line, reason in (
        ("a:0-5", "position 0 stands before"),
        ("a:7-3", "end is before start"),
        ("nosuch:1-2", 'unknown sequence "nosuch"'),
        ("empty:4", "start is behind the end"),
    ):
        regions.write_text(f"b\n{line}\n")
        with pytest.raises(errors.FormatError, match=f"r.txt: line 2: .*{reason}"):
            run_count(path, [], k=3, regions_file=regions)
        kind = errors.NotFoundError if "nosuch" in line else errors.InputError
        with pytest.raises(kind, match=reason):
            run_count(path, [], k=3, regions=[line])
    regions.write_text("a:7-3000\n")
    with pytest.warns(UserWarning, match="is taken to end at 17"):
        assert run_count(path, [], k=3, regions_file=regions).total == 6
    regions.write_text("# nothing\n")
    with pytest.warns(UserWarning, match="no region: the outputs are empty"):
        assert run_count(path, [], k=3, regions_file=regions).total == 0


def test_an_input_is_no_output(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.fa"
    link.symlink_to(path)
    for output in (path, link):
        with pytest.raises(errors.InputError, match="is an input and the output"):
            seqmill.count_kmers(path, k=3, output=output, force=True)
    table = seqmill.count_kmers(path, k=3, output=tmp_path / "t.skm")
    with pytest.raises(errors.InputError, match="is an input and the output"):
        table.dump(tmp_path / "t.skm", "tsv", force=True)
    assert path.read_text() == TEXT
    table.verify()


def test_options_that_are_none(path: Path) -> None:
    for options in (
        {"soft_mask": "drop"},
        {"min_count": -1},
        {"min_count": 1.5},
        {"max_count": 1 << 64},
        {"min_count": 3, "max_count": 2},
    ):
        with pytest.raises(errors.InputError):
            seqmill.count_kmers(path, k=3, **options)  # type: ignore[arg-type]
    table = seqmill.count_kmers(path, k=3)
    for wrong in ([27], [2.0], [None]):
        with pytest.raises(errors.InputError, match="is no text"):
            table.query(wrong)  # type: ignore[arg-type]
    with pytest.raises(errors.InputError, match="hist_max is 0"):
        table.histogram(0)


def test_histograms_are_compressed_if_their_name_says_so(path: Path, tmp_path: Path) -> None:
    run_count(path, [("hist", str(tmp_path / "x.hist.gz"))], k=3)
    run_count(path, [("hist", str(tmp_path / "x.hist"))], k=3)
    assert (
        gzip.decompress((tmp_path / "x.hist.gz").read_bytes()) == (tmp_path / "x.hist").read_bytes()
    )


def test_a_profile_of_a_file(path: Path) -> None:
    table = seqmill.count_kmers(path, k=3)
    found = dict(table.profile(path))
    assert list(found) == ["a", "b", "c"]
    for record in TEXT.split(">")[1:]:
        name, *lines = record.split("\n")
        if name != "empty":
            assert found[name.split()[0]].tolist() == table.profile("".join(lines)).tolist()


def test_profiles_as_parquet(path: Path, tmp_path: Path) -> None:
    table = seqmill.count_kmers(path, k=3)
    output = tmp_path / "p.parquet"
    write_profile_table(table, path, output, force=False)
    rows = pq.read_table(output).to_pylist()
    assert [(row["record"], row["start"]) for row in rows] == [("a", 0), ("b", 0), ("c", 0)]
    for row, (_, counts) in zip(rows, table.profile(path), strict=True):
        assert row["counts"] == counts.tolist()
    assert pq.read_metadata(output).metadata[b"seqmill.k"] == b"3"
    assert pl.read_parquet(output)["counts"].to_list() == [row["counts"] for row in rows]
    with pytest.raises(errors.OutputExistsError):
        write_profile_table(table, path, output, force=False)
    short = tmp_path / "short.fa"
    short.write_text(">x\nAC\n")
    write_profile_table(table, short, output, force=True)
    assert pq.read_table(output).num_rows == 0
    assert sorted(file.name for file in tmp_path.iterdir()) == ["in.fa", "p.parquet", "short.fa"]


@pytest.mark.parametrize("k", [33, 65, 255])
def test_long_k_mers_have_one_width_in_parquet(tmp_path: Path, k: int) -> None:
    path = tmp_path / "x.fa"
    path.write_text(">a\n" + "ACGGTATTC" * 60 + "\n")
    table = seqmill.count_kmers(path, k=k)
    output = tmp_path / "x.parquet"
    table.dump(output)
    found = pq.read_table(output)
    assert found.schema.field("kmer").type == pa.binary(8 * -(-k // 32))
    assert found == pa.table(table)
    assert pl.read_parquet(output)["kmer"].to_list() == found["kmer"].to_pylist()


def test_one_output_each_has_no_page_and_no_metrics(
    path: Path, tmp_path: Path, run_seqmill: "RunCommand"
) -> None:
    arguments = ["kmers", "count", path, "-k", "3", "--per-input", "-o", tmp_path / "out"]
    for option in ("--html", "--metrics"):
        told = run_seqmill(*arguments, option, tmp_path / "x.json")
        assert told.returncode == 2
        assert f"{option} is of one job" in told.stderr
    assert not (tmp_path / "out").exists()


def test_standard_output_needs_no_folder_to_write_to(path: Path, run_seqmill: "RunCommand") -> None:
    told = run_seqmill("kmers", "count", path, "-k", "9", "-o", "-", cwd=Path("/proc"))
    assert (told.returncode, told.stdout) == (0, "TTTTTTTTT\t2\n"), told.stderr


def test_profiles_take_the_format_of_their_suffix(
    path: Path, tmp_path: Path, run_seqmill: "RunCommand"
) -> None:
    table = seqmill.count_kmers(path, k=9, output=tmp_path / "t.skm")
    command = ["kmers", "profile", table.path, path]
    for name, content in (("x.tsv", "b\t0\t2\nb\t1\t2\n"), ("x.bedgraph", "b\t0\t2\t2\n")):
        assert run_seqmill(*command, "-o", tmp_path / name).returncode == 0
        assert content in (tmp_path / name).read_text()
    assert run_seqmill(*command, "-o", tmp_path / "x.parquet").returncode == 0
    rows = pq.read_table(tmp_path / "x.parquet").to_pylist()
    assert rows[1] == {"record": "b", "start": 0, "counts": [2, 2]}
    told = run_seqmill(*command, "--format", "parquet")
    assert (told.returncode, "Parquet needs a file" in told.stderr) == (2, True)


def test_profiles_of_long_records_do_not_depend_on_the_budget(
    tmp_path: Path, run_seqmill: "RunCommand"
) -> None:
    draw = np.random.default_rng(5)
    bases = np.frombuffer(b"ACGT", np.uint8)[draw.integers(0, 4, 2_300_000)]
    bases[400_000:500_000] = ord("A")
    bases[1_000_000:1_100_000] = ord("N")
    text = bases.tobytes().decode()
    parts = {"long": text, "none": "ACG", "again": text[: 1 << 17], "exact": text[: (1 << 14) + 10]}
    path = tmp_path / "in.fa"
    path.write_text("".join(f">{name} x\n{part}\n" for name, part in parts.items()))
    table = seqmill.count_kmers(path, k=11, output=tmp_path / "t.skm")
    expected = {name: table.profile(part) for name, part in parts.items()}
    for name in ("x.tsv", "x.bedgraph", "x.parquet"):
        made = set()
        # A row of Parquet has a million windows.
        for memory in ("128M", "1G") if name.endswith("parquet") else ("64M", "96M", "1G"):
            command = [
                "kmers",
                "profile",
                table.path,
                path,
                "-o",
                tmp_path / name,
                "-f",
                "-m",
                memory,
            ]
            told = run_seqmill(*command)
            assert told.returncode == 0, told.stderr
            made.add((tmp_path / name).read_bytes())
        assert len(made) == 1
    rows = pq.read_table(tmp_path / "x.parquet").to_pylist()
    places = [("long", 0), ("long", 1 << 20), ("long", 2 << 20), ("again", 0), ("exact", 0)]
    assert [(row["record"], row["start"]) for row in rows] == places
    found: dict[str, list[int | None]] = {name: [] for name in parts}
    for row in rows:
        found[row["record"]] += row["counts"]
    assert found == {name: counts.tolist() for name, counts in expected.items()}
    runs = {name: np.ma.masked_all(len(counts), np.uint64) for name, counts in expected.items()}
    last: tuple[str, int, int] = ("", 0, 0)
    for line in (tmp_path / "x.bedgraph").read_text().splitlines():
        name, begin, end, count = line.split("\t")
        runs[name][int(begin) : int(end)] = int(count)
        assert (name, int(begin), int(count)) != last
        last = (name, int(end), int(count))
    for name, counts in expected.items():
        assert np.array_equal(runs[name].filled(0), counts.filled(0))
        assert np.array_equal(np.ma.getmaskarray(runs[name]), np.ma.getmaskarray(counts))
    lines = (tmp_path / "x.tsv").read_text().splitlines()
    wanted = [
        f"{name}\t{i}\t{'NA' if c is None else c}"
        for name in parts
        for i, c in enumerate(found[name])
    ]
    assert lines == wanted
