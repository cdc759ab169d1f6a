"""`densebench leaderboard`: pages made of the records."""

from pathlib import Path
from typing import Annotated

import typer

from densebench.cli.app import app
from densebench.cli.options import ResultsFolder
from densebench.errors import DensebenchError


@app.command()
def leaderboard(
    results: ResultsFolder = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write [README.md beside the records' folder].")
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(help="Write one self-contained page instead, for a browser."),
    ] = None,
    no_images: Annotated[
        bool,
        typer.Option("--no-images", help="Leave out of the page all that shows dataset images."),
    ] = False,
    partial: Annotated[bool, typer.Option("--partial", help="Show --limit runs too.")] = False,
) -> None:
    """Write the leaderboard of all records: markdown, or a page for a browser."""
    from densebench.report.html import write_page
    from densebench.report.leaderboard import write_leaderboard
    from densebench.results import DEFAULT_RESULTS

    if no_images and html is None:
        raise DensebenchError("--no-images is about the page that --html FILE writes")
    folder = results or DEFAULT_RESULTS
    if html is not None:
        tables = write_page(folder, html, partial, images=not no_images)
        print(f"{tables} table{'s' * (tables != 1)} in {html}")
    if html is None or out is not None:
        page = out or folder.parent / "README.md"
        tables = write_leaderboard(folder, page, partial)
        print(f"{tables} table{'s' * (tables != 1)} in {page}")
