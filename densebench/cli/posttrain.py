"""`densebench posttrain`: train a backbone with NeCo, and benchmark it again."""

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from densebench.cards import find_task
from densebench.cli.app import app
from densebench.cli.shared import (
    BackboneName,
    Deterministic,
    Device,
    Offline,
    RandomWeights,
    ResultsFolder,
    SkipBad,
    WeightsFile,
    names,
    overrides,
)
from densebench.host.console import INTERRUPTED, clean_stdout
from densebench.host.errors import DensebenchError
from densebench.host.watcher import Watcher

if TYPE_CHECKING:
    from densebench.posttrain.session import PosttrainOptions

EXAMPLE = "scenes_incontext"  # a task that needs no data

Images = Annotated[
    list[Path],
    typer.Option(help="A folder of images or a list of them, one path a line; repeatable."),
]
NewName = Annotated[str, typer.Option(help="What the new backbone is called from then on.")]
RecipeName = Annotated[
    str | None, typer.Option(help="A recipe's name or path [as published for the patch size].")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override the recipe: training.epochs=5, ..."),
]
OutFolder = Annotated[Path | None, typer.Option(help="Folder to write [posttrained/NAME].")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")]
Overwrite = Annotated[bool, typer.Option(help="Remove what the folder holds first.")]
ViewWorkers = Annotated[
    int | None, typer.Option(min=0, help="Processes that make views [8 with a GPU, else 0].")
]
TensorBoard = Annotated[bool, typer.Option("--tensorboard", help="Write TensorBoard's files too.")]
Then = Annotated[
    str | None,
    typer.Option(metavar="TASKS", help="Score base and new backbone on these, side by side."),
]
ThenRoot = Annotated[Path | None, typer.Option(help="Where the dataset of --then lies.")]
ThenLimit = Annotated[
    int | None, typer.Option(help="Images of each split for --then; marks records as partial.")
]


@app.command()
def posttrain(
    backbone: BackboneName,
    data: Images,
    name: NewName,
    recipe: RecipeName = None,
    param: Overrides = None,
    weights: WeightsFile = None,
    random_weights: RandomWeights = None,
    out: OutFolder = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    device: Device = "auto",
    workers: ViewWorkers = None,
    deterministic: Deterministic = False,
    tensorboard: TensorBoard = False,
    then: Then = None,
    data_root: ThenRoot = None,
    limit: ThenLimit = None,
    skip_bad: SkipBad = False,
    results: ResultsFolder = None,
    offline: Offline = False,
) -> None:
    """Train a backbone with NeCo on images without labels; under torchrun on several GPUs."""
    tasks = _tasks(then)
    _check_then(tasks, {"--data-root": data_root, "--limit": limit, "--results": results})
    with clean_stdout() as stdout:
        from densebench.host.progress import TerminalWatcher
        from densebench.host.ranks import is_main_process
        from densebench.host.screen import Console
        from densebench.posttrain.session import PosttrainOptions

        options = PosttrainOptions(
            backbone=backbone,
            data=tuple(data),
            name=name,
            weights=weights,
            random_weights=random_weights,
            recipe=recipe,
            overrides=overrides(param),
            out=out,
            device=device,
            workers=workers,
            resume=resume,
            overwrite=overwrite,
            tensorboard=tensorboard,
            offline=offline,
            skip_bad=skip_bad,
            deterministic=deterministic,
        )
        watcher = TerminalWatcher(Console(stderr=True))
        card = _trained(options, watcher, compares=bool(tasks))
        if not is_main_process():
            return
        print(f"{name}: {card}", file=stdout)
        if not tasks:
            watcher.say(_next(options, card))
            return
        from densebench.posttrain.afterwards import compared

        Console(file=stdout).print(compared(options, tasks, results, data_root, limit, watcher))


def _next(options: "PosttrainOptions", card: Path) -> str:
    """What one does with it: score it and what it began with, and compare the two."""
    base, name = options.backbone, options.name
    trained = name if options.register else str(card)
    row = Path(base).name.removesuffix(".toml")
    runs = [["--backbone", f"{base},{trained}"]]
    if options.weights is not None:  # which are the base's alone
        row = f"{row}@{options.weights.stem}"
        weights = ["--weights", str(options.weights)]
        runs = [["--backbone", base, *weights], ["--backbone", trained]]
    task = ["--task", EXAMPLE]
    lines = [["densebench", "run", *run, *task] for run in runs]
    lines += [["densebench", "compare", row, name, *task]]
    told = [f"  {shlex.join(line)}" for line in lines]
    return "\n".join(["next, on this or any other of `densebench list tasks`:", *told])


def _tasks(then: str | None) -> list[str]:
    """Those of --then, found before hours of training, not after."""
    found = names("tasks", then) if then else []
    for task in found:
        find_task(task)
    return found


def _trained(options: "PosttrainOptions", watcher: Watcher, compares: bool) -> Path:
    """The new card; told to stop, the process ends after saying how to go on."""
    from densebench import api
    from densebench.host.ranks import is_main_process
    from densebench.posttrain.trainer import InterruptedTrainingError

    if compares:
        from densebench.posttrain.afterwards import check_base

        check_base(options)
    try:
        return api.posttrain_run(options, watcher)
    except InterruptedTrainingError as stopped:
        if is_main_process():
            print(f"interrupted: {stopped}; go on with: {_resuming()}", file=sys.stderr)
        sys.exit(INTERRUPTED)


def _check_then(tasks: Sequence[str], options: Mapping[str, object]) -> None:
    """Nothing, unless options are given that only --then reads."""
    given = [name for name, value in options.items() if value is not None]
    if given and not tasks:
        raise DensebenchError(f"{', '.join(given)}: only for --then, which names tasks")


def _resuming() -> str:
    """The command that goes on where this one was."""
    processes = os.environ.get("LOCAL_WORLD_SIZE")
    started = ["torchrun", "--nproc-per-node", processes, "-m"] if processes else []
    given = [argument for argument in sys.argv[1:] if argument != "--overwrite"]
    resume = ["--resume"] * ("--resume" not in given)
    return shlex.join([*started, "densebench", *given, *resume])
