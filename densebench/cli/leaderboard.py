"""`densebench leaderboard`: pages made of the records."""

from pathlib import Path
from typing import Annotated

import typer

from densebench.cli.app import app
from densebench.cli.options import ResultsFolder


@app.command()
def leaderboard(
    results: ResultsFolder = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write [README.md beside the records' folder].")
    ] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Show --limit runs too.")] = False,
) -> None:
    """Write the markdown leaderboard of all records."""
    from densebench.report.leaderboard import write_leaderboard
    from densebench.results import DEFAULT_RESULTS

    folder = results or DEFAULT_RESULTS
    page = out or folder.parent / "README.md"
    tables = write_leaderboard(folder, page, partial)
    print(f"{tables} table{'s' * (tables != 1)} in {page}")
