"""`measure_coverage`, `merge_coverage` and `CoverageTable`."""

import json
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pysam
import pytest

import seqmill
from seqmill.coverage import CoverageTable, measure_coverage, merge_coverage
from seqmill.errors import (
    BudgetError,
    FormatError,
    InputError,
    NotAlignmentsError,
    NotFoundError,
    OutputExistsError,
)

if TYPE_CHECKING:
    import subprocess

FASTA = ">a first\nACGTNNac\ngtRR\n>b\n>c:1-3\nGGCC\n"


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    path = tmp_path / "x.fa"
    path.write_text(FASTA)
    return path


def sam(*lines: str) -> str:
    header = "@HD\tVN:1.6\tSO:coordinate\n@SQ\tSN:s\tLN:20\n@SQ\tSN:t\tLN:5\n"
    return header + "".join(f"{line}\n" for line in lines)


def record(name: str, flag: int, pos: int, cigar: str, *, reference: str = "s") -> str:
    n = sum(int(part[:-1]) for part in cigar.replace("M", "M ").split() if part.endswith("M"))
    return f"{name}\t{flag}\t{reference}\t{pos}\t60\t{cigar}\t*\t0\t0\t{'A' * n}\t{'I' * n}"


def test_whole_sequences_are_measured_without_a_list(fasta: Path) -> None:
    table = measure_coverage(fasta, k=3)
    rows = list(table)
    assert [row["region"] for row in rows] == ["a:1-12", "b:1-0", "c:1-3:1-4"]
    first = rows[0]
    assert (first["acgt"], first["n"], first["other"], first["lower"]) == (8, 2, 2, 4)
    assert (first["kmers"], first["distinct_kmers"]) == (4, 2)
    assert rows[1]["gc_fraction"] is None
    assert len(table) == 3


def test_k_mers_that_begin_in_a_bin_add_up(fasta: Path) -> None:
    table = measure_coverage(fasta, ["a:1-12", "{c:1-3}"], k=2, bins=4)
    lines = (table.path / "merged_coverage.txt").read_text().splitlines()
    assert lines[:4] == ["a:1-3 3", "a:4-6 0", "a:7-9 3", "a:10-12 0"]
    assert sum(int(line.split()[1]) for line in lines) == sum(row["kmers"] for row in table)


def test_soft_masked_bases_break_k_mers_if_asked(fasta: Path) -> None:
    kept, skipped = (
        measure_coverage(fasta, "a", k=2, soft_mask=mask)["a:1-12"] for mask in ("keep", "skip")
    )
    assert (kept["kmers"], skipped["kmers"]) == (6, 3)
    assert kept["lower"] == skipped["lower"]


def test_mates_count_once(tmp_path: Path) -> None:
    path = tmp_path / "x.sam"
    path.write_text(
        sam(record("r", 65, 1, "10M"), record("r", 129, 6, "10M"), record("q", 0, 8, "2M"))
    )
    depth = {}
    for mates in ("both", "once", "proper"):
        runs = tmp_path / f"{mates}.bed"
        measure_coverage(path, per_base=runs, mates=mates)
        depth[mates] = runs.read_text().splitlines()
    assert depth["both"][:3] == ["s\t0\t5\t1", "s\t5\t7\t2", "s\t7\t9\t3"]
    assert depth["once"] == [
        "s\t0\t7\t1",
        "s\t7\t9\t2",
        "s\t9\t15\t1",
        "s\t15\t20\t0",
        "t\t0\t5\t0",
    ]
    assert depth["proper"] == depth["both"]


def test_windows_cover_every_sequence(tmp_path: Path) -> None:
    path = tmp_path / "x.sam"
    path.write_text(sam(record("r", 0, 3, "6M")))
    table = measure_coverage(path, windows=8, value="sum")
    rows = list(table)
    assert [row["region"] for row in rows] == ["s:1-8", "s:9-16", "s:17-20", "t:1-5"]
    assert [row["bases"] for row in rows] == [6, 0, 0, 0]
    assert not (table.path / "coverage").exists()
    assert (table.path / "merged_coverage.txt").read_text().splitlines()[0] == "s:1-8 6"


