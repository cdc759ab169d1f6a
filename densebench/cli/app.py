"""The command line's root; each module beside this one adds its commands to it."""

from typing import Annotated

import typer

from densebench import __version__

app = typer.Typer(
    help="Benchmark dense (patch-level) visual features of any backbone.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def _top(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        print(__version__)
        raise typer.Exit
