"""A run as Python asks for it: a backbone by name, or one that is in memory."""

import os
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from densebench.cards import suggestion
from densebench.host.errors import DensebenchError
from densebench.host.watcher import Watcher
from densebench.records.schema import RunRecord
from densebench.run.options import RunOptions

if TYPE_CHECKING:
    from torch import nn

PATHS = ("weights", "data_root", "train_list", "val_list", "results")
OWN = {"backbone", "task"}


def as_path(model: object) -> str | None:
    """A backbone's name; None for one in memory."""
    return os.fspath(model) if isinstance(model, str | os.PathLike) else None


def as_options(
    model: object, task: str | Path, name: str | None, options: dict[str, Any]
) -> RunOptions:
    """Options as the engine has them.

    Raises:
        DensebenchError: an option that there is not, or a value that it may not have.
    """
    known = {field.name for field in fields(RunOptions)} - OWN
    for option in options.keys() - known:
        raise DensebenchError(f"evaluate has no option '{option}'{suggestion(option, known)}")
    given = as_path(model)
    if given is not None and name is not None:
        raise DensebenchError("name is of a module's row; a backbone by name has its own")
    paths = {key: Path(options[key]) for key in PATHS if options.get(key) is not None}
    return RunOptions(given or name or _name_of(model), os.fspath(task), **{**options, **paths})


def evaluate_given(
    model: "nn.Module", options: RunOptions, watcher: Watcher, **how: Any
) -> tuple[RunRecord, Path]:
    """The run of a module as it is now; it is left where, and in the mode in which, it was.

    Raises:
        DensebenchError: no module, or one that gives no features of patches; bad options.
    """
    from torch import nn

    from densebench.backbones.in_memory import giving, in_memory
    from densebench.host.device import pick_device
    from densebench.run.execute import evaluate

    if not isinstance(model, nn.Module):
        raise DensebenchError(
            f"a backbone is a name, a path or an nn.Module, not a {type(model).__name__}"
        )
    if options.weights is not None:
        raise DensebenchError("weights go with a backbone by name; a module has its own")
    backbone = in_memory(model, name=options.backbone, **how)
    options = replace(options, layers=options.layers or backbone.layers)
    training = model.training
    place = next((p.device for p in model.parameters()), None)
    try:
        backbone.eval().to(pick_device(options.device))
        with giving(backbone, options.layers):
            return evaluate(options, watcher, given=backbone)
    finally:
        model.train(training)
        if place is not None:
            model.to(place)


def _name_of(model: object) -> str:
    """Of a backbone that was loaded its own; else its class's."""
    return str(getattr(model, "name", "") or type(model).__name__)
