"""`densebench sweep`: many runs at once, here or on a cluster."""

import json
import shlex
import sys
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from densebench.cli.app import Group, app
from densebench.cli.shared import (
    AllowNondeterministic,
    AsJson,
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
    SavePanels,
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
    refuse_many_processes,
    wanted_seeds,
)
from densebench.host.console import clean_stdout, visible
from densebench.host.errors import DensebenchError

if TYPE_CHECKING:
    from densebench.host.watcher import Watcher
    from densebench.run.options import RunOptions
    from densebench.run.sweep.driver import RunState
    from densebench.run.sweep.estimates import Estimate
    from densebench.run.sweep.places import Place
    from densebench.run.sweep.states import Sweep

sweep = typer.Typer(cls=Group, invoke_without_command=True)
app.add_typer(sweep, name="sweep")

USUAL = Path("sweep")
On = Annotated[
    str,
    typer.Option(
        metavar="PLACE", help="local:N, so many jobs at a time here; or slurm:KEY=VALUE,..."
    ),
]
OnAgain = Annotated[
    str | None, typer.Option("--on", metavar="PLACE", help="Another place than before.")
]
Folder = Annotated[Path, typer.Option(help="Where the sweep keeps its plan, notes and logs.")]
ThatFolder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The sweep's folder.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print the plan with hours and bytes; start nothing.")
]
Failed = Annotated[bool, typer.Option("--failed", help="Also what failed.")]


@sweep.callback()
def start(
    context: typer.Context,
    backbone: Backbones = "",
    task: Tasks = "",
    on: On = "local:1",
    folder: Folder = USUAL,
    dry_run: DryRun = False,
    variant: Variant = "reference",
    param: Overrides = None,
    weights: WeightsFile = None,
    random_weights: RandomWeights = None,
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
    as_json: AsJson = False,
) -> None:
    """Evaluate many backbones on many tasks at once, here or on a Slurm cluster.

    A job is a backbone on one dataset's images. The same command goes on after an interruption.
    """
    asked = locals()
    if context.invoked_subcommand is not None:
        return
    refuse_many_processes("sweep")
    check_choices(precision, cache)
    _want(backbone=backbone, task=task)
    given = {name: asked[name] for name in _run_options() & asked.keys()}
    options = {**given, "params": overrides(param), "panels": save_panels}
    options["layers"] = layer_numbers(layers)
    if results is None:
        options.pop("results")
    parts = names("backbones", backbone), names("tasks", task)
    _start(*parts, seeds, options, on, folder, dry_run, as_json)


def _run_options() -> set[str]:
    from densebench.run.options import RunOptions

    return {option.name for option in fields(RunOptions)} - {"backbone", "task"}


def _want(**given: str) -> None:
    for option, value in given.items():
        if not value:
            raise DensebenchError(f"densebench sweep wants --{option}; or status, or resume")


def _start(
    backbones: list[str],
    tasks: list[str],
    seeds: str,
    options: dict[str, Any],
    on: str,
    folder: Path,
    dry_run: bool,
    as_json: bool,
) -> None:
    with clean_stdout() as stdout:
        from densebench.run.jobs import wanted_runs
        from densebench.run.options import RunOptions
        from densebench.run.sweep.driver import plan_sweep
        from densebench.run.sweep.driver import start as start_sweep
        from densebench.run.sweep.places import read_place

        place = read_place(on)
        many, subset_seeds = wanted_seeds(tasks, seeds, options)
        base = RunOptions(backbones[0], tasks[0], **options)
        planned = plan_sweep(wanted_runs(base, backbones, tasks, many, subset_seeds), place)
        if dry_run:
            _show_plan(planned, place, as_json, stdout)
            return
        found = start_sweep(folder, planned, on, _watcher())
        _show(found, as_json, stdout)
    _tell_rest(found, folder)


@sweep.command()
def status(folder: ThatFolder = USUAL, as_json: AsJson = False) -> None:
    """Tell what has become of each run."""
    with clean_stdout() as stdout:
        from densebench.run.sweep.driver import states

        _show(states(folder), as_json, stdout)