def test_names_of_region_files_differ(tmp_path: Path) -> None:
    path = tmp_path / "x.fa"
    path.write_text(">a|b\nACGT\n>a:b\nACGT\n")
    table = measure_coverage(path, ["a|b", "a:b", "a|b:2-3", "a|b"], k=2)
    names = sorted(file.name for file in (table.path / "coverage").iterdir())
    stem = "coverage_a_b_1-4"
    assert names == [f"{stem}.2.txt", f"{stem}.3.txt", f"{stem}.txt", "coverage_a_b_2-3.txt"]
    assert (table.path / f"coverage/{stem}.2.txt").read_text() == "a:b:1-4 3\n"


def test_the_summary_is_of_the_values(fasta: Path) -> None:
    summary = measure_coverage(fasta, ["a", "c:1-3", "c:1-3"], k=2).summary
    assert list(summary) == [
        "total_regions",
        "min_coverage",
        "max_coverage",
        "mean_coverage",
        "median_coverage",
        "details",
    ]
    assert (summary["total_regions"], summary["mean_coverage"]) == (3, 4)
    assert isinstance(summary["mean_coverage"], int)
    assert summary["median_coverage"] == 3.0
    assert summary["details"]["regions"] == 2


@pytest.mark.filterwarnings("ignore:no region")
def test_an_empty_list_gives_empty_outputs(fasta: Path, tmp_path: Path) -> None:
    listed = tmp_path / "none.txt"
    listed.write_text("# nothing\n\n")
    table = measure_coverage(fasta, listed)
    assert len(table) == 0
    summary = table.summary
    assert [summary[key] for key in list(summary)[:5]] == [0, 0, 0, 0, 0.0]


def test_an_end_behind_the_sequence_is_taken_back(fasta: Path) -> None:
    with pytest.warns(UserWarning, match="ends behind"):
        table = measure_coverage(fasta, ["a:11-99"])
    assert next(iter(table))["region"] == "a:11-12"


