"""`densebench reproduce`: a published table, ours beside it."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from densebench.cli.app import app
from densebench.cli.options import Device, Offline, ResultsFolder
from densebench.host.console import clean_stdout
from densebench.host.errors import DensebenchError

if TYPE_CHECKING:
    from densebench.report.board.reproduced import Reproduction


@app.command()
def reproduce(
    suite: Annotated[
        str, typer.Argument(help="A suite's name, such as neco-voc, or a suite card's path.")
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the rows and what they lack; run nothing.")
    ] = False,
    available: Annotated[
        bool, typer.Option("--available", help="Run the rows that can be, in spite of the others.")
    ] = False,
    data_root: Annotated[Path | None, typer.Option(help="Where the datasets lie.")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    device: Device = "auto",
    batch_size: Annotated[int, typer.Option(min=1, help="Images through the backbone.")] = 16,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes that read images [8 with a GPU, else 0].")
    ] = None,
    results: ResultsFolder = None,
    offline: Offline = False,
    markdown: Annotated[Path | None, typer.Option(help="Write the table as a page.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone.")] = False,
) -> None:
    """Run every row of a published table, and set ours beside the published numbers.

    The rules are those of the task cards, variant reference. A run whose record exists is read, so
    that the same command goes on after an interruption.
    """
    with clean_stdout() as stdout:
        from densebench.host.progress import TerminalWatcher
        from densebench.host.terminal import Console
        from densebench.papers.planned import plan_reproduction, run_reproduction
        from densebench.records.store import DEFAULT_RESULTS
        from densebench.report.formats import reproduction
        from densebench.run.options import RunOptions

        if markdown is not None:
            reproduction.check_page(markdown)  # not found out hours later
        base = RunOptions(
            backbone="",
            task="",
            data_root=data_root,
            seed=seed,
            device=device,
            batch_size=batch_size,
            workers=workers,
            results=results or DEFAULT_RESULTS,
            offline=offline,
        )
        found = plan_reproduction(suite, base)
        _tell_missing(found)
        if not dry_run:
            _check_complete(found, available)
            found = run_reproduction(found, base, TerminalWatcher(Console(stderr=True)))
        if as_json:
            print(json.dumps(reproduction.reproduction_json(found), indent=1), file=stdout)
        else:
            console = Console(file=stdout)
            console.print(f"{found.suite}: {found.description}. Published: {found.source}.")
            for table in reproduction.reproduction_tables(found):
                console.print(table)
            console.print(reproduction.meaning(found.rows))
        if markdown is not None:
            reproduction.write_page(found, markdown)
    failed = sum(bool(row.failed) for row in found.rows)
    if failed:
        raise DensebenchError(f"{failed} of {len(found.rows)} runs failed, as said above")


def _tell_missing(found: "Reproduction") -> None:
    """A line for each thing that must be got first, with the command that gets it."""
    for missing, rows in found.missing().items():
        print(f"missing for {rows} of {len(found.rows)} rows: {missing}", file=sys.stderr)


def _check_complete(found: "Reproduction", available: bool) -> None:
    lacking = sum(bool(row.missing) for row in found.rows)
    if lacking and not available:
        raise DensebenchError(
            f"{lacking} of {len(found.rows)} rows of {found.suite} lack data or weights, as said "
            "above; get them, or run the others with --available"
        )
    if lacking == len(found.rows):
        raise DensebenchError(
            f"no row of {found.suite} can be run: each lacks data or weights, as said above"
        )
