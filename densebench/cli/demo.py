"""`densebench demo`: a first result without data or weights."""

from pathlib import Path
from typing import Annotated

import typer

from densebench.cli.app import app
from densebench.host.console import clean_stdout


@app.command()
def demo(
    out: Annotated[
        Path, typer.Option(help="Folder for the records, the leaderboard and the picture.")
    ] = Path("densebench-demo"),
) -> None:
    """Score baselines, post-train one with NeCo, score it again: a first board in two minutes.

    On the embedded scenes: nothing is downloaded, neither data nor weights.
    """
    with clean_stdout() as stdout:
        from densebench.demo import run_demo
        from densebench.host.progress import TerminalWatcher
        from densebench.host.screen import Console
        from densebench.report.formats.terminal import board_table

        made = run_demo(out, TerminalWatcher(Console(stderr=True)))
        console = Console(file=stdout)
        for table in made.board.tables:
            console.print(board_table(table))
        print(f"the same in markdown: {made.markdown}\npicture: {made.picture}", file=stdout)
        print(f"page, for a browser: {made.page.resolve().as_uri()}", file=stdout)
