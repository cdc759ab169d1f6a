"""`densebench ladder`: one backbone by every protocol, and what each difference is worth."""

from pathlib import Path
from typing import Annotated

import typer

from densebench.cli.app import app
from densebench.cli.shared import (
    AsJson,
    BackboneName,
    BatchSize,
    DataRoot,
    Device,
    Layers,
    Limit,
    Offline,
    ResultsFolder,
    Seed,
    WeightsFile,
    Workers,
    layer_numbers,
    refuse_many_processes,
)
from densebench.host.console import clean_stdout
from densebench.host.errors import DensebenchError

LadderName = Annotated[
    str, typer.Option("--dataset", help="A dataset that has a ladder, or a ladder card's path.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show the rungs and what is known of them; run nothing.")
]
Until = Annotated[str, typer.Option(help="The last rung to run; those after it are only read.")]
Names = Annotated[Path | None, typer.Option(help="A list of names instead of the dataset's own.")]


@app.command()
def ladder(
    backbone: BackboneName,
    dataset: LadderName,
    dry_run: DryRun = False,
    until: Until = "",
    weights: WeightsFile = None,
    layers: Layers = None,
    data_root: DataRoot = None,
    train_list: Names = None,
    val_list: Names = None,
    limit: Limit = None,
    seed: Seed = 0,
    device: Device = "auto",
    batch_size: BatchSize = 16,
    workers: Workers = None,
    results: ResultsFolder = None,
    offline: Offline = False,
    as_json: AsJson = False,
) -> None:
    """Run a backbone by every protocol of a ladder, one change at a time.

    Every rung is an ordinary run: one whose record exists is read, so that the same command goes on
    after an interruption and computes nothing a second time.
    """
    refuse_many_processes("ladder")
    with clean_stdout() as stdout:
        from densebench import api
        from densebench.host.progress import TerminalWatcher
        from densebench.host.screen import Console
        from densebench.records.called import DEFAULT_RESULTS
        from densebench.report.formats.ladder_table import ladder_table
        from densebench.run.options import RunOptions

        base = RunOptions(
            backbone=backbone,
            task="",
            weights=weights,
            layers=layer_numbers(layers),
            data_root=data_root,
            train_list=train_list,
            val_list=val_list,
            limit=limit,
            seed=seed,
            device=device,
            batch_size=batch_size,
            workers=workers,
            results=results or DEFAULT_RESULTS,
            offline=offline,
        )
        found = api.ladder(dataset, base, dry_run, TerminalWatcher(Console(stderr=True)), until)
        if as_json:
            print(found.model_dump_json(indent=1), file=stdout)
        else:
            Console(file=stdout).print(ladder_table(found))
    failed = [rung for rung in found.rungs if rung.failed]
    if failed:
        raise DensebenchError(
            f"{len(failed)} of {len(found.rungs)} rungs failed, the first "
            f"({failed[0].name}): {failed[0].failed}"
        )
