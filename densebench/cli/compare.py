"""`densebench compare`: two backbones on the same images."""

import json
from typing import Annotated

import typer

from densebench.cli.app import app
from densebench.cli.shared import AsJson, ResultsFolder


@app.command()
def compare(
    first: Annotated[str, typer.Argument(help="A backbone's name, or the file of a record.")],
    second: Annotated[str, typer.Argument(help="What it is compared with, likewise.")],
    task: Annotated[
        str | None, typer.Option(help="The task's name; not needed between two files.")
    ] = None,
    variant: Annotated[str, typer.Option(help="Variant of the protocol.")] = "reference",
    results: ResultsFolder = None,
    partial: Annotated[bool, typer.Option("--partial", help="Compare --limit runs too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compare two backbones on the same validation images."""
    from densebench import api
    from densebench.host.screen import Console
    from densebench.records.called import DEFAULT_RESULTS
    from densebench.report.formats.terminal import pair_tables

    pair = api.compare(first, second, task, variant, results or DEFAULT_RESULTS, partial)
    if as_json:
        print(json.dumps(pair.to_json(), indent=1))
        return
    console = Console()
    for table in pair_tables(pair):
        console.print(table)
