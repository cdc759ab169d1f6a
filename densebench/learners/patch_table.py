"""All patches of some images in one table, those of the held-out images last.

Source: facebookresearch/capi at 98b4fa1, eval_segmentation.py: a permutation of the images, of
which the first tenth is held out.
"""

from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from densebench.features.source import PatchBatch
from densebench.learners.patch_labels import CHUNK_PATCHES, is_one_of, modes, pixel_labels

HELD_OUT = 10  # one image in so many


def held_out_last(n_images: int, seed: int) -> tuple[list[int], int]:
    """The images in the order of the table, and how many of them are not held out."""
    permuted = np.random.RandomState(seed).permutation(n_images).tolist()
    n_held = n_images // HELD_OUT
    return [*permuted[n_held:], *permuted[:n_held]], n_images - n_held


class PatchTable:
    """Features, labels of all pixels and their mode: a row for each patch, image by image.

    Args:
        order: the images in the order of the rows.
        n_fit: how many of them are not held out.
        shape: patches of an image, their width and their pixels.

    Attributes:
        features: of the rows that are there, float32.
        labels: of their pixels.
        modes: of their labels.
        images: which image each row is of.
        patches: which of its patches.
        n_fit: how many rows are of images that are not held out.
    """

    def __init__(self, order: list[int], n_fit: int, shape: tuple[int, int, int]) -> None:
        patches, width, area = shape
        self._places = {image: place for place, image in enumerate(order)}
        self._seen = torch.zeros(len(order), dtype=torch.bool)
        self._per_image, rows = patches, len(order) * patches
        self.n_fit = n_fit * patches
        self.features = torch.empty(rows, width)
        self.labels = torch.empty(rows, area, dtype=torch.uint8)
        self.images = torch.tensor(order).repeat_interleave(patches)
        self.patches = torch.arange(patches).repeat(len(order))

    def fill(self, batches: Iterable[PatchBatch], void_from: int) -> None:
        """Put all images in their places; labels from ``void_from`` on are void.

        What could not be read leaves no row.
        """
        for batch in batches:
            area = self.labels.shape[1]
            labels = pixel_labels(batch.masks, round(area**0.5))
            labels = labels.masked_fill(labels >= void_from, 255)
            for index, features, of_image in zip(
                batch.indices.tolist(), batch.patches, labels, strict=True
            ):
                place = self._places[index]
                rows = slice(place * self._per_image, (place + 1) * self._per_image)
                self.features[rows] = features.flatten(0, 1).cpu()
                self.labels[rows] = of_image
                self._seen[place] = True
        self.modes = modes(self.labels)
        self._keep(self._seen.repeat_interleave(self._per_image).nonzero()[:, 0])

    @property
    def n_held(self) -> int:
        """Rows of the images that are held out."""
        return len(self.features) - self.n_fit

    def keep_labelled(self, rows: range, ignored: frozenset[int], to: int) -> int:
        """Move those of some rows whose mode is not ignored to row ``to`` and on.

        What stood there is gone: rows move up only.

        Returns:
            The row after the last of them.
        """
        wanted = torch.arange(rows.start, rows.stop, rows.step)
        return self._move(wanted[~is_one_of(self.modes[wanted], ignored)], to)

    def _keep(self, rows: Int64[Tensor, " n"]) -> None:
        """Leave these rows alone, in ascending order."""
        n = self._move(rows, 0)
        self.n_fit = int((rows < self.n_fit).sum())
        self.features, self.labels, self.modes = self.features[:n], self.labels[:n], self.modes[:n]
        self.images, self.patches = self.images[:n], self.patches[:n]

    def _move(self, rows: Int64[Tensor, " n"], to: int) -> int:
        for start in range(0, len(rows), CHUNK_PATCHES):
            part = rows[start : start + CHUNK_PATCHES]
            place = slice(to + start, to + start + len(part))
            if not torch.equal(part, torch.arange(place.start, place.stop)):
                for column in (self.features, self.labels, self.modes, self.images, self.patches):
                    column[place] = column[part]
        return to + len(rows)
