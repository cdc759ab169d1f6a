"""`densebench run`: evaluate backbones on tasks."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from densebench.cli.app import app
from densebench.cli.shared import (
    AllowNondeterministic,
    AsRecord,
    Backbones,
    BatchSize,
    CacheName,
    DataRoot,
    Deterministic,
    Device,
    Layers,
    Limit,
    Offline,
    Overrides,
    Overwrite,
    PrecisionName,
    RandomWeights,
    ResultsFolder,
    RowName,
    SavePanels,
    SearchEngineName,
    Seed,
    Seeds,
    SkipBad,
    Subset,
    SubsetSeed,
    Tasks,
    TrainList,
    ValList,
    Variant,
    WeightsFile,
    Workers,
    check_choices,
    layer_numbers,
    names,
    overrides,
    wanted_seeds,
)
from densebench.host.console import clean_stdout
from densebench.host.errors import DensebenchError
from densebench.host.gpus import usable_gpus
from densebench.host.ranks import is_main_process, process_count

if TYPE_CHECKING:
    from densebench.host.watcher import Watcher
    from densebench.records.schema import RunRecord
    from densebench.run.options import RunOptions


READ_HERE = {"backbone", "task", "param", "seeds", "results", "save_panels", "as_json"}


@app.command()
def run(
    backbone: Backbones,
    task: Tasks,
    variant: Variant = "reference",
    param: Overrides = None,
    weights: WeightsFile = None,
    random_weights: RandomWeights = None,
    name: RowName = None,
    layers: Layers = None,
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
    deterministic: Deterministic = False,
    search_engine: SearchEngineName = "auto",
    as_json: AsRecord = False,
) -> None:
    """Evaluate a backbone on a task, and record the result; or many on many."""
    asked = locals()
    check_choices(precision, cache, search_engine)
    options: dict[str, Any] = {key: value for key, value in asked.items() if key not in READ_HERE}
    options |= {"params": overrides(param), "panels": save_panels, "layers": layer_numbers(layers)}
    if results is not None:
        options["results"] = results
    _run_all(names("backbones", backbone), names("tasks", task), seeds, options, as_json)


def _run_all(
    backbones: list[str], tasks: list[str], seeds: str, options: dict[str, Any], as_json: bool
) -> None:
    """Every backbone on every task with every seed; of the subset's, the published ones."""
    if options["name"] is not None and len(backbones) > 1:
        raise DensebenchError(f"--name: is of one backbone's row, and {len(backbones)} are named")
    many, subset_seeds = wanted_seeds(tasks, seeds, options)
    if subset_seeds is None and len(backbones) * len(tasks) * len(many) == 1:
        _run_one(backbones[0], tasks[0], options, as_json)
    else:
        _run_many(backbones, tasks, many, options, as_json, subset_seeds)


def _run_one(backbone: str, task: str, options: dict[str, Any], as_json: bool) -> None:
    with clean_stdout() as stdout:
        from densebench.host.progress import TerminalWatcher
        from densebench.host.screen import Console
        from densebench.report.formats.terminal import record_table
        from densebench.run.options import RunOptions

        watcher = TerminalWatcher(Console(stderr=True))
        record, path = _done(RunOptions(backbone, task, **options), watcher)
        if not is_main_process():
            return
        if as_json:
            print(record.model_dump_json(indent=1), file=stdout)
            return
        console = Console(file=stdout)
        console.print(record_table(record))
        console.print(f"record: {path}", highlight=False, soft_wrap=True)


def _done(options: "RunOptions", watcher: "Watcher") -> "tuple[RunRecord, Path]":
    """By this process, or by one for each of several GPUs."""
    if process_count() > 1 or len(usable_gpus(options.device)) < 2:
        from densebench.api import evaluate_run

        return evaluate_run(options, watcher)
    from densebench.run.jobs import work

    (outcome,) = work([options], watcher)
    if outcome.interrupted:
        raise KeyboardInterrupt
    if outcome.record is None or outcome.path is None:
        raise DensebenchError(outcome.reason)
    return outcome.record, outcome.path


def _run_many(
    backbones: list[str],
    tasks: list[str],
    seeds: range,
    options: dict[str, Any],
    as_json: bool,
    subset_seeds: tuple[int, ...] | None,
) -> None:
    if process_count() > 1:
        raise DensebenchError(
            f"torchrun started {process_count()} processes for one run, and these are several "
            "runs; start them with `densebench run`"
        )
    with clean_stdout() as stdout:
        from densebench.host.progress import TerminalWatcher
        from densebench.host.screen import Console
        from densebench.run.jobs import check_names
        from densebench.run.matrix import matrix_table, run_matrix
        from densebench.run.options import RunOptions

        watcher = TerminalWatcher(Console(stderr=True))
        count = len(backbones) * len(tasks) * len(seeds) * len(subset_seeds or (None,))
        watcher.say(f"{count} runs; their names are looked up first")  # which imports torch
        check_names(backbones, tasks)
        base = RunOptions(backbones[0], tasks[0], **options)
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
