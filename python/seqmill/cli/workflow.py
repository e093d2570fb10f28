"""`seqmill workflow`: the Nextflow pipeline that comes with seqmill."""

import os
import sys
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import click

from seqmill.cli._kmers_options import JobGroup
from seqmill.cli._options import (
    Example,
    JobCommand,
    color_option,
    grouped_option,
    memory_option,
    resume_option,
    threads_option,
)

__all__ = ["command"]

_PATH = click.Path(path_type=Path)


@click.group(
    "workflow",
    cls=JobGroup,
    short_help="Run k-mers and coverage as a Nextflow pipeline.",
    examples=[
        Example("a copy to keep and to edit", "seqmill workflow init pipeline"),
        Example(
            "what would be run",
            "seqmill workflow run genome.fa.gz -R regions.bed -k 21 --dry-run",
        ),
        Example(
            "are these parameters right?",
            'echo \'{"reference": "genome.fa.gz", "k": 21}\' > params.json && '
            "seqmill workflow check --params-file params.json",
        ),
    ],
)
def command() -> None:
    """Count k-mers and measure coverage with Nextflow: on this machine, a cluster or a cloud."""


@command.command(
    "init",
    cls=JobCommand,
    short_help="Copy the pipeline into a folder.",
    examples=[
        Example("a copy", "seqmill workflow init pipeline"),
        Example(
            "run the copy; seqmill is on PATH where the tasks run",
            "seqmill workflow init mine && echo nextflow run mine --reference genome.fa.gz",
        ),
        Example(
            "run the copy with what seqmill checks and notes",
            "seqmill workflow init mine && "
            "seqmill workflow run genome.fa.gz --pipeline mine --dry-run",
        ),
    ],
)
@click.argument("folder", metavar="DIR", type=_PATH)
@color_option
def init(*, folder: Path) -> None:
    """Copy the pipeline into DIR, which must be new or empty."""
    from seqmill._workflow import copy_pipeline  # noqa: PLC0415 - not needed by `--help`

    made = copy_pipeline(folder)
    click.echo(f"{made}: nextflow run {made} --reference FILE", err=True)


@command.command(
    "path",
    cls=JobCommand,
    short_help="Print where the pipeline is.",
    examples=[
        Example("the folder", "seqmill workflow path"),
        Example(
            "run it without a copy",
            'echo nextflow run "$(seqmill workflow path)" --reference genome.fa.gz',
        ),
        Example("what it writes", 'cat "$(seqmill workflow path)/docs/output.md"'),
    ],
)
@color_option
def path() -> None:
    """Print the folder of the pipeline that comes with this installation."""
    from seqmill._workflow import PIPELINE  # noqa: PLC0415 - not needed by `--help`

    click.echo(PIPELINE)


@command.command(
    "check",
    cls=JobCommand,
    short_help="Check parameters before a run.",
    examples=[
        Example(
            "a file of parameters",
            'echo \'{"reference": "genome.fa.gz", "k": 21}\' > params.json && '
            "seqmill workflow check --params-file params.json",
        ),
        Example(
            "on a machine that does not see the files",
            'echo \'{"reference": "/cluster/genome.fa"}\' > params.json && '
            "seqmill workflow check --params-file params.json --no-files",
        ),
        Example(
            "of a copy of the pipeline",
            'seqmill workflow init mine && echo \'{"reference": "genome.fa.gz"}\' > p.json && '
            "seqmill workflow check --params-file p.json --pipeline mine",
        ),
    ],
)
@grouped_option(
    "input",
    "--params-file",
    metavar="FILE",
    required=True,
    type=_PATH,
    help="Parameters as JSON, or as YAML where PyYAML is installed.",
)
@grouped_option("input", "--no-files", is_flag=True, help="Do not look whether files exist.")
@grouped_option(
    "input",
    "--pipeline",
    metavar="DIR",
    type=_PATH,
    help="A copy of the pipeline.  [default: the one that comes along]",
)
@color_option
def check(*, params_file: Path, no_files: bool, pipeline: Path | None) -> None:
    """Compare parameters with the schema of the pipeline, which calls this first of all."""
    from seqmill._workflow_params import (  # noqa: PLC0415 - not needed by `--help`
        PIPELINE,
        check_parameters,
        read_parameters,
        read_schema,
    )

    given = read_parameters(params_file)
    schema = read_schema(PIPELINE if pipeline is None else pipeline)
    _warn(check_parameters(given, schema=schema, source=str(params_file), files=not no_files))
    click.echo(f"{params_file}: {len(given)} parameters are right", err=True)


