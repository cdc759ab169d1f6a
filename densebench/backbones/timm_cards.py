"""Cards of timm's models, from what timm states about them."""

import re
from typing import Any

import timm
import torch

from densebench.backbones import timm_vit
from densebench.cards import BackboneCard, WeightsSource


def card_of(model_id: str) -> BackboneCard:
    """A card for any timm model, from what timm states about it.

    Raises:
        DensebenchError: timm has no such model or tag.
    """
    timm_vit.check_registered(model_id)
    config: Any = timm.get_pretrained_cfg(model_id)
    with torch.device("meta"):
        whole = timm.create_model(model_id, pretrained=False)
        model = timm_vit.create(model_id).model
    full_id = f"{config.architecture}.{config.tag}" if config.tag else config.architecture
    return BackboneCard(
        name=re.sub(r"[^A-Za-z0-9_.\-]", "-", full_id),
        source="timm",
        id=full_id,
        weights=_weights_of(config),
        mean=config.mean,
        std=config.std,
        drop_keys=("mask_token", *sorted(whole.state_dict().keys() - model.state_dict().keys())),
        license=config.license or "not stated",
        training_data="not stated",
        final_norm=_norm_keeps_width(model),
        **timm_vit.facts(model),
    )


def _norm_keeps_width(model: Any) -> bool:
    """Whether what stands after the last block gives vectors of the block's own length."""
    last = model.feature_info[-1]
    return bool(last.get("num_chs_norm", last["num_chs"]) == last["num_chs"])


def is_of_timm(card: BackboneCard) -> bool:
    """Whether a card's weights are the very file that timm itself names for the model."""
    if card.weights is None or card.weights.repo is None:
        return False
    timm_vit.check_registered(card.id)
    config: Any = timm.get_pretrained_cfg(card.id)
    return bool(config.hf_hub_id == card.weights.repo)


def _weights_of(config: Any) -> WeightsSource | None:
    if config.hf_hub_id:
        file = config.hf_hub_filename or "model.safetensors"
        return WeightsSource(repo=config.hf_hub_id, file=file)
    return WeightsSource(url=config.url) if config.url else None
