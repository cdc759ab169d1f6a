"""How a name becomes a backbone: cards, timm, open_clip, baselines and plug-ins.

timm, open_clip and the hub are imported when a name asks for them, which saves seconds.
"""

import os
from pathlib import Path

import torch

from densebench.backbones import plugin
from densebench.backbones.base import DenseBackbone, check_divisible, nearest_sizes
from densebench.backbones.weights.state_dict import load_strictly, read_state_dict
from densebench.cards import BackboneCard, backbone_card, backbone_folder
from densebench.host.errors import DensebenchError

__all__ = ["DenseBackbone", "card_for", "check_divisible", "load_backbone", "weights_file"]


def load_backbone(
    name: str | os.PathLike[str],
    *,
    weights: str | os.PathLike[str] | None = None,
    image_size: int | None = None,
    device: str | torch.device = "cpu",
    offline: bool = False,
) -> DenseBackbone:
    """A backbone with real weights, in evaluation mode.

    Args:
        name: A card's name or path, ``timm:ID``, ``open_clip:ARCH/TAG``, or ``FILE.py:FUNCTION``.
        weights: A weights file to use instead of the official ones.
        image_size: Side in pixels of the images to come. Checked against the patch size; the few
            models whose input size is fixed are built for it.
        device: Where it is to run.
        offline: Never use the network.

    Raises:
        DensebenchError: no such backbone or device, weights that cannot be had or do not fit, an
            error in a plug-in.
    """
    name = os.fspath(name)
    where = _device(device)
    file = None if weights is None else Path(weights)
    with torch.random.fork_rng(devices=[]):  # building draws weights that are then replaced
        backbone = _build(name, file, image_size, offline)
    patch = backbone.patch_size
    if image_size is not None and (image_size % patch or image_size < 1):
        raise DensebenchError(
            f"{name}: image size {image_size} is no multiple of the patch size {patch}; "
            f"the nearest is {nearest_sizes(image_size, patch)}"
        )
    return backbone.eval().to(where)


def card_for(name: str | os.PathLike[str]) -> BackboneCard | None:
    """The card of a backbone's name, made up for ``timm:`` and ``open_clip:``; None for plug-ins.

    Raises:
        DensebenchError: no such backbone.
    """
    name = os.fspath(name)
    if plugin.is_target(name):
        return None
    scheme, colon, model_id = name.partition(":")
    if colon and scheme == "timm":
        from densebench.backbones import timm_vit

        return timm_vit.card_of(model_id)
    if colon and scheme == "open_clip":
        from densebench.backbones import clip

        return clip.card_of(model_id)
    return backbone_card(name)


def weights_file(
    name: str, weights: str | os.PathLike[str] | None = None, offline: bool = False
) -> Path | None:
    """The file that a backbone's weights come from; None for a plug-in or a baseline without one.

    Raises:
        DensebenchError: no such backbone, or the weights cannot be had.
    """
    card = card_for(name)
    if weights is not None or card is None or card.weights is None:
        return None if weights is None else Path(weights)
    from densebench.backbones.weights import hub

    return hub.fetch(card, offline, name)


def _build(name: str, file: Path | None, image_size: int | None, offline: bool) -> DenseBackbone:
    from densebench.backbones.weights import hub

    card = card_for(name)
    if card is None:
        return plugin.build_plugin(name, weights=file, image_size=image_size)
    if card.source == "baseline":
        return _baseline(card, weights_file(name, file, offline))
    if card.source == "python":
        folder = backbone_folder(name)
        if file is None and card.weights is not None:
            file = hub.fetch(card, offline, name)
        return plugin.build_plugin(
            card.id, card=card, folder=folder, weights=file, image_size=image_size
        )
    path = file or hub.fetch(card, offline, name)
    if card.source == "open_clip":
        from densebench.backbones import clip

        return clip.build_clip(card, path, name, image_size)
    from densebench.backbones import timm_vit

    if file is None and name.startswith("timm:"):
        return timm_vit.build_from_timm_file(card, path, name, image_size)
    return timm_vit.build_timm(card, path, name, image_size)


def _baseline(card: BackboneCard, file: Path | None) -> DenseBackbone:
    from densebench.backbones.baselines import build_baseline

    built = build_baseline(card)
    if file is not None and not any(True for _ in built.parameters()):
        raise DensebenchError(f"{card.name}: a hand-made descriptor takes no weights ({file})")
    if file is not None:
        load_strictly(built, read_state_dict(file), file, lambda state: "")
    return built


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
