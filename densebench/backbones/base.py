"""The one thing that an evaluation asks of a backbone: a map of patch features."""

import abc
import hashlib
import json
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from densebench.backbones.several import Layers, chosen_layers, joined
from densebench.cards import BackboneCard
from densebench.host.errors import DensebenchError

Triple = tuple[float, float, float]
PositionsOf = Literal["card", "official", "neco"]
IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)


class DenseBackbone(nn.Module, abc.ABC):
    """An image encoder that gives one feature vector per patch, and nothing else.

    A subclass implements ``patch_map`` and, where more than its weights decides about its
    features, ``choices``. Callers use ``forward``, which checks what goes in and what comes out.

    Args:
        name: What the user calls it.
        patch_size: Side of a patch in pixels.
        embed_dim: Length of a feature vector; of several layers, of all together.
        mean: What is subtracted from an image in [0, 1], per channel, before it comes in.
        std: What it is divided by after that.
        card: The card that it was built from, if there is one.
    """

    output: ClassVar[str | None] = None  # what its maps hold, if not features of patches

    def __init__(
        self,
        name: str,
        patch_size: int,
        embed_dim: int,
        *,
        mean: Triple = IMAGENET_MEAN,
        std: Triple = IMAGENET_STD,
        card: BackboneCard | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.patch_size = patch_size
        self.embed_dim = self._own_width = embed_dim
        self.layers: tuple[int, ...] | None = None
        self.mean = mean
        self.std = std
        self.card = card
        self.random_weights: int | None = None  # their seed, where nothing was learnt

    @abc.abstractmethod
    def patch_map(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b h w d"]:
        """Features of all patches of normalised images whose sides the patch size divides."""

    @property
    def positions(self) -> str | None:
        """The rule by which the table of learnt positions is resized; None where there is none."""
        return None

    def resize_positions(self, rule: PositionsOf) -> None:
        """Resize the table by the card's rule, the family's official code's, or NeCo's.

        A backbone without a learnt table ignores it, and its ``positions`` stay None. It changes
        features and not the ``fingerprint``, which is that of the card: a ``FeatureSpec`` has both.
        """

    @property
    def attention_heads(self) -> int:
        """How many maps :meth:`attention` gives of an image; 0 where it gives none."""
        return 0

    def attention(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b heads h w"] | None:
        """How much the class token attends to every patch in the last block, where there is one.

        The shares of the class token itself and of registers are left out, so that a map sums to
        less than 1.
        """
        return None

    def layer_widths(self) -> list[int]:
        """Length of each block's feature vectors; nothing where blocks cannot be had singly."""
        return []

    def layer_maps(
        self, images: Float[Tensor, "b 3 H W"], layers: tuple[int, ...]
    ) -> list[Float[Tensor, "b h w d"]]:
        """The features of some blocks, counted from 0, after the final normalisation."""
        raise NotImplementedError

    def use_layers(self, layers: Layers) -> None:
        """Give the features of these blocks, one beside the other, from now on.

        Like ``resize_positions`` it changes features and not the ``fingerprint``.

        Raises:
            DensebenchError: there are no such blocks.
        """
        widths = self.layer_widths()
        self.layers = chosen_layers(layers, len(widths), self.name)
        self.embed_dim = self._own_width
        if self.layers is not None:
            self.embed_dim = sum(widths[layer] for layer in self.layers)

    def choices(self) -> dict[str, object]:
        """What changes the features beside weights, patch size and normalisation; JSON values."""
        return {}

    def forward(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b h w d"]:
        """Patch features of normalised images: exactly H/p x W/p, without any prefix token.

        Raises:
            DensebenchError: the patch size does not divide the image, or the backbone gave
                something other than one vector per patch.
        """
        check_divisible(images, self.patch_size)
        batch, _, height, width = images.shape
        wanted = (batch, height // self.patch_size, width // self.patch_size, self.embed_dim)
        features = self._features(images)
        if not isinstance(features, Tensor) or tuple(features.shape) != wanted:
            raise DensebenchError(
                f"{self.name}: gave {describe(features)} for images of {height}x{width}; "
                f"expected {shape_text(wanted)} (batch, height, width, embed_dim)"
            )
        if features.is_meta or features.layout is not torch.strided:
            kind = "without numbers (on the meta device)" if features.is_meta else "that are sparse"
            raise DensebenchError(f"{self.name}: gave features {kind}; expected a dense tensor")
        if not features.is_floating_point():
            raise DensebenchError(
                f"{self.name}: gave {features.dtype} features; expected real numbers (float32)"
            )
        return features

    def _features(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b h w d"]:
        if self.layers is None:
            return self.patch_map(images)
        return joined(self.layer_maps(images, self.layers))

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the weights as they are now and of every choice that changes features.

        The weights are hashed under the names that they have in this module, so that it does not
        matter which file they came from or what they were called there. Hashing reads all weights
        once each time (about 0.6 s per gigabyte), so that training is never overlooked.
        """
        known: dict[str, object] = {
            "patch_size": self.patch_size,
            "embed_dim": self._own_width,
            "mean": list(self.mean),
            "std": list(self.std),
        }
        if self.random_weights is not None:
            known["random_weights"] = self.random_weights
        digest = hashlib.sha256(json.dumps({**known, **self.choices()}, sort_keys=True).encode())
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(f"\n{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
            plain = tensor.detach().cpu().contiguous().reshape(-1)
            digest.update(plain.view(torch.uint8).numpy().data)
        return digest.hexdigest()


def check_divisible(images: Float[Tensor, "b 3 H W"], patch_size: int) -> None:
    """Nothing, for a batch of RGB images whose sides the patch size divides.

    Raises:
        DensebenchError: otherwise, with the nearest sizes that would do.
    """
    if images.ndim != 4 or images.shape[1] != 3:
        raise DensebenchError(
            f"images must be a batch of RGB images (batch, 3, height, width), "
            f"not {shape_text(tuple(images.shape))}"
        )
    height, width = images.shape[-2:]
    if height % patch_size or width % patch_size or not height or not width:
        raise DensebenchError(
            f"an image of {height}x{width} does not divide into patches of {patch_size} pixels; "
            f"the nearest height is {nearest_sizes(height, patch_size)}, "
            f"the nearest width {nearest_sizes(width, patch_size)}"
        )


def nearest_sizes(size: int, patch_size: int) -> str:
    """The nearest multiples of the patch size, as a phrase: ``"490 or 504"``."""
    below = size // patch_size * patch_size
    if below == size and size:
        return str(size)
    return f"{below} or {below + patch_size}" if below else str(patch_size)


def describe(value: object) -> str:
    """What a value is, for an error message: its shape if it is a tensor, else its type."""
    return shape_text(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__


def shape_text(shape: tuple[int, ...]) -> str:
    """A shape as ``2x16x16x384``."""
    return "x".join(map(str, shape)) or "a scalar"
