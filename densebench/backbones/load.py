"""From a name to a backbone: by its card and the family that the card is of, or by a plug-in."""

import os
from collections.abc import Sequence
from pathlib import Path

import torch

from densebench.backbones import plugin
from densebench.backbones.base import DenseBackbone, nearest_sizes
from densebench.backbones.family import Asked, family_of
from densebench.cards import FAMILIES, BackboneCard, Found, find_backbone
from densebench.cards.block_numbers import checked_layers
from densebench.datasets.sizes import Size, as_size
from densebench.host.errors import DensebenchError


def load_backbone(
    name: str | os.PathLike[str],
    *,
    weights: str | os.PathLike[str] | None = None,
    image_size: int | Size | None = None,
    device: str | torch.device = "cpu",
    offline: bool = False,
    found: Found[BackboneCard] | None = None,
    layers: int | Sequence[int] | None = None,
) -> DenseBackbone:
    """A backbone with real weights, in evaluation mode.

    Args:
        name: A card's name or path, ``timm:ID``, ``open_clip:ARCH/TAG``, ``hf:ORG/MODEL``,
            ``hf:FOLDER``, or ``FILE.py:FUNCTION``.
        weights: A weights file to use instead of the official ones.
        image_size: Side in pixels of the images to come, or height and width. Checked against the
            patch size; the few models whose input size is fixed are built for it.
        device: Where it is to run.
        offline: Never use the network.
        found: Its card, where that was looked up already.
        layers: Blocks, counted from 0, whose features are given side by side; else the card's, or
            the backbone's own output.

    Raises:
        DensebenchError: no such backbone, block or device, weights that cannot be had or do not
            fit, an error in a plug-in.
    """
    name = os.fspath(name)
    where, chosen = _device(device), None if layers is None else checked_layers(layers)
    asked = Asked(name, None if weights is None else Path(weights), image_size, offline)
    with torch.random.fork_rng(devices=[]):  # building draws weights that are then replaced
        found = found or find(name, offline)
        backbone = _build(asked, found)
    patch = backbone.patch_size
    for side in () if image_size is None else as_size(image_size):
        if side % patch or side < 1:
            raise DensebenchError(
                f"{name}: image size {side} is no multiple of the patch size {patch}; "
                f"the nearest is {nearest_sizes(side, patch)}"
            )
    chosen = chosen or (found.card.layers if found else None)
    if chosen is not None:
        backbone.use_layers(chosen)
    return backbone.eval().to(where)


def find(name: str | os.PathLike[str], offline: bool = False) -> Found[BackboneCard] | None:
    """The card of a backbone's name, made up for ``SOURCE:ID``; None for plug-ins.

    Args:
        name: as for :func:`load_backbone`.
        offline: never use the network, which only a model of a hub may need for its card.

    Raises:
        DensebenchError: no such backbone.
    """
    name = os.fspath(name)
    if plugin.is_target(name):
        return None
    source, colon, model_id = name.partition(":")
    if colon and source in FAMILIES.names():
        family = family_of(source)
        if family.found_by_name is not None:
            return family.found_by_name(model_id, offline)
        if family.card_of is not None:
            return Found(family.card_of(model_id), Path(name))
    return find_backbone(name)


def card_for(name: str | os.PathLike[str], offline: bool = False) -> BackboneCard | None:
    """The card alone, as :func:`find` finds it."""
    found = find(name, offline)
    return None if found is None else found.card


def weights_file(
    name: str, weights: str | os.PathLike[str] | None = None, offline: bool = False
) -> Path | None:
    """The file that a backbone's weights come from; None for a plug-in or a baseline without one.

    Raises:
        DensebenchError: no such backbone, or the weights cannot be had.
    """
    asked = Asked(name, None if weights is None else Path(weights), offline=offline)
    found = find(name, offline)
    return asked.weights if found is None else asked.weights_of(found)


def _build(asked: Asked, found: Found[BackboneCard] | None) -> DenseBackbone:
    if found is None:
        return plugin.build_plugin(asked.name, weights=asked.weights, image_size=asked.image_size)
    return family_of(found.card.source).build(found, asked)


def _device(device: str | torch.device) -> torch.device:
    """The device, if this machine has it.

    Raises:
        DensebenchError: it has not, or there is no such kind of device.
    """
    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        raise DensebenchError(
            f"device '{device}': no such kind; use cpu, cuda or cuda:N"
        ) from error
    if wanted.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (wanted.index or 0) >= count:
            raise DensebenchError(
                f"device '{device}': torch sees {count or 'no'} CUDA GPUs here; use device 'cpu'"
            )
    return wanted
