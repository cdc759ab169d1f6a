"""What training and single layers ask of a backbone beside its features."""

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from densebench.backbones.base import DenseBackbone
from densebench.backbones.several import as_map, block_outputs
from densebench.host.errors import DensebenchError


class Trainable(DenseBackbone):
    """A backbone that tells its parts. One that does not can be trained as a whole."""

    weights_file: ClassVar[str | None] = None  # by what name its library looks for weights

    @property
    def encoder(self) -> nn.Module:
        """The module inside whose state dict is the weights file, in its own naming."""
        return self

    def published(self) -> tuple[dict[str, Tensor], dict[str, bytes]] | None:
        """Weights and the files beside them as its library writes them; None where it does not."""
        return None

    def blocks(self) -> list[nn.Module]:
        """The blocks that images go through one after the other, where there is such a list."""
        return []

    def after_blocks(self) -> list[nn.Module]:
        """What the output of the last block goes through."""
        return []

    def layer_norms(self) -> list[nn.Module]:
        """What the features of a single block go through."""
        return self.after_blocks()

    def layer_widths(self) -> list[int]:
        """All blocks have vectors of one length."""
        return [self._own_width] * len(self.blocks())

    def layer_maps(
        self, images: Float[Tensor, "b 3 H W"], layers: tuple[int, ...]
    ) -> list[Float[Tensor, "b h w d"]]:
        """What the blocks give while the backbone is run."""
        grid = images.shape[2] // self.patch_size, images.shape[3] // self.patch_size
        found = block_outputs(self.blocks(), layers, lambda: self.patch_map(images))
        if len(found) < len(layers):
            raise DensebenchError(f"{self.name}: does not go through all of its blocks")
        norm = nn.Sequential(*self.layer_norms())
        return [as_map(norm(output), grid, self._own_width, self.name) for output in found]


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
