"""``source = "hf"``."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from densebench.backbones import Asked, find, load_backbone
from densebench.backbones.families.hf import FAMILY
from densebench.host.errors import DensebenchError

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    config = transformers.Dinov2Config(**SIZES, image_size=28, patch_size=14)
    transformers.Dinov2Model(config).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_a_folder_is_called_by_its_name_alone(folder: Path) -> None:
    found = find(f"hf:{folder}")
    assert found is not None
    assert (found.card.name, found.card.id, found.card.source) == ("model", "model", "hf")
    assert FAMILY.build(found, Asked(f"hf:{folder}")).name == "hf:model"
    assert FAMILY.beside(found) == [str(folder / "config.json")]


def test_other_weights_of_the_same_model(folder: Path, tmp_path: Path) -> None:
    trained = load_backbone(f"hf:{folder}")
    with torch.no_grad():
        trained.model.layernorm.weight.fill_(2.0)
    trained.model.save_pretrained(tmp_path / "other")
    file = tmp_path / "other" / "model.safetensors"
    assert load_backbone(f"hf:{folder}", weights=file).fingerprint == trained.fingerprint


def test_a_card_needs_weights_beside_which_the_configuration_is(
    folder: Path, tmp_path: Path, make_card: Any
) -> None:
    from densebench.cards import Found

    for weights, told in (
        (None, r"needs \[weights\], repo and file or path"),
        ({"url": "https://localhost/x.safetensors"}, "a url says nothing of the model"),
    ):
        card = make_card(source="hf", weights=weights)
        with pytest.raises(DensebenchError, match=told):
            FAMILY.build(Found(card, tmp_path / "x.toml"), Asked("x.toml"))
