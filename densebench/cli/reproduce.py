"""`densebench reproduce`: a published table, ours beside it."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from densebench.cli.app import app
from densebench.cli.shared import AsJson, BatchSize, Device, Offline, ResultsFolder, Seed, Workers
from densebench.host.console import clean_stdout
from densebench.host.errors import DensebenchError

if TYPE_CHECKING:
    from densebench.report.board.reproduced import Reproduction


SuiteName = Annotated[
    str, typer.Argument(help="A suite's name, such as neco-voc, or a suite card's path.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show the rows and what they lack; run nothing.")
]
Available = Annotated[
    bool, typer.Option("--available", help="Run the rows that can be, in spite of the others.")
]
AllData = Annotated[Path | None, typer.Option(help="Where the datasets lie.")]
MarkdownPage = Annotated[Path | None, typer.Option(help="Write the table as a page.")]


@app.command()
def reproduce(
    suite: SuiteName,
    dry_run: DryRun = False,
    available: Available = False,
    data_root: AllData = None,
    seed: Seed = 0,
    device: Device = "auto",
    batch_size: BatchSize = 16,
    workers: Workers = None,
    results: ResultsFolder = None,
    offline: Offline = False,
    markdown: MarkdownPage = None,
    as_json: AsJson = False,
) -> None:
    """Run every row of a published table, and set ours beside the published numbers.

    The rules are those of the task cards, variant reference. A run whose record exists is read, so
    that the same command goes on after an interruption.
    """
    with clean_stdout() as stdout:
        from densebench.host.progress import TerminalWatcher
        from densebench.host.screen import Console
        from densebench.papers.planned import plan_reproduction, run_reproduction
        from densebench.records.called import DEFAULT_RESULTS
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
        _show(found, as_json, stdout)
        if markdown is not None:
            reproduction.write_page(found, markdown)
    failed = sum(bool(row.failed) for row in found.rows)
    if failed:
        raise DensebenchError(f"{failed} of {len(found.rows)} runs failed, as said above")


def _show(found: "Reproduction", as_json: bool, stdout: TextIO) -> None:
    from densebench.host.screen import Console
    from densebench.report.formats import reproduction

    if as_json:
        print(json.dumps(reproduction.reproduction_json(found), indent=1), file=stdout)
        return
    console = Console(file=stdout)
    console.print(f"{found.suite}: {found.description}. Published: {found.source}.", markup=False)
    for table in reproduction.reproduction_tables(found):
        console.print(table)
    console.print(reproduction.meaning(found.rows), markup=False)


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
