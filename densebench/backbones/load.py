"""From a name to a backbone: by its card and the family that the card is of, or by a plug-in."""

import os
from collections.abc import Sequence
from pathlib import Path

import torch

from densebench.backbones import plugin
from densebench.backbones.base import DenseBackbone, nearest_sizes
from densebench.backbones.family import Asked, family_of
from densebench.cards import FAMILIES, LARGEST, BackboneCard, Found, find_backbone, suggestion
from densebench.cards.block_numbers import checked_layers
from densebench.datasets.sizes import Size, as_size
from densebench.host.console import warn
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
    random_weights: int | None = None,
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
        random_weights: A seed of weights that are drawn, to try things out without a download; the
            features say nothing of the backbone of that name.

    Raises:
        DensebenchError: no such backbone, block or device, weights that cannot be had or do not
            fit, an error in a plug-in.
    """
    name = os.fspath(name)
    where, chosen = _device(device), None if layers is None else checked_layers(layers)
    file = None if weights is None else Path(weights)
    asked = Asked(name, file, image_size, offline, random_weights)
    with torch.random.fork_rng(devices=[]):  # building draws weights that are then replaced
        found = found or find(name, offline)
        if random_weights is not None:
            check_random(name, found, random_weights, file)
            torch.manual_seed(random_weights)
        backbone = _build(asked, found)
    backbone.random_weights = random_weights
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


def check_random(
    name: str, found: Found[BackboneCard] | None, seed: int, weights: Path | None
) -> None:
    """Say aloud that weights are drawn, if they can be.

    Raises:
        DensebenchError: they cannot, or a file of weights is named as well.
    """
    if weights is not None:
        raise DensebenchError("--weights and --random-weights: give one of them")
    if not 0 <= seed <= LARGEST:
        raise DensebenchError(f"--random-weights is a seed from 0 to {LARGEST:,}, not {seed:.6g}")
    if found is None or not family_of(found.card.source).builds_random:
        kind = "plug-ins" if found is None else f"source '{found.card.source}'"
        raise DensebenchError(
            f"{name}: weights of {kind} are not drawn by --random-weights; take a backbone of "
            f"{', '.join(n for n in FAMILIES.names() if family_of(n).builds_random)}"
        )
    warn(
        f"{name}: its weights are drawn at random (seed {seed}), so that nothing here says "
        "anything of the backbone of that name"
    )


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
    if colon and not name.endswith(".toml"):
        raise _no_such_prefix(name, source)
    return find_backbone(name)


def _no_such_prefix(name: str, source: str) -> DensebenchError:
    known = [n for n in FAMILIES.names() if (f := family_of(n)).card_of or f.found_by_name]
    return DensebenchError(
        f"unknown backbone '{name}': there is no prefix '{source}:'{suggestion(source, known)}; "
        f"known are {', '.join(f'{n}:' for n in known)} (as timm:ID, open_clip:ARCH/TAG, "
        "hf:ORG/MODEL, hf:FOLDER), and FILE.py:FUNCTION is a plug-in"
    )


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
