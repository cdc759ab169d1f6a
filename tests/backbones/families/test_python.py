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


SHORT = 'name = "mine"\nsource = "python"\nid = "plugin.py:make"\n'


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


def test_what_a_card_leaves_out_the_module_says(tmp_path: Path) -> None:
    (tmp_path / "plugin.py").write_text(PLUGIN.replace("embed_dim = 14, 3", "std = 14, (1, 1, 2)"))
    (tmp_path / "mine.toml").write_text(SHORT)
    found = find_backbone(str(tmp_path / "mine.toml"))
    built = FAMILY.build(found, Asked("mine.toml"))
    assert built.card is not None
    assert (built.card.patch_size, built.card.embed_dim) == (14, 3)
    assert built.card.std == (1.0, 1.0, 2.0)
    for line, told in (("patch_size = 7", "patch_size is 7"), ("std = [1, 1, 1]", "std is")):
        (tmp_path / "mine.toml").write_text(SHORT + line)
        found = find_backbone(str(tmp_path / "mine.toml"))
        with pytest.raises(DensebenchError, match=f"card mine: {told}"):
            FAMILY.build(found, Asked("mine.toml"))


def test_all_that_a_card_lacks_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('id = "plugin.py:make"\n')
    with pytest.raises(DensebenchError) as caught:
        find_backbone(str(tmp_path / "mine.toml"))
    assert str(caught.value).endswith("missing key 'name'; also missing: 'source'")