def test_the_table_speaks_arrow_and_pickles(fasta: Path, tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = measure_coverage(fasta, output=tmp_path / "out", parquet=True)
    arrow = pa.table(table)
    assert arrow.to_pylist() == list(table)
    assert parquet.read_table(table.path / "coverage.parquet").to_pylist() == list(table)
    assert list(pickle.loads(pickle.dumps(table))) == list(table)  # noqa: S301 - just made
    assert list(CoverageTable(tmp_path / "out")) == list(table)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"k": 0}, "k takes"),
        ({"k": 256}, "k takes"),
        ({"bins": 0}, "bins takes"),
        ({"windows": 0}, "windows takes"),
        ({"mates": "twice"}, "mates takes"),
        ({"windows": 5, "regions": ["a"]}, "cannot be asked for together"),
        ({"nosuch": 1}, "no option"),
        ({"per_base": "x.bed"}, "no depth"),
    ],
)
def test_wrong_options_say_so(fasta: Path, keywords: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        measure_coverage(fasta, **keywords)


def test_a_sequence_that_is_not_there_is_not_found(fasta: Path) -> None:
    with pytest.raises(NotFoundError, match='unknown sequence "nosuch"; closest: a, b, c:1-3'):
        measure_coverage(fasta, ["nosuch"])


def test_unsorted_input_names_the_record(tmp_path: Path) -> None:
    path = tmp_path / "x.sam"
    path.write_text(sam(record("a", 0, 5, "3M"), record("b", 0, 4, "3M")))
    output = tmp_path / "out"
    with pytest.raises(FormatError, match="not sorted") as caught:
        measure_coverage(path, output=output)
    assert caught.value.record == 1
    assert not output.exists()
    assert not Path(f"{output}.seqmill").exists()


def test_what_is_neither_sequence_nor_alignments_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.fq"
    path.write_text("@r\nACGT\n+\nIIII\n")
    with pytest.raises(NotAlignmentsError):
        measure_coverage(path)


def test_outputs_are_not_replaced_unasked(fasta: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    measure_coverage(fasta, ["a"], output=output)
    with pytest.raises(OutputExistsError):
        measure_coverage(fasta, ["c:1-3"], output=output)
    measure_coverage(fasta, ["c:1-3"], output=output, force=True)
    assert [file.name for file in (output / "coverage").iterdir()] == ["coverage_c_1-3_1-4.txt"]
    assert not Path(f"{output}.seqmill").exists()


def test_a_budget_that_is_too_small_says_what_is_needed(fasta: Path) -> None:
    with pytest.raises(BudgetError):
        measure_coverage(fasta, memory="1M")


def test_merge_checks_that_parts_belong_together(fasta: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    measure_coverage(fasta, ["a"], output=one, k=3)
    measure_coverage(fasta, ["c:1-3"], output=two, k=3)
    assert len(merge_coverage([one, two])) == 2
    with pytest.raises(FormatError, match="in none of the parts"):
        merge_coverage([one], regions=["a", "c:1-3"])
    with pytest.raises(FormatError, match="2 times, not 1"):
        merge_coverage([one, two, two], regions=["a", "c:1-3"])
    other = tmp_path / "other"
    measure_coverage(fasta, ["c:1-3"], output=other, k=4)
    with pytest.raises(FormatError, match="k is 4"):
        merge_coverage([one, other])
    (two / "merged_coverage.txt").write_text("")
    with pytest.raises(FormatError, match="are not there"):
        merge_coverage([one, two])


def test_results_do_not_depend_on_threads_and_budget(tmp_path: Path) -> None:
    from seqmill import simulate  # noqa: PLC0415

    folder = Path(simulate.write_example_data(tmp_path))
    outputs = []
    for threads, memory in ((1, "1G"), (3, "2G")):
        runs = tmp_path / f"{threads}.bed.gz"
        table = measure_coverage(
            folder / "small.bam",
            output=tmp_path / f"out{threads}",
            windows=777,
            bins=3,
            mates="once",
            min_baseq=20,
            per_base=runs,
            parquet=True,
            threads=threads,
            memory=memory,
        )
        files = sorted(path for path in table.path.rglob("*") if path.is_file())
        outputs.append([runs.read_bytes(), *(file.read_bytes() for file in files)])
    assert outputs[0] == outputs[1]


def test_metrics_follow_the_schema(fasta: Path, tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    from seqmill.report import load_schema  # noqa: PLC0415

    path = tmp_path / "m.json"
    measure_coverage(fasta, metrics=path)
    jsonschema.validate(json.loads(path.read_text()), load_schema())


def test_the_page_shows_the_regions(run_seqmill, tmp_path: Path, example_data: Path) -> None:
    page = tmp_path / "page.html"
    done: subprocess.CompletedProcess[str] = run_seqmill(
        "coverage",
        example_data / "small.bam",
        "--windows",
        "5000",
        "-o",
        tmp_path / "out",
        "--html",
        page,
    )
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    assert "Along the sequences" in text
    assert "Table of regions" in text
    assert len(text) < 300 * 1024


def test_counts_of_a_table(tmp_path: Path) -> None:
    import statistics  # noqa: PLC0415

    from seqmill.kmers import count_kmers  # noqa: PLC0415

    text = "ACGTACGGTNACGTACGGTTTACGTAAACGTACGTacgtacgg" * 30
    path, other = tmp_path / "x.fa", tmp_path / "other.fa"
    path.write_text(f">s\n{text}\n>t\nAC\n")
    other.write_text(f">o\n{text[:200]}\n")
    for k, canonical in ((5, False), (31, True)):
        table = count_kmers(
            [path, other], k=k, canonical=canonical, output=tmp_path / f"{k}.skm", force=True
        )
        regions = ["s:1-60", "s:40-1,000", "t", "s"]
        found = measure_coverage(path, regions, kmer_db=tmp_path / f"{k}.skm")
        for row, piece in zip(found, (text[:60], text[39:1000], "AC", text), strict=True):
            counts = [count for count in table.profile(piece).tolist() if count is not None]
            assert row["kmers"] == len(counts)
            expected = statistics.mean(counts) if counts else None
            assert row["mean_count"] == (None if expected is None else pytest.approx(expected))
            assert row["median_count"] == (statistics.median(counts) if counts else None)
            assert row["min_count"] == min(counts, default=None)
            assert row["max_count"] == max(counts, default=None)
    with pytest.raises(InputError, match="the table holds 31-mers"):
        measure_coverage(path, kmer_db=tmp_path / "31.skm", k=21)


def test_a_file_without_records_has_its_end_marker(tmp_path: Path) -> None:
    path = tmp_path / "none.bam"
    header = {"HD": {"VN": "1.6", "SO": "coordinate"}, "SQ": [{"SN": "s", "LN": 20}]}
    with pysam.AlignmentFile(str(path), "wb", header=header):
        pass
    assert next(iter(measure_coverage(path, strict=True)))["bases"] == 0
    path.write_bytes(path.read_bytes()[:-28])
    with pytest.warns(UserWarning, match="missing_eof"):
        measure_coverage(path)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"mates": "once"}, "mates"),
        ({"min_mapq": 1}, "min_mapq"),
        ({"min_baseq": 1}, "min_baseq"),
        ({"count_deletions": True}, "count_deletions"),
        ({"exclude_flags": 0}, "exclude_flags"),
        ({"require_flags": 1}, "require_flags"),
        ({"bins": 2}, "bins"),
    ],
)
def test_parts_made_with_other_options_do_not_merge(
    tmp_path: Path, options: dict[str, Any], name: str
) -> None:
    path = tmp_path / "x.sam"
    path.write_text(sam(record("a", 0, 1, "5M")))
    measure_coverage(path, ["s"], output=tmp_path / "s")
    measure_coverage(path, ["t"], output=tmp_path / "t", **options)
    with pytest.raises(FormatError, match=f"options is .*{name}.* it is None"):
        merge_coverage([tmp_path / "s", tmp_path / "t"], output=tmp_path / "both")
    measure_coverage(path, ["s"], output=tmp_path / "s", force=True, **options)
    merge_coverage([tmp_path / "s", tmp_path / "t"], output=tmp_path / "both")
    whole = measure_coverage(path, ["s", "t"], output=tmp_path / "whole", **options)
    for file in ("coverage.tsv", "merged_coverage.txt", "coverage_summary.json"):
        assert (tmp_path / "both" / file).read_bytes() == (whole.path / file).read_bytes()


def test_regions_without_a_k_mer_have_no_counts(fasta: Path, tmp_path: Path) -> None:
    table = seqmill.count_kmers(fasta, k=3, output=tmp_path / "t.skm")
    found = measure_coverage(fasta, ["a:5-6"], kmer_db=table.path, parquet=True)
    names = ("mean_count", "median_count", "min_count", "max_count")
    assert [next(iter(found))[name] for name in names] == [None] * 4
    assert pl.DataFrame(found).select(names).row(0) == (None,) * 4


def test_runs_do_not_replace_the_input(tmp_path: Path) -> None:
    path = tmp_path / "x.sam"
    path.write_text(sam(record("a", 0, 1, "5M")))
    with pytest.raises(InputError, match="is an input and the output"):
        measure_coverage(path, per_base=path, force=True)


def test_sequences_may_be_called_track(tmp_path: Path) -> None:
    path = tmp_path / "x.fa"
    path.write_text(">track\nACGT\n")
    regions = tmp_path / "r.bed"
    regions.write_text("track name=x\ntrack\t1\t3\n")
    assert [row["region"] for row in measure_coverage(path, regions, k=1)] == ["track:2-3"]
