"""`densebench layers`: the score of every layer of a backbone."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from densebench.cli.app import app
from densebench.cli.shared import (
    AllowNondeterministic,
    AsJson,
    BackboneName,
    BatchSize,
    DataRoot,
    Deterministic,
    Device,
    Limit,
    Offline,
    Overrides,
    Overwrite,
    PrecisionName,
    ResultsFolder,
    Seed,
    SkipBad,
    Subset,
    SubsetSeed,
    TrainList,
    ValList,
    Variant,
    WeightsFile,
    Workers,
    check_choices,
    layer_numbers,
    overrides,
    refuse_many_processes,
)
from densebench.host.console import clean_stdout

ALL = "all"
TaskName = Annotated[str, typer.Option("--task", help="A task card's name or path.")]
WantedLayers = Annotated[
    str, typer.Option("--layers", metavar="all|N,N,...", help="Which blocks, counted from 0.")
]
KeptAs = Annotated[str, typer.Option("--cache", help="Keep extracted features as fp32 or fp16.")]
Drawing = Annotated[Path | None, typer.Option("--svg", help="Draw the scores by depth there.")]


@app.command()
def layers(
    backbone: BackboneName,
    task: TaskName,
    layers: WantedLayers = ALL,
    variant: Variant = "reference",
    param: Overrides = None,
    weights: WeightsFile = None,
    data_root: DataRoot = None,
    train_list: TrainList = None,
    val_list: ValList = None,
    subset: Subset = None,
    subset_seed: SubsetSeed = 42,
    limit: Limit = None,
    seed: Seed = 0,
    device: Device = "auto",
    batch_size: BatchSize = 16,
    workers: Workers = None,
    precision: PrecisionName = "fp32",
    results: ResultsFolder = None,
    overwrite: Overwrite = False,
    skip_bad: SkipBad = False,
    cache: KeptAs = "fp32",
    offline: Offline = False,
    allow_nondeterministic: AllowNondeterministic = False,
    deterministic: Deterministic = False,
    svg: Drawing = None,
    as_json: AsJson = False,
) -> None:
    """Score every layer of a backbone, whose features are extracted in one pass.

    Each layer is an ordinary run, the one of `densebench run --layers N`: the same command goes on
    after an interruption.
    """
    asked = locals()
    refuse_many_processes("layers")
    check_choices(precision, cache)
    _score(asked, overrides(param), None if layers == ALL else layer_numbers(layers))


def _score(asked: dict[str, Any], params: dict[str, Any], wanted: tuple[int, ...] | None) -> None:
    ours = {"layers", "param", "svg", "as_json"}
    given = {name: value for name, value in asked.items() if name not in ours and value is not None}
    svg: Path | None = asked["svg"]
    with clean_stdout() as stdout:
        from densebench import api
        from densebench.files.atomic import require_writable, write_atomically
        from densebench.host.progress import TerminalWatcher
        from densebench.host.screen import Console
        from densebench.report.formats import by_depth
        from densebench.run.options import RunOptions

        if svg is not None:
            require_writable(svg.parent)
        options = RunOptions(**given, params=params)
        found = api.evaluate_layers(options, wanted, TerminalWatcher(Console(stderr=True)))
        if svg is not None:
            write_atomically(svg, by_depth.depth_drawing([record for record, _ in found]))
        if as_json := asked["as_json"]:
            print(json.dumps(by_depth.depth_values(found), indent=1), file=stdout)
        else:
            Console(file=stdout).print(by_depth.depth_table([record for record, _ in found]))
        if svg is not None and not as_json:
            print(f"drawn: {svg}", file=stdout)
