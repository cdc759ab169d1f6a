"""`densebench leaderboard`: pages made of the records."""

from pathlib import Path
from typing import Annotated

import typer

from densebench.cli.app import app
from densebench.cli.shared import ResultsFolder
from densebench.host.errors import DensebenchError


@app.command()
def leaderboard(
    results: ResultsFolder = None,
    out: Annotated[
        Path | None, typer.Option(help="Markdown file [README.md beside the records' folder].")
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Write comma-separated values.")] = None,
    latex: Annotated[Path | None, typer.Option(help="Write booktabs tables for a paper.")] = None,
    model_index: Annotated[
        str | None,
        typer.Option(metavar="BACKBONE", help="Print a Hugging Face model card's model-index."),
    ] = None,
    eval_results: Annotated[
        str | None,
        typer.Option(metavar="BACKBONE", help="Print a file for the hub's .eval_results folder."),
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write one self-contained page for a browser.")
    ] = None,
    no_images: Annotated[
        bool,
        typer.Option("--no-images", help="Leave out of the page all that shows dataset images."),
    ] = False,
    partial: Annotated[bool, typer.Option("--partial", help="Show --limit runs too.")] = False,
) -> None:
    """Write the leaderboard of all records: markdown, or what else is asked for."""
    from densebench.host.console import one_line
    from densebench.records.called import DEFAULT_RESULTS
    from densebench.report.board.board import load_board
    from densebench.report.formats import eval_results as hub
    from densebench.report.formats import model_index as metadata
    from densebench.report.outputs import check_outputs, write_formats

    if no_images and html is None:
        raise DensebenchError("--no-images is about the page that --html FILE writes")
    folder = results or DEFAULT_RESULTS
    wanted = {"markdown": out, "csv": csv, "latex": latex, "html": html}
    files = {name: file for name, file in wanted.items() if file is not None}
    printed = model_index is not None or eval_results is not None
    if not files and not printed:
        files = {"markdown": folder.parent / "README.md"}
    check_outputs(files)  # not found out a minute later
    board = load_board(folder, partial, lambda line: typer.echo(one_line(line), err=True))
    if model_index is not None:
        print(metadata.model_index(board, model_index), end="")
    if eval_results is not None:
        print(hub.eval_results(board, eval_results), end="")
    write_formats(board, files, images=not no_images)
    tables = f"{len(board.tables)} table{'s' * (len(board.tables) != 1)}"
    for file in files.values():
        typer.echo(f"{tables} in {file}", err=printed)