@command.command(
    "run",
    cls=JobCommand,
    short_help="Run the pipeline.",
    examples=[
        Example(
            "k-mers of a genome, and the k-mers in each region",
            "seqmill workflow run genome.fa.gz -R regions.bed --dry-run",
        ),
        Example(
            "depth of alignments, with parameters and options of Nextflow behind --",
            "seqmill workflow run genome.fa.gz -R regions.bed --alignments small.bam --dry-run "
            "-- -with-weblog --min_count 2",
        ),
        Example(
            "on a cluster, and on from where it was interrupted",
            "seqmill workflow run genome.fa.gz --profile slurm --resume --dry-run -- --queue long",
        ),
    ],
)
@click.argument("reference", metavar="[REFERENCE]", required=False)
@click.argument("arguments", metavar="[-- ARGUMENTS...]", nargs=-1, type=click.UNPROCESSED)
@grouped_option(
    "input",
    "-R",
    "--regions-file",
    metavar="FILE",
    help="Regions whose coverage is measured: one a line, or BED.",
)
@grouped_option(
    "input",
    "--alignments",
    metavar="FILE",
    help="BAM, SAM or CRAM: coverage is the depth of its records, not k-mers of the reference.",
)
@grouped_option(
    "input", "-k", "k", type=click.IntRange(1, 255), help="Length of the k-mers.  [default: 31]"
)
@grouped_option(
    "input",
    "--params-file",
    metavar="FILE",
    type=_PATH,
    help="Parameters as JSON, or as YAML where PyYAML is installed.",
)
@grouped_option(
    "output",
    "-o",
    "--output",
    metavar="DIR",
    type=click.Path(),
    help="Folder of the results.  [default: results]",
)
@grouped_option(
    "output",
    "--format",
    "format_",
    type=click.Choice(["json", "tsv", "parquet"]),
    help="Format of the table of k-mers.  [default: json]",
)
@resume_option
@grouped_option(
    "resources",
    "--profile",
    metavar="NAMES",
    help="Where tasks run: slurm, docker, singularity, conda, test; a comma list.",
)
@grouped_option(
    "resources",
    "--pipeline",
    metavar="DIR",
    type=_PATH,
    help="A copy of the pipeline.  [default: the one that comes along]",
)
@threads_option
@memory_option
@grouped_option("display", "--dry-run", is_flag=True, help="Print the command, and run nothing.")
@color_option
def run(
    *,
    reference: str | None,
    arguments: tuple[str, ...],
    params_file: Path | None,
    profile: str | None,
    pipeline: Path | None,
    resume: bool,
    dry_run: bool,
    **options: Any,
) -> None:
    """Run the pipeline on REFERENCE with Nextflow, after checking the parameters.

    ARGUMENTS are Nextflow's own, such as -work-dir DIR, and parameters of the pipeline, such as
    --chunk_size 500000. Threads and memory are the most that one task may have. The program is
    $SEQMILL_NEXTFLOW, else nextflow on PATH.
    """
    from seqmill._workflow import (  # noqa: PLC0415 - not needed by `--help`
        PIPELINE,
        find_nextflow,
        plan_launch,
        record_launch,
        require_nextflow,
    )

    if reference is not None and reference.startswith("-"):
        # `run -- --reference FILE`: what follows -- begins with no reference of ours.
        arguments, reference = (reference, *arguments), None
    folder = PIPELINE if pipeline is None else pipeline
    parameters = {
        "reference": reference,
        "region_list": options["regions_file"],
        "alignments": options["alignments"],
        "k": options["k"],
        "output_dir": options["output"],
        "format": options["format_"],
        "threads": options["threads"] if options["threads"] != "auto" else None,
        "memory": _memory_of_nextflow(options["memory"]),
    }
    everything = _check_all(parameters, params_file, profile, arguments, folder)
    launch = plan_launch(
        parameters,
        pipeline=folder,
        output_dir=str(everything.get("output_dir") or "results"),
        profile=profile,
        params_file=None if params_file is None else str(params_file),
        extra=arguments,
        resume=resume,
    )
    if resume and launch.resumed is None:
        click.echo(f"{launch.output_dir}: no earlier run from this folder; starting anew", err=True)
    if dry_run:
        click.echo(launch.command_line(find_nextflow() or "nextflow"))
        return
    program = require_nextflow()
    record_launch(launch)
    _become(program, launch.arguments)


def _become(program: str, arguments: tuple[str, ...]) -> NoReturn:
    """Turn this process into Nextflow: signals and the exit code are then its own."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(program, [program, *arguments])  # noqa: S606 - the program that the user named


def _memory_of_nextflow(size: int | str | None) -> str | None:
    """Spell a size so that Nextflow reads the same number of bytes."""
    if not isinstance(size, int):
        return None
    for power, unit in ((3, "GB"), (2, "MB"), (1, "KB")):
        if size % 1024**power == 0:
            return f"{size >> 10 * power}.{unit}"
    return f"{size}.B"


def _check_all(
    parameters: dict[str, Any],
    params_file: Path | None,
    profile: str | None,
    arguments: tuple[str, ...],
    folder: Path,
) -> dict[str, Any]:
    """Check the parameters of all sources before Nextflow is started, and give them."""
    from seqmill._workflow_params import (  # noqa: PLC0415 - not needed by `--help`
        check_parameters,
        read_parameters,
        read_schema,
    )

    given = {} if params_file is None else read_parameters(params_file)
    given |= {name: value for name, value in parameters.items() if value is not None}
    given |= _parameters_among(arguments)
    schema = read_schema(folder)
    if profile is not None and "test" in profile.split(","):
        # This profile brings a reference along.
        schema["reference"]["required"] = False
    _warn(check_parameters(given, schema=schema))
    return given


def _parameters_among(arguments: tuple[str, ...]) -> dict[str, Any]:
    """Find the parameters among the arguments of Nextflow: they have two dashes."""
    from seqmill._workflow_params import read_value  # noqa: PLC0415 - not needed by `--help`

    found: dict[str, Any] = {}
    words = [*arguments, "-"]
    for word, following in pairwise(words):
        if word.startswith("--"):
            name, equals, text = word[2:].partition("=")
            if equals:
                found[name] = read_value(text)
            else:
                found[name] = True if following.startswith("-") else read_value(following)
    return found


def _warn(texts: list[str]) -> None:
    for text in texts:
        warnings.warn(text, stacklevel=2)
