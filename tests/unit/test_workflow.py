"""The front of the pipeline: its parameters, a copy of it, the command handed to Nextflow."""

import json
import re
import shlex
import stat
import sys
from pathlib import Path

import jsonschema
import pytest

import seqmill
from seqmill import errors
from seqmill._workflow import (
    PIPELINE,
    copy_pipeline,
    find_nextflow,
    plan_launch,
    record_launch,
)
from seqmill._workflow_params import check_parameters, read_parameters, read_schema
from seqmill.cli.workflow import _memory_of_nextflow

SCHEMA = json.loads((PIPELINE / "nextflow_schema.json").read_text(encoding="utf-8"))


def config_parameters() -> dict[str, str]:
    text = (PIPELINE / "nextflow.config").read_text(encoding="utf-8")
    block = text.partition("params {\n")[2].partition("\n}")[0]
    return dict(re.findall(r"^\s+(\w+)\s*=\s*(.+?)\s*$", block, re.MULTILINE))


def test_schema_is_valid_and_says_what_the_configuration_does() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert {ref["$ref"].rpartition("/")[2] for ref in SCHEMA["allOf"]} == set(SCHEMA["$defs"])
    schema, config = read_schema(), config_parameters()
    assert set(schema) == set(config)
    for name, rules in schema.items():
        assert rules["description"].endswith("."), name
        default = {"null": None, "true": True, "false": False}.get(config[name], config[name])
        if isinstance(default, str):
            default = int(default) if default.isdecimal() else default.strip("'")
        # The number of processors is only known where the pipeline runs.
        if name != "threads":
            assert rules.get("default") == default, name
    for group in SCHEMA["$defs"].values():
        assert group["title"]
        assert group["description"]


def test_own_validator_agrees_with_json_schema() -> None:
    rules = jsonschema.Draft202012Validator(SCHEMA)
    good = {"reference": "g.fa", "k": 21, "memory": "2.GB", "time": "1h 30m", "canonical": True}
    bad = [
        {"k": 0}, {"k": 256}, {"k": "x"}, {"k": True}, {"k": 1.5}, {"canonical": "maybe"},
        {"format": "csv"}, {"memory": "much"}, {"memory": "2 apples"}, {"time": "soon"},
        {"seqmill": ""}, {"threads": 0}, {"reference": None}, {"min_count": 0},
    ]  # fmt: skip
    assert check_parameters(good, files=False) == []
    assert rules.is_valid(good)
    for change in bad:
        values = {name: value for name, value in {**good, **change}.items() if value is not None}
        assert not rules.is_valid(values), change
        with pytest.raises(errors.InputError):
            check_parameters(values, files=False)


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    given = {"reference": str(tmp_path / "no.fa"), "k": 40, "chunk_size": 30, "region-list": "x"}
    with pytest.raises(errors.InputError) as caught:
        check_parameters(given, source="params.json")
    text = str(caught.value)
    assert text.startswith("params.json: reference: ")
    for part in (
        "no.fa: no such file",
        "chunk_size: 30 is below k = 40",
        "region-list is no parameter; did you mean region_list?",
    ):
        assert part in text
    with pytest.raises(errors.InputError, match="alignments is given without region_list"):
        check_parameters({"reference": "a", "alignments": "b"}, files=False)


