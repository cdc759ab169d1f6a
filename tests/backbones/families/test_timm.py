"""``source = "timm"``."""

from pathlib import Path

import pytest
import timm
import torch

from densebench.backbones.families.timm import FAMILY
from densebench.backbones.family import Asked
from densebench.cards import Found
from densebench.host.errors import DensebenchError

MODEL = "vit_tiny_patch16_224"


def test_the_card_of_a_model_is_the_librarys() -> None:
    assert FAMILY.card_of is not None
    card = FAMILY.card_of(MODEL)
    assert (card.patch_size, card.embed_dim, card.prefix_tokens) == (16, 192, 1)
    with pytest.raises(DensebenchError, match="vit_tiny_patch16_22x"):
        FAMILY.card_of("vit_tiny_patch16_22x")


def test_the_features_are_the_librarys(tmp_path: Path) -> None:
    assert FAMILY.card_of is not None
    model = timm.create_model(MODEL, num_classes=0).eval()
    torch.save(model.state_dict(), tmp_path / "w.pt")
    found = Found(FAMILY.card_of(MODEL), tmp_path / "card.toml")
    built = FAMILY.build(found, Asked(f"timm:{MODEL}", weights=tmp_path / "w.pt", image_size=224))
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        theirs = model.forward_features(images)[:, 1:].reshape(1, 14, 14, 192)
        torch.testing.assert_close(built.eval()(images), theirs, rtol=0, atol=1e-5)
