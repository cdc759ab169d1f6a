"""`densebench profile`: how fast and how large a backbone is."""

from pathlib import Path
from typing import Annotated, Any

import typer

from densebench.cli.app import app
from densebench.cli.shared import (
    AsRecord,
    BackboneName,
    BatchSize,
    Device,
    Offline,
    RandomWeights,
    ResultsFolder,
    WeightsFile,
    one_of,
)
from densebench.host.console import clean_stdout


@app.command()
def profile(
    backbone: BackboneName,
    task: Annotated[str | None, typer.Option(help="Measure at the input size of a task.")] = None,
    size: Annotated[
        int | None, typer.Option(min=1, help="Side of the input [largest multiple below 519].")
    ] = None,
    batch_size: BatchSize = 16,
    weights: WeightsFile = None,
    random_weights: RandomWeights = None,
    device: Device = "auto",
    precision: Annotated[str, typer.Option(help="fp32, bf16 or fp16.")] = "fp32",
    results: ResultsFolder = None,
    offline: Offline = False,
    as_json: AsRecord = False,
) -> None:
    """Measure images per second, latency, memory and operations, and record them."""
    one_of("--precision", precision, ("fp32", "bf16", "fp16"))
    place: dict[str, Path] = {} if results is None else {"results": results}
    options: dict[str, Any] = {
        "task": task,
        "size": size,
        "weights": weights,
        "random_weights": random_weights,
        "device": device,
        "batch_size": batch_size,
        "precision": precision,
        "offline": offline,
        **place,
    }
    with clean_stdout() as stdout:
        from densebench import api
        from densebench.host.progress import TerminalWatcher
        from densebench.host.screen import Console
        from densebench.report.formats.terminal import profile_table
        from densebench.run.profile import ProfileOptions

        watcher = TerminalWatcher(Console(stderr=True))
        record, path = api.profile(ProfileOptions(backbone, **options), watcher)
        if as_json:
            print(record.model_dump_json(indent=1), file=stdout)
            return
        console = Console(file=stdout)
        console.print(profile_table(record))
        console.print(f"record: {path}", highlight=False, soft_wrap=True)