@pytest.mark.parametrize(
    "name", ["-x.fa", "x$y.fa", "{x}.fa", "x*.fa", "x?.fa", "`x`.fa", "x\n.fa"]
)
def test_names_that_nextflow_does_not_quote(name: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    with pytest.raises(errors.InputError, match="under another name"):
        check_parameters({"reference": str(tmp_path / name)})
    (tmp_path / "[x] 'y'.fa").touch()
    assert check_parameters({"reference": str(tmp_path / "[x] 'y'.fa")}) == []


def test_parameters_of_others_are_only_warned_of() -> None:
    given = {"reference": "s3://bucket/genome.fa", "igenomes_base": "x"}
    assert check_parameters(given) == ["parameters: igenomes_base is no parameter of the pipeline"]


def test_numbers_are_text_too() -> None:
    # Nextflow reads `--container_version 1.0` as a number.
    assert check_parameters({"reference": "g.fa", "container_version": 1.0}, files=False) == []


@pytest.mark.parametrize("text", ["[1]", "{", "3", "", '{"k": 1,}'])
def test_files_of_parameters_that_are_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "params.json"
    path.write_text(text)
    with pytest.raises(errors.FormatError, match=re.escape(str(path))):
        read_parameters(path)


def test_copy_is_whole_and_replaces_nothing(tmp_path: Path) -> None:
    made = copy_pipeline(tmp_path / "deep" / "mine")
    files = {path.relative_to(made) for path in made.rglob("*") if path.is_file()}
    assert files == {p.relative_to(PIPELINE) for p in PIPELINE.rglob("*") if p.is_file()}
    for name in files:
        assert (made / name).read_bytes() == (PIPELINE / name).read_bytes()
        assert (made / name).stat().st_mode & stat.S_IWUSR
    with pytest.raises(errors.OutputExistsError):
        copy_pipeline(made)
    (tmp_path / "empty").mkdir()
    copy_pipeline(tmp_path / "empty")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_pipeline_is_what_the_specification_lists() -> None:
    names = {str(path.relative_to(PIPELINE)) for path in PIPELINE.rglob("*") if path.is_file()}
    wanted = {"main.nf", "nextflow.config", "nextflow_schema.json", "docs/output.md"}
    profiles = ("base", "test", "slurm", "docker", "singularity", "conda")
    wanted |= {f"conf/{name}.config" for name in profiles}
    assert wanted <= names
    config = (PIPELINE / "nextflow.config").read_text(encoding="utf-8")
    assert "nextflowVersion = '!>=24.10.0'" in config
    assert f"version         = '{seqmill.__version__}'" in config


def test_program_is_found_or_its_absence_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nextflow"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("SEQMILL_NEXTFLOW", str(program))
    assert find_nextflow() == str(program)
    monkeypatch.setenv("SEQMILL_NEXTFLOW", str(tmp_path / "other"))
    with pytest.raises(errors.InputError, match="SEQMILL_NEXTFLOW names it"):
        find_nextflow()
    monkeypatch.delenv("SEQMILL_NEXTFLOW")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_nextflow() == str(program)


def test_resume_names_the_session_of_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first = plan_launch({"k": 5, "canonical": True, "format": None}, output_dir="one", resume=True)
    assert first.resumed is None
    assert first.arguments == (
        "run", str(PIPELINE), "-name", first.run_name, "--k", "5", "--canonical", "true",
    )  # fmt: skip
    record_launch(first)
    other = plan_launch({}, output_dir="two", extra=["-name", "mine"])
    assert other.run_name == "mine"
    assert other.arguments.count("-name") == 1
    record_launch(other)
    line = "2026-01-01 00:00:00\t1s\t{}\tOK\trevision\t{}\tnextflow run\n"
    (tmp_path / ".nextflow" / "history").write_text(
        line.format(first.run_name, "session-1") + line.format("mine", "session-2")
    )
    again = plan_launch({}, output_dir="one", resume=True)
    assert again.resumed == "session-1"
    assert again.arguments[4:6] == ("-resume", "session-1")
    # A run of the same folder from its absolute path.
    assert plan_launch({}, output_dir=str(tmp_path / "two"), resume=True).resumed == "session-2"
    assert plan_launch({}, output_dir="three", resume=True).resumed is None


@pytest.mark.parametrize(
    ("size", "text"),
    [(2 << 30, "2.GB"), (3 << 20, "3.MB"), (5 << 10, "5.KB"), (1001, "1001.B"), (None, None)],
)
def test_sizes_as_nextflow_reads_them(size: int | None, text: str | None) -> None:
    assert _memory_of_nextflow(size) == text


def test_command_becomes_nextflow(run_seqmill, example_data: Path, tmp_path: Path) -> None:
    fasta, bed = example_data / "genome.fa.gz", example_data / "regions.bed"
    words = ["run", fasta, "-R", bed, "-k", "21", "-m", "1536M", "-@", "3", "-o", "out"]
    words += ["--profile", "slurm", "--", "--min_count", "2", "-with-weblog"]
    echo = {"SEQMILL_NEXTFLOW": "/bin/echo"}
    told = run_seqmill("workflow", *words, env=echo, cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    found = told.stdout.split()
    assert found[:3] == ["run", str(PIPELINE), "-name"]
    assert found[4:] == [
        "-profile", "slurm", "--reference", str(fasta), "--region_list", str(bed), "--k", "21",
        "--output_dir", "out", "--threads", "3", "--memory", "1536.MB",
        "--min_count", "2", "-with-weblog",
    ]  # fmt: skip
    assert json.loads((tmp_path / ".nextflow" / "seqmill.json").read_text()) == {
        str(tmp_path / "out"): found[3]
    }
    dry = run_seqmill("workflow", *words[:2], "--dry-run", env=echo, cwd=tmp_path)
    assert shlex.split(dry.stdout)[:2] == ["/bin/echo", "run"]


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ((), "reference is missing"),
        (("no.fa",), "reference: no.fa: no such file"),
        (("--", "--reference", "no.fa"), "reference: no.fa: no such file"),
        (("{fasta}", "--", "--chunk_size=5"), "chunk_size: 5 is below k = 31"),
        (("{fasta}", "--", "--regionlist", "x"), "did you mean region_list?"),
        (("{fasta}", "--alignments", "{fasta}"), "without region_list"),
        (("{fasta}",), "nextflow: no such program on PATH"),
    ],
)
def test_command_that_cannot_run(
    run_seqmill, example_data: Path, tmp_path: Path, words: tuple[str, ...], part: str
) -> None:
    fasta = str(example_data / "genome.fa.gz")
    path = {"PATH": str(Path(sys.executable).parent)}
    given = [word.format(fasta=fasta) for word in words]
    told = run_seqmill("workflow", "run", *given, env=path, cwd=tmp_path)
    assert told.returncode == 2, told.stderr
    assert part in told.stderr
    assert list(tmp_path.iterdir()) == []