@sweep.command()
def resume(
    folder: ThatFolder = USUAL,
    on: OnAgain = None,
    failed: Failed = False,
    as_json: AsJson = False,
) -> None:
    """Start what is missing, where it was started before, or on another place."""
    with clean_stdout() as stdout:
        from densebench.run.sweep.driver import resume as go_on

        found = go_on(folder, on, failed, _watcher())
        _show(found, as_json, stdout)
    _tell_rest(found, folder)


def _watcher() -> "Watcher":
    from densebench.host.progress import TerminalWatcher
    from densebench.host.screen import Console

    return TerminalWatcher(Console(stderr=True))


def _tell_rest(found: "list[RunState]", folder: Path) -> None:
    """Where to look while a cluster works; else, what has no record is an error."""
    states = [state.state for state in found]
    if {"waiting", "running"} & set(states):
        print(f"densebench sweep status {shlex.quote(str(folder))} tells more", file=sys.stderr)
        return
    left = len(states) - states.count("done")
    if left:
        raise DensebenchError(f"{left} of {len(states)} runs have no record, as said above")


def _show(found: "list[RunState]", as_json: bool, stdout: TextIO) -> None:
    from rich.markup import escape
    from rich.table import Table

    from densebench.host.screen import Console
    from densebench.run.apart import words
    from densebench.run.sweep.driver import summary

    if as_json:
        rows = [{"state": s.state, "job": s.job, **_which(s.run), "told": s.told} for s in found]
        print(json.dumps(rows, indent=1), file=stdout)
        return
    table = Table(title=summary(found), title_justify="left")
    for column in ("run", "state", "record, log or reason"):
        table.add_column(column, overflow="fold")
    here = f"{Path.cwd()}/"
    for state in found:
        table.add_row(words(state.run), state.state, escape(visible(state.told.removeprefix(here))))
    Console(file=stdout).print(table)


def _which(run: "RunOptions") -> dict[str, Any]:
    names = ("backbone", "task", "variant", "seed", "subset", "subset_seed")
    return {name: getattr(run, name) for name in names}


def _show_plan(planned: "Sweep", place: "Place", as_json: bool, stdout: TextIO) -> None:
    """Job by job, with what each run will take."""
    from rich.markup import escape
    from rich.table import Table

    from densebench.host.screen import Console
    from densebench.run.apart import words
    from densebench.run.sweep.estimates import estimates, total

    runs = [(number, run) for number, job in enumerate(planned.jobs, 1) for run in job]
    found = estimates([run for _, run in runs])
    if as_json:
        rows = [
            {"job": number, **_which(run), **asdict(estimate)}
            for (number, run), estimate in zip(runs, found, strict=True)
        ]
        print(json.dumps(rows, indent=1), file=stdout)
        return
    table = Table(title=f"{len(runs)} runs in {len(planned.jobs)} jobs on {place.kind}")
    table.title_justify = "left"
    for column in ("job", "run", "images", "hours", "features", "memory"):
        table.add_column(column, overflow="fold")
    for (number, run), estimate in zip(runs, found, strict=True):
        table.add_row(str(number), words(run), *_cells(estimate))
    table.add_row("", "all that is known", *_cells(total(found)), end_section=True)
    told = dict.fromkeys(e.unknown for e in found if e.unknown)
    devices = dict.fromkeys(e.device for e in found if e.device)
    lines = [f"hours: of the backbone alone, on {', '.join(devices)}"] if devices else []
    table.caption, table.caption_justify = (
        "\n".join([*lines, *(escape(visible(line)) for line in told)]) or None,
        "left",
    )
    Console(file=stdout).print(table)


def _cells(estimate: "Estimate") -> tuple[str, str, str, str]:
    from densebench.host.memory import gigabytes

    def shown(value: int | None) -> str:
        return "?" if value is None else gigabytes(value)

    return (
        "?" if estimate.images is None else f"{estimate.images:,}",
        "?" if estimate.hours is None else f"{estimate.hours:.2g}",
        shown(estimate.features),
        shown(estimate.memory),
    )
