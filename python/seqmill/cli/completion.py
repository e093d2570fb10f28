"""`seqmill completion`: the completion script of a shell."""

import click

from seqmill.cli._options import Example, JobCommand

__all__ = ["command"]


@click.command(
    "completion",
    cls=JobCommand,
    short_help="Print the completion script of a shell.",
    examples=[
        Example("bash, for this session", 'eval "$(seqmill completion bash)"'),
        Example("zsh, for this session", "seqmill completion zsh > _seqmill"),
        Example("fish, for good", "seqmill completion fish > seqmill.fish"),
    ],
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the script that lets SHELL complete commands and options."""
    from click.shell_completion import get_completion_class  # noqa: PLC0415 - only here

    from seqmill.cli import COMPLETE_VARIABLE, PROGRAM, seqmill  # noqa: PLC0415 - they import us

    maker = get_completion_class(shell)
    if maker is None:
        message = f"click has no completion for {shell}"
        raise RuntimeError(message)
    # `source()` of the class would also start bash to ask for its version.
    completion = maker(seqmill, {}, PROGRAM, COMPLETE_VARIABLE)
    click.echo(completion.source_template % completion.source_vars())
