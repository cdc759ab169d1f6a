"""A small backbone that can be trained and needs no weights: a descriptor under residual blocks.

The last layer of every block begins at zero, so that before training the backbone is the descriptor
itself, number for number. It is there to show and to test post-training where nothing can be
downloaded.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from densebench.backbones.baselines import HogPatches
from densebench.backbones.trainable import Trainable
from densebench.backbones.weights.state_dict import StateDict
from densebench.cards import BackboneCard

BLOCKS, EXPANSION, SIDE, SEED = 2, 4, 3, 0


class MixerBlock(nn.Module):
    """x + out(gelu(in(norm(x averaged with learnt weights over SIDE x SIDE patches))))."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, dim)
        self.around = nn.Conv2d(dim, dim, SIDE, padding=SIDE // 2, groups=dim)
        self.enter = nn.Conv2d(dim, EXPANSION * dim, 1)
        self.leave = nn.Conv2d(EXPANSION * dim, dim, 1)

    def forward(self, maps: Float[Tensor, "b d h w"]) -> Float[Tensor, "b d h w"]:
        """The same maps, with what the block adds."""
        hidden = nn.functional.gelu(self.enter(self.around(self.norm(maps))))
        added: Tensor = self.leave(hidden)
        return maps + added


class HogMixer(HogPatches, Trainable):
    """`HogPatches` under residual blocks of 3x3 patches each."""

    def __init__(self, card: BackboneCard) -> None:
        super().__init__(card)
        self.mixer = nn.Sequential(*(MixerBlock(self.embed_dim) for _ in range(BLOCKS)))
        self.load_state_dict(initial_weights(self))

    def blocks(self) -> list[nn.Module]:
        """The residual blocks."""
        return list(self.mixer)

    def patch_map(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b h w d"]:
        """The descriptor with what the blocks add."""
        with torch.no_grad():
            maps = super().patch_map(images).permute(0, 3, 1, 2)
        mixed: Tensor = self.mixer(maps)
        return mixed.permute(0, 2, 3, 1)


def initial_weights(module: nn.Module) -> StateDict:
    """Fixed weights, the same under every version of torch: deviation 1/sqrt(inputs), zero out."""
    draws, state = np.random.default_rng(SEED), module.state_dict()
    for name, tensor in state.items():
        drawn = draws.standard_normal(tuple(tensor.shape)).astype(np.float32)
        if tensor.ndim == 1:
            state[name] = torch.full_like(tensor, float(name.endswith("norm.weight")))
        elif ".leave." in name:
            state[name] = torch.zeros_like(tensor)
        else:
            state[name] = torch.from_numpy(drawn / np.sqrt(tensor[0].numel()))
    return state
