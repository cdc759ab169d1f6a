"""What training finds out about a backbone that tells its parts, and about one that does not."""

import torch
from torch import nn

from densebench.backbones import DenseBackbone, load_backbone
from densebench.backbones.trainable import blocks_of, encoder_of, last_parts


class Silent(DenseBackbone):
    """Tells nothing of its parts."""

    def __init__(self) -> None:
        super().__init__("silent", 2, 3)
        self.only = nn.Conv2d(3, 3, 2, stride=2)

    def patch_map(self, images: torch.Tensor) -> torch.Tensor:
        return self.only(images).permute(0, 2, 3, 1)


def test_one_that_tells_nothing_is_trained_as_a_whole() -> None:
    backbone = Silent()
    assert encoder_of(backbone) is backbone
    assert blocks_of(backbone) == last_parts(backbone, 1) == []
    assert backbone.attention(torch.zeros(1, 3, 4, 4)) is None


def test_one_that_tells_its_blocks() -> None:
    backbone = load_backbone("hog_mixer_s14")
    first, second = blocks_of(backbone)
    assert last_parts(backbone, 1) == [second]
    assert last_parts(backbone, 2) == [first, second]
    assert encoder_of(backbone) is backbone
