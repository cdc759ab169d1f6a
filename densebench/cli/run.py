"""`densebench run`: evaluate backbones on tasks."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from densebench.cli.app import app
from densebench.cli.shared import (
    AsRecord,
    BatchSize,
    DataRoot,
    Device,
    Offline,
    ResultsFolder,
    Seed,
    WeightsFile,
    Workers,
    names,
    one_of,
    overrides,
    refuse_many_processes,
)
from densebench.host.console import clean_stdout
from densebench.host.errors import DensebenchError

DEFAULT_SUBSET_SEED = 42
PUBLISHED = "published"
MOST_SEEDS = 1000

Backbones = Annotated[
    str,
    typer.Option(
        help="A card's name or path, timm:ID, open_clip:ARCH/TAG or FILE.py:FUNCTION; "
        "or several: a pattern such as 'dinov2_*', names with commas, or suite:NAME."
    ),
]
Tasks = Annotated[str, typer.Option(help="A task card's name or path, or several, likewise.")]
Variant = Annotated[
    str, typer.Option(help="reference (as published), clean (without quirks); linear: cached.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a parameter of the task card."),
]
TrainList = Annotated[
    Path | None, typer.Option(help="Names of the training images: a file or a list's name.")
]
ValList = Annotated[
    Path | None, typer.Option(help="Names of the validation images: a file or a list's name.")
]
Subset = Annotated[
    str | None,
    typer.Option(
        metavar="1/N|own:1/N",
        help="Only a published part of the training images, or a seeded share of them.",
    ),
]
SubsetSeed = Annotated[
    int | None, typer.Option(min=0, help="Which part; seeded shares are nested [42].")
]
Limit = Annotated[
    int | None, typer.Option(help="Images of each split; marks the record as partial.")
]
Seeds = Annotated[
    str,
    typer.Option(
        metavar="N|published",
        help="Run that many, from --seed on; or the five published subset seeds.",
    ),
]
PrecisionName = Annotated[str, typer.Option(help="fp32, tf32, bf16 or fp16 (of the backbone).")]
Overwrite = Annotated[bool, typer.Option(help="Repeat a run whose record exists.")]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Leave unreadable images out, and record them.")
]
SavePanels = Annotated[
    int, typer.Option(min=0, help="Keep the label maps of this many validation images.")
]
CacheName = Annotated[str, typer.Option(help="Keep extracted features as fp32 or fp16, or off.")]
AllowNondeterministic = Annotated[
    bool,
    typer.Option(
        "--allow-nondeterministic",
        help="Evaluate a backbone whose features are others at every pass, and say so.",
    ),
]


@app.command()
def run(
    backbone: Backbones,
    task: Tasks,
    variant: Variant = "reference",
    param: Overrides = None,
    weights: WeightsFile = None,
    data_root: DataRoot = None,
    train_list: TrainList = None,
    val_list: ValList = None,
    subset: Subset = None,
    subset_seed: SubsetSeed = None,
    limit: Limit = None,
    seed: Seed = 0,
    seeds: Seeds = "1",
    device: Device = "auto",
    batch_size: BatchSize = 16,
    workers: Workers = None,
    precision: PrecisionName = "fp32",
    results: ResultsFolder = None,
    overwrite: Overwrite = False,
    skip_bad: SkipBad = False,
    save_panels: SavePanels = 0,
    cache: CacheName = "fp32",
    offline: Offline = False,
    allow_nondeterministic: AllowNondeterministic = False,
    as_json: AsRecord = False,
) -> None:
    """Evaluate a backbone on a task, and record the result; or many on many."""
    refuse_many_processes("run")
    one_of("--precision", precision, ("fp32", "tf32", "bf16", "fp16"))
    one_of("--cache", cache, ("fp32", "fp16", "off"))
    options: dict[str, Any] = {
        "variant": variant,
        "params": overrides(param),
        "weights": weights,
        "data_root": data_root,
        "train_list": train_list,
        "val_list": val_list,
        "subset": subset,
        "subset_seed": subset_seed,
        "limit": limit,
        "seed": seed,
        "device": device,
        "batch_size": batch_size,
        "workers": workers,
        "precision": precision,
        "overwrite": overwrite,
        "skip_bad": skip_bad,
        "panels": save_panels,
        "cache": cache,
        "offline": offline,
        "allow_nondeterministic": allow_nondeterministic,
    }
    if results is not None:
        options["results"] = results
    _run_seeds(names("backbones", backbone), names("tasks", task), seeds, options, as_json)


def _run_seeds(
    backbones: list[str], tasks: list[str], seeds: str, options: dict[str, Any], as_json: bool
) -> None:
    """Every backbone on every task with every seed; of the subset's, the published ones."""
    seed, subset_seed = options["seed"], options["subset_seed"]
    options["subset_seed"] = DEFAULT_SUBSET_SEED if subset_seed is None else subset_seed
    if seeds == PUBLISHED:
        subset_seeds = _published_seeds(tasks, options["subset"], subset_seed)
        _run_many(backbones, tasks, range(seed, seed + 1), options, as_json, subset_seeds)
        return
    count = _count(seeds)
    if len(backbones) * len(tasks) * count == 1:
        _run_one(backbones[0], tasks[0], options, as_json)
    else:
        _run_many(backbones, tasks, range(seed, seed + count), options, as_json)


