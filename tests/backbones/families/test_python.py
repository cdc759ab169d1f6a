"""``source = "python"``."""

from pathlib import Path

import pytest
import torch

from densebench.backbones.families.python import FAMILY
from densebench.backbones.family import Asked
from densebench.cards import find_backbone
from densebench.host.errors import DensebenchError

PLUGIN = """
import torch

class Mean(torch.nn.Module):
    patch_size, embed_dim = 14, 3
    def forward(self, images):
        return torch.nn.functional.avg_pool2d(images, 14).permute(0, 2, 3, 1)

def make():
    return Mean()
"""
CARD = """
name = "mine"
source = "python"
id = "{id}"
patch_size = 14
embed_dim = 3
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.5, 0.5]
position_embedding = "none"
license = "mine"
training_data = "none"
"""


def write(folder: Path, place: str) -> Path:
    (folder / "plugin.py").write_text(PLUGIN)
    (folder / "mine.toml").write_text(CARD.format(id=place))
    return folder / "mine.toml"


def test_the_function_beside_the_card(tmp_path: Path) -> None:
    card = write(tmp_path, "plugin.py:make")
    built = FAMILY.build(find_backbone(card), Asked(str(card)))
    patches = built(torch.full((1, 3, 28, 28), 2.0))
    assert patches.shape == (1, 2, 2, 3)
    assert torch.equal(patches, torch.full_like(patches, 2.0))
    assert not FAMILY.is_known  # what it does beside its weights is in no card


def test_a_function_that_is_not_there(tmp_path: Path) -> None:
    card = write(tmp_path, "plugin.py:mak")
    with pytest.raises(DensebenchError, match="did you mean 'make'"):
        FAMILY.build(find_backbone(card), Asked(str(card)))
