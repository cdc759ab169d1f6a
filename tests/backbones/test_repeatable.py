import pytest
import torch
from torch import Tensor, nn

from densebench.backbones import load_backbone
from densebench.backbones.base import DenseBackbone
from densebench.backbones.repeatable import TOLERANCE, disagreement, largest_difference

CPU = torch.device("cpu")


class Patches(DenseBackbone):
    def __init__(self, after: nn.Module) -> None:
        super().__init__("patches", 8, 12)
        self.project = nn.Conv2d(3, 12, 8, 8)
        self.after = after

    def patch_map(self, images: Tensor) -> Tensor:
        return self.after(self.project(images)).permute(0, 2, 3, 1)


def test_a_fixed_function_of_each_image_is_repeatable() -> None:
    torch.manual_seed(0)
    backbone = Patches(nn.BatchNorm2d(12)).eval()
    assert largest_difference(backbone, 32, CPU) <= TOLERANCE
    assert largest_difference(load_backbone("hog_s14"), 56, CPU) == 0


@pytest.mark.parametrize("after", [nn.Dropout(0.1), nn.BatchNorm2d(12)], ids=["dropout", "batch"])
def test_training_mode_is_found_out(after: nn.Module) -> None:
    torch.manual_seed(0)
    backbone = Patches(after).train()
    difference = largest_difference(backbone, 32, CPU)
    assert difference > TOLERANCE
    assert "patches gives other features" in disagreement(backbone, difference)
