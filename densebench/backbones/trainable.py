"""What training asks of a backbone beside its features; an evaluation asks for none of it."""

from torch import nn

from densebench.backbones.base import DenseBackbone


class Trainable(DenseBackbone):
    """A backbone that tells its parts. One that does not can be trained as a whole."""

    @property
    def encoder(self) -> nn.Module:
        """The module inside whose state dict is the weights file, in its own naming."""
        return self

    def blocks(self) -> list[nn.Module]:
        """The blocks that images go through one after the other, where there is such a list."""
        return []

    def after_blocks(self) -> list[nn.Module]:
        """What the output of the last block goes through."""
        return []


def encoder_of(backbone: DenseBackbone) -> nn.Module:
    """The module whose state dict is the weights file; the backbone itself if it names none."""
    return backbone.encoder if isinstance(backbone, Trainable) else backbone


def blocks_of(backbone: DenseBackbone) -> list[nn.Module]:
    """The backbone's blocks in order; none if it has no such list."""
    return backbone.blocks() if isinstance(backbone, Trainable) else []


def last_parts(backbone: DenseBackbone, blocks: int) -> list[nn.Module]:
    """The last blocks, and what comes after them."""
    after = backbone.after_blocks() if isinstance(backbone, Trainable) else []
    return [*blocks_of(backbone)[-blocks:], *after]
