"""The plan of a run: everything resolved and checked before data or weights are read."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from densebench.backbones import find
from densebench.cards import (
    NAME_PATTERN,
    BackboneCard,
    Found,
    TaskCard,
    card_names,
    find_task,
    own_folder,
)
from densebench.cards.block_numbers import layers_text
from densebench.datasets.kind import dataset_kind
from densebench.datasets.lists import find_list, is_bare, listed_names
from densebench.datasets.sizes import Size, side_of
from densebench.datasets.subset import check_share
from densebench.host.device import pick_device
from densebench.host.errors import DensebenchError
from densebench.protocols import load_protocol, task_params
from densebench.protocols.base import Protocol, ProtocolParams
from densebench.records.called import LONGEST_NAME
from densebench.run.images import share_asked
from densebench.run.options import RunOptions


@dataclass(frozen=True)
class Plan:
    """A run as it is to be.

    Attributes:
        options: what was asked for.
        task: its card, and the file that the card's relative paths refer to.
        backbone: its card, made up where a library names it; none for a plug-in or a module that
            was given.
        protocol: the class of its protocol.
        params: the protocol's parameters, with those of the command; nothing is left to be chosen.
        device: where it runs.
        share: the share of the training images, the command's or else the task's.
        input_size: in pixels, for models that are built for one: a square's side, or height and
            width; a plug-in's patch is not known yet.
        as_shipped: whether parameters and lists are those of a task card of the package.
        given: whether the backbone is in memory, so that its name is not looked up.
    """

    options: RunOptions
    task: Found[TaskCard]
    backbone: Found[BackboneCard] | None
    protocol: type[Protocol]
    params: ProtocolParams
    device: torch.device
    share: str | None
    input_size: int | Size | None
    as_shipped: bool
    given: bool = False

    @property
    def card(self) -> TaskCard:
        """The task."""
        return self.task.card

    @property
    def layers(self) -> tuple[int, ...] | None:
        """The blocks that the command or else the card names; None for the backbone's output."""
        named = None if self.backbone is None else self.backbone.card.layers
        return self.options.layers or named

    @property
    def precision(self) -> str:
        """Of the features: the backbone's, and the cache's where that is lower."""
        half = self.options.cache == "fp16"
        return self.options.precision + ("+fp16 cache" if half else "")


def plan_run(options: RunOptions, given: bool = False) -> Plan:
    """Find the cards and check everything that can be checked without data and weights.

    Raises:
        DensebenchError: no such device, task, parameter, variant, share, backbone or list, or an
            input size that the patch does not divide; or the task names layers as well.
    """
    device = pick_device(options.device)
    task = find_task(options.task)
    card, protocol = task.card, load_protocol(task.card.protocol)
    _check_target(card, protocol)
    params = resolved_params(task, options.params, options.variant)
    _check_params(card, params)
    share = share_asked(card, options)
    if share is not None:
        check_share(card.dataset.kind, share, options.subset_seed)
    _check_lists(options)
    backbone = None if given else find(options.backbone, options.offline)
    plan = Plan(
        options=options,
        task=task,
        backbone=backbone,
        protocol=protocol,
        params=params,
        device=device,
        share=share,
        input_size=_known_input_size(protocol, backbone, params),
        as_shipped=_as_shipped(options, task, params),
        given=given,
    )
    _check_layers(plan)
    _check_name(plan)
    return plan


def resolved_params(task: Found[TaskCard], params: dict[str, Any], variant: str) -> ProtocolParams:
    """The card's parameters with those of the command, nothing left to be chosen.

    Raises:
        DensebenchError: no such protocol, variant or parameter, or a bad value.
    """
    card = task.card.model_copy(update={"params": {**task.card.params, **params}})
    return load_protocol(card.protocol).resolve(task_params(card, str(task.file)), variant)


def _check_target(card: TaskCard, protocol: type[Protocol]) -> None:
    given = dataset_kind(card.dataset.kind).target(card.dataset).kind
    if given not in protocol.targets:
        raise DensebenchError(
            f"task {card.name}: protocol '{card.protocol}' learns {' or '.join(protocol.targets)}, "
            f"and dataset kind '{card.dataset.kind}' gives {given}; pair it with another protocol"
        )


def _check_params(card: TaskCard, params: ProtocolParams) -> None:
    try:
        params.check(dataset_kind(card.dataset.kind).target(card.dataset))
    except DensebenchError as error:
        raise DensebenchError(f"task {card.name}: {error}") from error


def _check_layers(plan: Plan) -> None:
    """Layers are the backbone's or the protocol's, never both's."""
    if plan.layers is None:
        return
    card, given = plan.card, plan.params.layers
    if given != "last":
        raise DensebenchError(
            f"task {card.name}: its parameter layers is {given}, and the backbone has "
            f"{layers_text(plan.layers)}; leave one of them out (--set layers=last)"
        )
    if not plan.protocol.takes_features:
        raise DensebenchError(
            f"task {card.name}: protocol '{card.protocol}' looks at the attention of the last "
            "block alone; leave layers out"
        )


def _check_name(plan: Plan) -> None:
    """Nothing, unless a name is given to what has one, or one that is no name or taken."""
    name = plan.options.name
    if name is None:
        return
    if plan.given or plan.backbone is not None:
        raise DensebenchError(
            f"--name '{name:.80}': is for the row of a plug-in (FILE.py:FUNCTION); "
            f"{plan.options.backbone} has a name of its own"
        )
    if re.fullmatch(NAME_PATTERN.rstrip("$"), name) is None or len(name) > LONGEST_NAME:
        raise DensebenchError(
            f"--name {name!r:.80}: use letters, digits, '_', '-' and '.', at most {LONGEST_NAME}"
        )
    taken = card_names("backbones").get(name)
    if taken is not None:
        raise DensebenchError(f"--name {name}: is the name of {taken}; choose another")


def _check_lists(options: RunOptions) -> None:
    """Read the lists that are files of the user's own; a bare word names one of the dataset's."""
    for names in (options.train_list, options.val_list):
        if names is not None and not is_bare(names):
            listed_names(find_list(names, None, Path()))


def _known_input_size(
    protocol: type[Protocol], backbone: Found[BackboneCard] | None, params: ProtocolParams
) -> int | Size | None:
    if backbone is None or not backbone.card.patch_size:
        return None
    return side_of(protocol.shape_for(params, backbone.card.patch_size))


def _as_shipped(options: RunOptions, task: Found[TaskCard], params: ProtocolParams) -> bool:
    own = task.folder == (own_folder() / "tasks").resolve()
    lists = options.train_list is None and options.val_list is None
    return own and lists and params == resolved_params(task, {}, options.variant)
