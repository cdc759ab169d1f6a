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
    """Score the two baselines on the embedded scenes: a first leaderboard in two minutes."""
    with clean_stdout() as stdout:
        from densebench.demo import run_demo
        from densebench.host.progress import TerminalWatcher
        from densebench.host.screen import Console

        made = run_demo(out, TerminalWatcher(Console(stderr=True)))
        print(made.page.read_text(encoding="utf-8"), file=stdout)
        print(f"leaderboard: {made.page}\npicture: {made.picture}", file=stdout)
