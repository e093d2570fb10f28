"""The pipeline on real Nextflow: against independent counters, resumed, retried, failing."""

import gzip
import json
import os
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from seqmill._workflow import PIPELINE
from tests.nextflow_setup import VERSIONS, Nextflow, make_nextflow

pytestmark = [pytest.mark.nextflow]

MakeNextflow = Callable[..., Nextflow]
PROCESSES = {
    "CHECK", "INDEX", "PLAN", "COUNT", "MERGE", "COVERAGE", "MERGE_COVERAGE", "VERSIONS",
}  # fmt: skip
RESULTS = ("global_index.json", "merged_coverage.txt", "coverage_summary.json", "coverage.tsv")
# The second record is shorter than k; a blank line and CR LF; runs of N; lower case.
GENOME = (
    ">chr1 first\r\n"
    "TGctCAtaTTttgGTGgACGAaA\r\natgggtGcCAGtTagagNNNNNN\r\nNGcCTaaCCttCcCgGAaggCAA\r\n\r\n"
    "gcaTAaACCATgaaGAcccGgnn\r\nnCagTagaacAgcAgGActccat\r\nAAAcatacGcGccaagCAGaTaT\r\n"
    "cGgCCccTtGCc\r\n>chr2\r\nACG\r\n\r\n"
)
REGIONS = "# a list\nchr1:20-60\n\nchr2\nchr1:1-1,00\tfirst hundred\nchr1:20-60\nchr1:140-900\n"
BOUNDS = (("chr1", 20, 60), ("chr2", 1, 3), ("chr1", 1, 100), ("chr1", 20, 60), ("chr1", 140, 150))
ENOUGH = ("--threads", "1")


@pytest.fixture
def nextflow(tmp_path: Path, command_environment: dict[str, str]) -> MakeNextflow:
    """Make a version of Nextflow ready in the test's folder, which has the small genome."""

    def make(version: str = VERSIONS[0]) -> Nextflow:
        (tmp_path / "genome.fa").write_bytes(GENOME.encode())
        (tmp_path / "regions.txt").write_text(REGIONS.replace("1-1,00", "1-100"), encoding="utf-8")
        return make_nextflow(version, tmp_path, command_environment)

    return make


def small(*, k: int = 5, chunk_size: int = 20, batch_bases: int = 60) -> tuple[str, ...]:
    """Give the arguments of a run on the small genome."""
    return (
        "genome.fa", "-R", "regions.txt", "-k", str(k), "--", "-c", "spare.config",
        "--chunk_size", str(chunk_size), "--batch_bases", str(batch_bases),
    )  # fmt: skip


def each(status: str) -> dict[str, set[str]]:
    """Give this status to the tasks of every process."""
    return {name: {status} for name in PROCESSES}


def read_genome(text: str) -> dict[str, str]:
    """Read FASTA in the plainest way."""
    records: dict[str, str] = {}
    name = ""
    for line in text.split("\n"):
        if line.startswith(">"):
            name = line[1:].split()[0]
            records[name] = ""
        else:
            records[name] += line.strip().upper()
    return records


def windows(sequence: str, k: int) -> list[str]:
    found = [sequence[at : at + k] for at in range(len(sequence) - k + 1)]
    return [window for window in found if set(window) <= set("ACGT")]


def expected_counts(k: int, least: int = 1) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for sequence in read_genome(GENOME).values():
        counts.update(windows(sequence, k))
    return {kmer: counts[kmer] for kmer in sorted(counts) if counts[kmer] >= least}


def expected_coverage(k: int) -> list[str]:
    genome = read_genome(GENOME)
    return [
        f"{name}:{begin}-{end} {len(windows(genome[name][begin - 1 : end], k))}"
        for name, begin, end in BOUNDS
    ]


