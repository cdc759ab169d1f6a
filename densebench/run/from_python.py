"""A run as Python asks for it: a backbone by name, or one that is in memory."""

import os
from dataclasses import fields, replace
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from densebench.cards import suggestion
from densebench.host.errors import DensebenchError
from densebench.host.watcher import Watcher
from densebench.records.schema import RunRecord
from densebench.run.options import RunOptions

if TYPE_CHECKING:
    from torch import nn

PATHS = ("weights", "data_root", "train_list", "val_list", "results")
OWN = {"backbone", "task", "name"}
# What each option is, for a person and for Python; of paths, what becomes one.
KINDS: dict[str, tuple[str, tuple[type, ...]]] = {
    **dict.fromkeys(PATHS, ("a path", (str, os.PathLike))),
    **dict.fromkeys(
        ("subset_seed", "limit", "seed", "batch_size", "workers", "panels", "random_weights"),
        ("a whole number", (Integral,)),
    ),
    **dict.fromkeys(
        ("overwrite", "skip_bad", "offline", "allow_nondeterministic", "deterministic"),
        ("True or False", (bool,)),
    ),
    **dict.fromkeys(
        ("variant", "subset", "device", "precision", "cache", "search_engine"), ("a word", (str,))
    ),
    "params": ("a table of parameters", (dict,)),
}


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
    usual = {field.name: field.default for field in fields(RunOptions) if field.name not in OWN}
    for option in options.keys() - usual.keys():
        raise DensebenchError(f"evaluate has no option '{option}'{suggestion(option, usual)}")
    for option, value in options.items():
        if option in KINDS and (value is not None or usual[option] is not None):
            _check(option, value, *KINDS[option])
        if isinstance(value, np.integer):
            options = {**options, option: int(value)}  # NumPy's would make another hash
    if name is not None:
        _check("name", name, "a word", (str,))
        if not name.strip() or not name.isprintable():
            raise DensebenchError(f"{name!r:.40} is no name: there is nothing to be seen in it")
    _check("task", task, "a name or a path", (str, os.PathLike))
    given = as_path(model)
    if given is not None and name is not None and ".py" not in given:
        raise DensebenchError("name is of a module's row; a backbone by name has its own")
    options = {**options, "name": None if given is None else name}
    paths = {key: Path(options[key]) for key in PATHS if options.get(key) is not None}
    return RunOptions(given or name or _name_of(model), os.fspath(task), **{**options, **paths})


def _check(option: str, value: object, kind: str, types: tuple[type, ...]) -> None:
    """Nothing, for a value of these types; True is no number, and bytes are no path.

    Raises:
        DensebenchError: another one.
    """
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        raise DensebenchError(f"{option} is {kind}, not {value!r:.40}")


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
    if options.weights is not None or options.random_weights is not None:
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
