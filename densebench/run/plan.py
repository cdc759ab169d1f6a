"""The plan of a run: everything resolved and checked before data or weights are read."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from densebench.backbones import card_for
from densebench.cards import BackboneCard, TaskCard, own_folder, task_card
from densebench.datasets.lists import find_list, is_bare, listed_names
from densebench.datasets.shares import check_share
from densebench.host.device import pick_device
from densebench.protocols import load_protocol, task_params
from densebench.protocols.base import Protocol, ProtocolParams, resolve_input_size
from densebench.run.options import RunOptions


@dataclass(frozen=True)
class Plan:
    """A run as it is to be.

    Attributes:
        options: what was asked for.
        card: the task.
        card_file: the task card's file, which its relative paths refer to.
        backbone_card: the backbone's, made up where a library names it; none for a plug-in.
        protocol: the class of its protocol.
        params: the protocol's parameters, with those of the command; nothing is left to be chosen.
        device: where it runs.
        share: the share of the training images, the command's or else the task's.
        input_size: in pixels, for models that are built for one; a plug-in's patch is not known
            yet.
        as_shipped: whether parameters and lists are those of a task card of the package.
    """

    options: RunOptions
    card: TaskCard
    card_file: Path
    backbone_card: BackboneCard | None
    protocol: type[Protocol]
    params: ProtocolParams
    device: torch.device
    share: str | None
    input_size: int | None
    as_shipped: bool

    @property
    def precision(self) -> str:
        """Of the features: the backbone's, and the cache's where that is lower."""
        half = self.options.cache == "fp16"
        return self.options.precision + ("+fp16 cache" if half else "")


def plan_run(options: RunOptions) -> Plan:
    """Find the cards and check everything that can be checked without data and weights.

    Raises:
        DensebenchError: no such device, task, parameter, variant, share, backbone or list, or an
            input size that the patch does not divide.
    """
    device = pick_device(options.device)
    card, file = task_card(options.task)
    protocol = load_protocol(card.protocol)
    params = _resolved(card, file, options.params, options.variant)
    share = options.subset or card.dataset.subset
    if share is not None:
        check_share(card.dataset.kind, share, options.subset_seed)
    _check_lists(options)
    backbone_card = card_for(options.backbone)
    return Plan(
        options=options,
        card=card,
        card_file=file,
        backbone_card=backbone_card,
        protocol=protocol,
        params=params,
        device=device,
        share=share,
        input_size=_known_input_size(backbone_card, params),
        as_shipped=_as_shipped(options, card, file, params),
    )


def _resolved(card: TaskCard, file: Path, params: dict[str, Any], variant: str) -> ProtocolParams:
    """The card's parameters with those of the command, nothing left to be chosen."""
    given = card.model_copy(update={"params": {**card.params, **params}})
    return load_protocol(card.protocol).resolve(task_params(given, str(file)), variant)


def _check_lists(options: RunOptions) -> None:
    """Read the lists that are files of the user's own; a bare word names one of the dataset's."""
    for names in (options.train_list, options.val_list):
        if names is not None and not is_bare(names):
            listed_names(find_list(names, None, Path()))


def _known_input_size(card: BackboneCard | None, params: ProtocolParams) -> int | None:
    return None if card is None else resolve_input_size(params.input_size, card.patch_size)


def _as_shipped(options: RunOptions, card: TaskCard, file: Path, params: ProtocolParams) -> bool:
    own = file.resolve().parent == (own_folder() / "tasks").resolve()
    lists = options.train_list is None and options.val_list is None
    return own and lists and params == _resolved(card, file, {}, options.variant)
