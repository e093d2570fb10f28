"""Commands of a scattered count: ``kmers plan`` and ``kmers chunk``."""

from typing import Any

import click

from seqmill._outputs import refuse_existing, refuse_inputs
from seqmill.cli._kmers_options import choose_strand, job_options, kmer_options
from seqmill.cli._options import (
    Example,
    JobCommand,
    Session,
    force_option,
    grouped_option,
    output_option,
    pass_session,
)

__all__ = ["chunk", "plan"]


@click.command(
    "plan",
    cls=JobCommand,
    short_help="Cut a reference into chunks and batches.",
    examples=[
        Example("a plan", "seqmill kmers plan genome.fa.gz -o plan.tsv"),
        Example(
            "small chunks", "seqmill kmers plan genome.fa.gz -k 21 --chunk-size 1000 -o plan.tsv"
        ),
        Example("to stdout", "seqmill kmers plan genome.fa.gz -o - | head -3 || true"),
    ],
)
@click.argument("reference")
@grouped_option("input", "-k", "k", type=int, default=31, help="Length of the k-mers.")
@grouped_option(
    "input", "--chunk-size", type=int, default=1_000_000, help="Bases.  [default: 1000000]"
)
@grouped_option(
    "input",
    "--batch-bases",
    type=int,
    default=64_000_000,
    help="A batch ends with the chunk in which its bases reach this.  [default: 64000000]",
)
@grouped_option(
    "input",
    "--max-batches",
    type=int,
    metavar="N",
    help="Make batches larger where there would be more than N.",
)
@output_option("File to write; - is stdout.", required=True)
@force_option
def plan(reference: str, *, output: str, force: bool, **options: Any) -> None:
    """Write chunk_id, record, start, end, bases and batch of every chunk (0-based half-open)."""
    from seqmill.kmers import plan_chunks  # noqa: PLC0415 - brings the engine

    if output != "-":
        refuse_existing(output, force=force)
        refuse_inputs([output], [reference])
    made = plan_chunks(reference, **options)
    if output == "-":
        for line in made.lines():
            click.echo(line)
    else:
        made.save(output, force=force)


@click.command(
    "chunk",
    cls=JobCommand,
    short_help="Count one batch of a plan into a partial.",
    examples=[
        Example(
            "the first batch",
            "seqmill kmers plan genome.fa.gz -o p.tsv && "
            "seqmill kmers chunk genome.fa.gz --plan p.tsv --batch 0 -o part_0.skm",
        ),
        Example(
            "canonical",
            "seqmill kmers plan genome.fa.gz -o p.tsv && "
            "seqmill kmers chunk genome.fa.gz --plan p.tsv --batch 0 --canonical -o part_0.skm",
        ),
        Example(
            "with little memory",
            "seqmill kmers plan genome.fa.gz -o p.tsv && "
            "seqmill kmers chunk genome.fa.gz --plan p.tsv --batch 0 -m 128M -o part_0.skm",
        ),
    ],
)
@click.argument("reference")
@grouped_option("input", "--plan", "plan_file", required=True, metavar="FILE", help="The plan.")
@grouped_option("input", "--batch", type=int, required=True, metavar="B", help="Which batch.")
@kmer_options
@output_option("The partial.", required=True)
@job_options
@pass_session
def chunk(
    session: Session, /, *, reference: str, plan_file: str, batch: int, **options: Any
) -> None:
    """Count the chunks of one batch; no filter applies, so that the merge is exact."""
    from seqmill.kmers import count_batch  # noqa: PLC0415 - brings the engine

    canonical = choose_strand(canonical=options.pop("canonical"), strand=options.pop("strand"))
    count_batch(
        reference,
        plan_file,
        batch,
        canonical=canonical,
        progress=session.progress,
        **options,
    )