def _check_names(backbones: list[str], tasks: list[str]) -> None:
    """Nothing, if every name stands for something; found out before the first run, not between."""
    from densebench.backbones import card_for, plugin
    from densebench.cards import find_task

    for backbone in backbones:
        if card_for(backbone) is None:
            plugin.find_plugin(backbone)
    for task in tasks:
        find_task(task)


def _count(seeds: str) -> int:
    is_number = seeds.isascii() and seeds.isdecimal() and len(seeds) <= len(str(MOST_SEEDS))
    if not (is_number and 1 <= int(seeds) <= MOST_SEEDS):
        raise DensebenchError(
            f"--seeds wants a number from 1 to {MOST_SEEDS}, or {PUBLISHED}, not '{seeds:.20}'"
        )
    return int(seeds)


def _published_seeds(
    tasks: list[str], subset: str | None, subset_seed: int | None
) -> tuple[int, ...]:
    """The published subset seeds, once every task is seen to have the subset with each of them."""
    from densebench.cards import find_task
    from densebench.datasets.published_lists import SUBSET_SEEDS
    from densebench.datasets.shares import check_share

    if subset is None or subset_seed is not None:
        raise DensebenchError(
            f"--seeds {PUBLISHED} runs the subset seeds {', '.join(map(str, SUBSET_SEEDS))}: "
            "give it a --subset, such as 1/128, and no --subset-seed"
        )
    for task in tasks:
        for seed in SUBSET_SEEDS:
            check_share(find_task(task).card.dataset.kind, subset, seed)
    return SUBSET_SEEDS


def _run_one(backbone: str, task: str, options: dict[str, Any], as_json: bool) -> None:
    with clean_stdout() as stdout:
        from densebench.api import evaluate
        from densebench.host.progress import TerminalWatcher
        from densebench.host.screen import Console
        from densebench.report.formats.terminal import record_table
        from densebench.run.options import RunOptions

        watcher = TerminalWatcher(Console(stderr=True))
        record, path = evaluate(RunOptions(backbone, task, **options), watcher)
        if as_json:
            print(record.model_dump_json(indent=1), file=stdout)
            return
        console = Console(file=stdout)
        console.print(record_table(record))
        console.print(f"record: {path}", highlight=False, soft_wrap=True)


def _run_many(
    backbones: list[str],
    tasks: list[str],
    seeds: range,
    options: dict[str, Any],
    as_json: bool,
    subset_seeds: tuple[int, ...] | None = None,
) -> None:
    with clean_stdout() as stdout:
        from densebench.host.progress import TerminalWatcher
        from densebench.host.screen import Console
        from densebench.run.matrix import matrix_table, run_matrix
        from densebench.run.options import RunOptions

        _check_names(backbones, tasks)
        base = RunOptions(backbones[0], tasks[0], **options)
        watcher = TerminalWatcher(Console(stderr=True))
        outcomes = run_matrix(base, backbones, tasks, seeds, watcher, subset_seeds)
        if as_json:
            records = [o.record.model_dump(mode="json") for o in outcomes if o.record is not None]
            print(json.dumps(records, indent=1), file=stdout)
        else:
            Console(file=stdout).print(matrix_table(outcomes))
    failed = [outcome for outcome in outcomes if outcome.record is None]
    for outcome in failed:
        print(f"{outcome.run}: {outcome.reason}", file=sys.stderr)
    if failed:
        raise DensebenchError(f"{len(failed)} of {len(outcomes)} runs failed, as said above")