def check_small(folder: Path, k: int) -> None:
    """Compare the results with what the definitions say."""
    text = (folder / "global_index.json").read_text(encoding="utf-8")
    assert text == json.dumps(expected_counts(k), separators=(",", ":")) + "\n"
    lines = (folder / "merged_coverage.txt").read_text(encoding="utf-8").splitlines()
    assert lines == expected_coverage(k)
    values = sorted(int(line.rpartition(" ")[2]) for line in lines)
    summary = json.loads((folder / "coverage_summary.json").read_text(encoding="utf-8"))
    assert list(summary)[:5] == [
        "total_regions", "min_coverage", "max_coverage", "mean_coverage", "median_coverage",
    ]  # fmt: skip
    assert [summary[name] for name in list(summary)[:3]] == [len(lines), values[0], values[-1]]
    assert summary["mean_coverage"] == pytest.approx(sum(values) / len(values))
    assert summary["median_coverage"] == values[len(values) // 2]
    names = sorted(path.name for path in (folder / "coverage").iterdir())
    assert names == [
        "coverage_chr1_1-100.txt", "coverage_chr1_140-150.txt", "coverage_chr1_20-60.2.txt",
        "coverage_chr1_20-60.txt", "coverage_chr2_1-3.txt",
    ]  # fmt: skip
    one = (folder / "coverage" / "coverage_chr1_1-100.txt").read_text(encoding="utf-8")
    assert one == f"{expected_coverage(k)[2]}\n"


@pytest.mark.parametrize("version", VERSIONS)
def test_results_are_exact_and_resume_runs_what_changed(
    nextflow: MakeNextflow, version: str
) -> None:
    flow = nextflow(version)
    assert flow.run(*small(chunk_size=7), *ENOUGH) == 0, flow.told
    assert f"N E X T F L O W  ~  version {version}" in flow.told
    results = flow.folder / "results"
    check_small(results, 5)
    assert flow.statuses() == each("COMPLETED")
    tasks = Counter(task["name"].split()[0] for task in flow.trace())
    assert tasks["COUNT"] == 6
    assert tasks["COVERAGE"] == len(BOUNDS)
    assert all(task["exit"] == "0" and task["attempt"] == "1" for task in flow.trace())
    check_reports(results / "pipeline_info", version)

    before = {name: (results / name).read_bytes() for name in RESULTS}
    assert flow.run("--resume", *small(chunk_size=7), *ENOUGH) == 0, flow.told
    assert flow.statuses() == each("CACHED")
    assert before == {name: (results / name).read_bytes() for name in RESULTS}

    assert flow.run("--resume", *small(k=6, chunk_size=7), *ENOUGH) == 0, flow.told
    check_small(results, 6)
    cached = {name for name, statuses in flow.statuses().items() if statuses == {"CACHED"}}
    assert cached == {"INDEX", "VERSIONS"}


def check_reports(folder: Path, version: str) -> None:
    for name in ("report.html", "timeline.html"):
        assert "COUNT (batch_0)" in (folder / name).read_text(encoding="utf-8"), name
    assert (folder / "dag.mmd").read_text(encoding="utf-8").startswith("flowchart")
    versions = (folder / "versions.yml").read_text(encoding="utf-8")
    assert f"nextflow: {version}" in versions
    found = set(re.findall(r'"(\w+)":\n    seqmill: \d+\.\d+\.\d+', versions))
    assert found == PROCESSES - {"VERSIONS"}
    metrics = json.loads((folder / "metrics" / "count_00000.json").read_text(encoding="utf-8"))
    assert metrics["job"]["status"] == "ok"
    # Two gigabytes are the most that a task may have; seqmill gets nine tenths of what it has.
    assert metrics["options"]["memory"] == (2 << 30) * 9 // 10
    assert metrics["memory"]["rss_peak"] <= metrics["options"]["memory"]


@pytest.mark.parametrize(
    ("chunk_size", "threads", "version"),
    [(20, 4, VERSIONS[0]), (10**9, 1, VERSIONS[1])],
)
def test_chunks_and_threads_do_not_show(
    nextflow: MakeNextflow, chunk_size: int, threads: int, version: str
) -> None:
    flow = nextflow(version)
    # Names that are patterns, words and commands to those who do not take care.
    names = {name: f"it's [a] <{name}> & ü; \\ x" for name in ("genome.fa", "regions.txt")}
    for name, odd in names.items():
        (flow.folder / name).rename(flow.folder / f"{odd}{Path(name).suffix}")
    words = [*small(chunk_size=chunk_size), "--threads", str(threads)]
    words = [f"{names[word]}{Path(word).suffix}" if word in names else word for word in words]
    assert flow.run(*words) == 0, flow.told
    check_small(flow.folder / "results", 5)


def test_filter_strand_format_and_bed(nextflow: MakeNextflow) -> None:
    flow = nextflow()
    (flow.folder / "regions.bed").write_text("track name=x\nchr1\t19\t60\tone\nchr2\t0\t3\n")
    (flow.folder / "params.json").write_text(
        json.dumps({"reference": "genome.fa", "min_count": 2, "k": 4, "format": "tsv"})
    )
    words = ["--params-file", "params.json", "-R", "regions.bed", "-o", "out dir", "-m", "1G"]
    assert flow.run(*words, "--", "-c", "spare.config", *ENOUGH) == 0, flow.told
    lines = (flow.folder / "out dir" / "global_index.tsv").read_text(encoding="utf-8").splitlines()
    assert lines == [f"{kmer}\t{count}" for kmer, count in expected_counts(4, 2).items()]
    table = (flow.folder / "out dir" / "coverage.tsv").read_text(encoding="utf-8").splitlines()
    assert [line.split("\t")[:3] for line in table[1:]] == [
        ["chr1:20-60", "one", "41"],
        ["chr2:1-3", "", "3"],
    ]


def test_nothing_to_count_and_no_region_have_outputs(nextflow: MakeNextflow) -> None:
    flow = nextflow()
    (flow.folder / "empty.fa").write_text(">a\n\n")
    (flow.folder / "none.txt").write_text("# no region\n\n")
    words = ["empty.fa", "-R", "none.txt", "--", "-c", "spare.config", *ENOUGH]
    assert flow.run(*words) == 0, flow.told
    results = flow.folder / "results"
    assert (results / "global_index.json").read_text(encoding="utf-8") == "{}\n"
    assert (results / "merged_coverage.txt").read_bytes() == b""
    summary = json.loads((results / "coverage_summary.json").read_text(encoding="utf-8"))
    assert summary["total_regions"] == 0


def test_what_may_end_well_is_tried_again(nextflow: MakeNextflow) -> None:
    """Temporary trouble, a budget that can grow, and a task that was killed."""
    flow = nextflow()
    wrapper = flow.folder / "sometimes.sh"
    wrapper.write_text(
        "#!/bin/bash\n"
        'case "$*" in\n'
        f'*"chunk "*"--batch 0 "*) if mkdir "{flow.folder}/small"; then\n'
        '    echo "seqmill: error: the memory budget is too small" >&2; exit 78; fi;;\n'
        f'*"chunk "*"--batch 1 "*) if mkdir "{flow.folder}/away"; then\n'
        '    echo "seqmill: error: storage is away for a moment" >&2; exit 75; fi;;\n'
        f'*"chunk "*"--batch 2 "*) if mkdir "{flow.folder}/killed"; then kill -9 $$; fi;;\n'
        "esac\n"
        'exec seqmill "$@"\n'
    )
    wrapper.chmod(0o755)
    words = [*small(), *ENOUGH, "--memory", "6.GB", "--seqmill", str(wrapper)]
    assert flow.run(*words) == 0, flow.told
    check_small(flow.folder / "results", 5)
    tried: dict[str, set[tuple[str, ...]]] = {}
    for task in flow.trace():
        if task["name"].startswith("COUNT"):
            found = (task["attempt"], task["status"], task["exit"])
            tried.setdefault(task["name"], set()).add(found)
    assert tried == {
        f"COUNT (batch_{batch})": {("1", "FAILED", code), ("2", "COMPLETED", "0")}
        for batch, code in enumerate(("78", "75", "137"))
    } | {"COUNT (batch_3)": {("1", "COMPLETED", "0")}}
    # Attempts get more: two gigabytes, then four, of which seqmill gets nine tenths.
    metrics = flow.folder / "results" / "pipeline_info" / "metrics" / "count_00000.json"
    budget = json.loads(metrics.read_text(encoding="utf-8"))["options"]["memory"]
    assert budget == (4 << 30) * 9 // 10


def test_bad_data_stop_the_run_and_say_why(nextflow: MakeNextflow) -> None:
    flow = nextflow()
    (flow.folder / "genome.fa").write_text("ACGT\n>chr1\nACGT\n")
    assert flow.run(*small(), *ENOUGH) == 1
    assert "terminated with an error exit status (65)" in flow.told
    assert re.search(r"seqmill: error: .*genome\.fa", flow.told), flow.told
    assert "seqmill: not done" in flow.told
    assert {task["attempt"] for task in flow.trace()} == {"1"}
    assert not (flow.folder / "results" / "global_index.json").exists()


def test_bad_region_and_bad_parameter_stop_the_run(nextflow: MakeNextflow) -> None:
    flow = nextflow()
    # A line that would be a command of the shell is only a name.
    (flow.folder / "regions.txt").write_text("chr1:1-10\n$(touch hit)'; touch hit; '`x`\\\"\n")
    assert flow.run(*small(), *ENOUGH) == 1
    assert "exit status (65)" in flow.told
    assert "$(touch hit)" in flow.told.partition("Command error")[2], flow.told
    assert not list(flow.folder.rglob("hit"))
    # The pipeline alone, without what `seqmill workflow run` checks before it.
    program = str(flow.program)
    words = ["run", str(PIPELINE), "--reference", "genome.fa", "--k", "300", "-c", "spare.config"]
    assert flow.run(*words, program=program) == 1
    assert "seqmill: error: params.json: k: 300 is above 255" in flow.told
    assert set(flow.statuses()) == {"CHECK"}


def test_budget_that_cannot_grow_names_the_least(nextflow: MakeNextflow) -> None:
    flow = nextflow()
    assert flow.run(*small(), *ENOUGH, "--memory", "30.MB") == 1
    assert "exit status (78)" in flow.told
    assert re.search(r"seqmill: error: .* at least (--memory )?[0-9.]+ ?MiB", flow.told), flow.told
    assert {task["attempt"] for task in flow.trace() if task["exit"] == "78"} == {"1"}


@pytest.mark.parametrize("after", [2, pytest.param(5, marks=pytest.mark.slow)])
def test_killed_run_goes_on(nextflow: MakeNextflow, after: int) -> None:
    flow = nextflow()
    with flow.start(*small(batch_bases=20), *ENOUGH) as process:
        try:
            deadline = time.monotonic() + 500
            while flow.log().count("COUNT (batch") < 2 * after and time.monotonic() < deadline:
                if process.poll() is not None:
                    pytest.fail(f"it ended by itself:\n{process.stdout.read()}")
                time.sleep(0.05)
        finally:
            process.kill()
    assert not (flow.folder / "results" / "global_index.json").exists()
    # Another run of the same folder: `-resume` alone would go on with this one.
    words = ["genome.fa", "-o", "other", "--", "-stub-run", "-c", "spare.config", *ENOUGH]
    assert flow.run(*words) == 0, flow.told
    assert flow.run("--resume", *small(batch_bases=20), *ENOUGH) == 0, flow.told
    check_small(flow.folder / "results", 5)
    statuses = flow.statuses()
    assert [statuses[name] for name in ("CHECK", "INDEX", "PLAN")] == [{"CACHED"}] * 3


@pytest.mark.parametrize("version", VERSIONS)
def test_stub_run_needs_no_seqmill(nextflow: MakeNextflow, version: str) -> None:
    flow = nextflow(version)
    words = [*small(), *ENOUGH, "--seqmill", "/no/such/program", "-stub-run"]
    assert flow.run(*words) == 0, flow.told
    assert flow.statuses() == each("COMPLETED")
    assert (flow.folder / "results" / "global_index.json").exists()


def test_strict_syntax_finds_no_error(nextflow: MakeNextflow) -> None:
    """By `nextflow lint`, where it ends, and by a run through the strict parser."""
    flow = nextflow()
    flow.environment["NXF_SYNTAX_PARSER"] = "v2"
    assert flow.run(*small(), *ENOUGH, "-stub-run") == 0, flow.told
    code = flow.run("lint", str(PIPELINE), program=str(flow.program))
    if "Cannot invoke" in flow.told:
        pytest.skip("nextflow lint ended by an error of its own, as it does with these jars")
    assert code == 0, flow.told


def test_copy_of_the_pipeline_runs_alone(nextflow: MakeNextflow) -> None:
    flow = nextflow()
    assert flow.run("workflow", "init", "mine", program="seqmill") == 0, flow.told
    words = ["run", "mine", "-profile", "test", "-c", "spare.config"]
    assert flow.run(*words, program=str(flow.program)) == 0, flow.told
    index = json.loads((flow.folder / "results" / "global_index.json").read_text("utf-8"))
    assert sum(index.values()) == sum(
        len(windows(sequence, 5))
        for sequence in read_genome(
            (PIPELINE / "assets/test/genome.fa").read_text("utf-8")
        ).values()
    )


def pack(sequence: bytes, k: int) -> np.ndarray:
    """Pack every window of k bases as the definition says; those with others are left out."""
    codes = np.full(256, 4, dtype=np.uint64)
    for code, letters in enumerate((b"Aa", b"Cc", b"Gg", b"Tt")):
        codes[list(letters)] = code
    bases = codes[np.frombuffer(sequence, dtype=np.uint8)]
    number = max(0, len(bases) - k + 1)
    packed = np.zeros(number, dtype=np.uint64)
    valid = np.ones(number, dtype=bool)
    for offset in range(k):
        column = bases[offset : offset + number]
        packed = (packed << np.uint64(2)) | (column & np.uint64(3))
        valid &= column < 4
    return packed[valid]


def read_fasta(path: Path) -> dict[str, bytes]:
    records: dict[str, list[bytes]] = {}
    with gzip.open(path) as lines:
        for line in lines:
            if line.startswith(b">"):
                chosen = records.setdefault(line[1:].split()[0].decode(), [])
            else:
                chosen.append(line.strip())
    return {name: b"".join(parts) for name, parts in records.items()}


def test_yeast_equals_an_independent_counter(nextflow: MakeNextflow, shared_data: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    flow = nextflow()
    reference = shared_data / "real" / "yeast" / "S288C.fa.gz"
    genome = read_fasta(reference)
    names = sorted(genome, key=lambda name: len(genome[name]))
    bounds = [(name, 1, len(genome[name])) for name in names[:2]]
    bounds += [(names[-1], 1 + 10_000 * n, 60_000 + 10_000 * n) for n in range(3)]
    (flow.folder / "yeast.txt").write_text(
        "".join(f"{name}:{begin:,}-{end:,}\n" for name, begin, end in bounds)
    )
    words = [reference, "-R", "yeast.txt", "-k", "21", "--format", "parquet", "--"]
    words += ["-c", "spare.config", "--batch_bases", "3000000", "--chunk_size", "700000", *ENOUGH]
    assert flow.run(*words) == 0, flow.told
    table = parquet.read_table(flow.folder / "results" / "global_index.parquet")
    packed = np.concatenate([pack(sequence, 21) for sequence in genome.values()])
    kmers, counts = np.unique(packed, return_counts=True)
    assert np.array_equal(table["kmer"].to_numpy(), kmers)
    assert np.array_equal(table["count"].to_numpy(), counts.astype(np.uint64))
    lines = (flow.folder / "results" / "merged_coverage.txt").read_text("utf-8").splitlines()
    assert lines == [
        f"{name}:{begin}-{end} {len(pack(genome[name][begin - 1 : end], 21))}"
        for name, begin, end in bounds
    ]
    peaks = [
        json.loads(path.read_text("utf-8"))["memory"]
        for path in (flow.folder / "results" / "pipeline_info" / "metrics").glob("*.json")
    ]
    assert all(memory["rss_peak"] <= memory["limit"] for memory in peaks)


def test_depth_of_alignments_equals_samtools(
    nextflow: MakeNextflow, shared_data: Path, command_environment: dict[str, str]
) -> None:
    if shutil.which("samtools") is None:
        pytest.skip("samtools is not on PATH")
    flow = nextflow()
    alignments = shared_data / "real" / "bam" / "drosophila_pasilla_untreated3_chr4.bam"
    reference = shared_data / "real" / "genome" / "drosophila_dm3.chr4.fa.gz"
    bounds = [(1 + 150_000 * n, 150_000 * (n + 1)) for n in range(5)] + [(1_300_001, 1_351_857)]
    (flow.folder / "depth.bed").write_text(
        "".join(f"chr4\t{begin - 1}\t{end}\n" for begin, end in bounds)
    )
    words = [
        reference,
        "-R",
        "depth.bed",
        "--alignments",
        alignments,
        "-k",
        "15",
        "--format",
        "tsv",
    ]
    assert flow.run(*words, "--", "-c", "spare.config", *ENOUGH) == 0, flow.told
    lines = (flow.folder / "results" / "merged_coverage.txt").read_text("utf-8").splitlines()
    expected = []
    for begin, end in bounds:
        region = f"chr4:{begin}-{end}"
        told = subprocess.run(
            ["samtools", "depth", "-a", "-a", "-r", region, os.fspath(alignments)],
            env=command_environment,
            capture_output=True,
            text=True,
            check=True,
        )
        depth = [int(line.rpartition("\t")[2]) for line in told.stdout.splitlines()]
        assert len(depth) == end - begin + 1
        # Half to even, as Python rounds fractions.
        expected.append(f"{region} {round(Fraction(sum(depth), len(depth)))}")
    assert lines == expected
    assert len(set(lines)) > 1
    summary = json.loads((flow.folder / "results" / "coverage_summary.json").read_text("utf-8"))
    assert summary["details"]["input"] == alignments.name


@pytest.mark.parametrize(
    ("profile", "parts"),
    [
        ("slurm,docker", ("executor = 'slurm'", "container = 'seqmill:latest'", "queue = null")),
        ("singularity", ("container = 'docker://seqmill:latest'", "autoMounts = true")),
        ("conda", (f"conda = '{PIPELINE}/assets/environment.yml'", "conda {\n   enabled = true")),
    ],
)
def test_profiles_are_read(nextflow: MakeNextflow, profile: str, parts: tuple[str, ...]) -> None:
    flow = nextflow()
    words = ("config", str(PIPELINE), "-profile", profile)
    assert flow.run(*words, program=str(flow.program)) == 0, flow.told
    for part in parts:
        assert part in flow.told, f"{part}\n{flow.told}"
