"""The patches of a split: images read, transformed and run through a backbone, batch by batch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor

from densebench.backbones.base import DenseBackbone
from densebench.datasets.base import Split
from densebench.datasets.transforms import Transform
from densebench.features.cache import FeatureCache
from densebench.features.entries import Entry
from densebench.features.loading import Loader, Unreadable, Views, normalised
from densebench.features.precision import Precision
from densebench.features.writing import EntryWriter
from densebench.host.device import device_name, exact_products
from densebench.host.errors import DensebenchError
from densebench.host.watcher import Watcher

CPU = torch.device("cpu")
AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class PatchBatch:
    """Some images of a split: their positions in it, patch features and masks at input size."""

    indices: Int64[Tensor, " b"]
    patches: Float[Tensor, "b h w d"]
    masks: Shaped[Tensor, "b H W"]


@dataclass(frozen=True)
class FeatureSpec:
    """Which features: the weights and their card's choices, and what a protocol overrides.

    ``positions`` is the rule in effect, so that two protocols that come to the same rule by
    different ways share features; None where the backbone has no learnt table.
    """

    fingerprint: str
    positions: str | None

    @classmethod
    def of(cls, backbone: DenseBackbone) -> "FeatureSpec":
        """What the backbone gives as it is now."""
        return cls(backbone.fingerprint, backbone.positions)

    def key(self) -> dict[str, str | None]:
        """All of it, for the key of cached features."""
        return {"backbone": self.fingerprint, "positions": self.positions}


@dataclass
class PatchSource:
    """Extracts the patches of one split with one backbone.

    ``unreadable`` gathers the names and reasons of skipped images; without ``skip_bad`` the first
    one ends the run.
    """

    split: Split
    backbone: DenseBackbone
    device: torch.device = CPU
    batch_size: int = 16
    workers: int = 0
    precision: Precision = "fp32"
    skip_bad: bool = False
    cache: FeatureCache | None = None
    watcher: Watcher = field(default_factory=Watcher)
    phase: str = ""  # in which its images count
    unreadable: dict[str, str] = field(default_factory=dict)
    produced_on: set[str] = field(default_factory=set)  # devices that the patches are from

    def __len__(self) -> int:
        return len(self.split)

    def batches(
        self,
        transform: Transform,
        seed: int = 0,
        epoch: int = 0,
        order: Sequence[int] | None = None,
        keep: bool = True,
    ) -> Iterator[PatchBatch]:
        """The split under ``transform``, in its own order unless another is given.

        Patches come from the feature cache where there is one; ``keep`` says whether a view is
        worth a place in it.

        Raises:
            DensebenchError: an image or mask cannot be read, and ``skip_bad`` is off.
        """
        for batch in self._found_or_extracted(transform, seed, epoch, order, keep):
            yield batch
            self.watcher.advance(self.phase, len(batch.indices))

    def _found_or_extracted(
        self,
        transform: Transform,
        seed: int,
        epoch: int,
        order: Sequence[int] | None,
        keep: bool,
    ) -> Iterator[PatchBatch]:
        if self.cache is not None and keep:
            side = transform.size // self.backbone.patch_size
            patches = (len(self), side, side, self.backbone.embed_dim)
            masks = (len(self), transform.size, transform.size)
            spec, values = self._spec(transform, seed, epoch), self.split.target.dtype
            with self.cache.open(spec, patches, masks, values) as entry:
                if entry is not None:
                    yield from self._through(entry, transform, seed, epoch, order)
                    return
        yield from self._extracted(Views(self.split, transform, seed, epoch), order)

    def _spec(self, transform: Transform, seed: int, epoch: int) -> dict[str, Any]:
        """All that changes the features of a view, and nothing else."""
        return {
            **self._identity,
            "view": transform.spec(),
            "draw": [seed, epoch] if transform.random else None,
            "precision": self.precision,
        }

    @cached_property
    def _identity(self) -> dict[str, str | None]:
        spec = FeatureSpec.of(self.backbone)
        return {**spec.key(), "images": self.split.fingerprint()}

    def _through(
        self,
        entry: Entry,
        transform: Transform,
        seed: int,
        epoch: int,
        order: Sequence[int] | None,
    ) -> Iterator[PatchBatch]:
        """Read what the entry has and extract the rest into it, in the split's own order."""
        views = Views(self.split, transform, seed, epoch)
        if entry.filled < len(self):
            entry.note_device(device_name(self.device))
        self.produced_on.update(entry.devices)
        if order is not None:
            for _ in self._fill(entry, views):
                pass
            yield from self._read(entry, order)
            return
        yield from self._read(entry, range(entry.filled))
        yield from self._fill(entry, views)

    def _read(self, entry: Entry, order: Sequence[int]) -> Iterator[PatchBatch]:
        for name, reason in entry.unreadable.items():
            self._note(Unreadable(name, reason))
        bad = {self.split.names.index(name) for name in entry.unreadable}
        kept = [index for index in order if index not in bad]
        for start in range(0, len(kept), self.batch_size):
            yield self._stored(entry, np.array(kept[start : start + self.batch_size]))

    def _stored(self, entry: Entry, indices: Int64[np.ndarray, " b"]) -> PatchBatch:
        return PatchBatch(*map(torch.from_numpy, (indices, *entry.read(indices))))

    def _fill(self, entry: Entry, views: Views) -> Iterator[PatchBatch]:
        if entry.filled == len(self):
            return
        with EntryWriter(entry) as writer:
            for batch in self._extracted(views, range(entry.filled, len(self)), late=False):
                patches = batch.patches.cpu().numpy()
                # What is stored, not what was extracted: a float16 cache gives the same every time.
                stored = torch.from_numpy(entry.as_read(patches))
                kept = batch.masks.numpy().copy()
                writer.put(batch.indices.numpy(), patches, kept, self.unreadable)
                yield PatchBatch(batch.indices, stored, batch.masks)
        if entry.filled < len(self):
            entry.unreadable |= self.unreadable
            entry.commit(len(self))

    def _extracted(
        self, views: Views, order: Sequence[int] | None, late: bool = True
    ) -> Iterator[PatchBatch]:
        """Batches of features that are finite.

        A GPU is not waited for to know that: it is told when the next batch is asked for, unless
        ``late`` is off.
        """
        order = range(len(self)) if order is None else order
        for loaded in self._loader.batches(views, order, self.batch_size):
            for image in loaded.unreadable:
                self._note(image)
            if not loaded.indices:
                continue
            self.produced_on.add(device_name(self.device))
            patches = self._patches(normalised(loaded, views.transform, self.device))
            finite = torch.isfinite(patches).all()
            late = late and self.device.type != "cpu"
            if not late:
                _require(finite, self.backbone)
            masks = loaded.masks.clone()  # who keeps masks does not keep the images beside them
            yield PatchBatch(torch.tensor(loaded.indices), patches, masks)
            if late:
                _require(finite, self.backbone)

    @cached_property
    def _loader(self) -> Loader:
        return Loader(self.split, self.workers, pinned=self.device.type == "cuda")

    def _note(self, image: Unreadable) -> None:
        if not self.skip_bad:
            raise DensebenchError(f"{image.reason}; --skip-bad leaves such images out")
        self.unreadable[image.name] = image.reason

    @torch.inference_mode()
    def _patches(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b h w d"]:
        dtype = AUTOCAST.get(self.precision)
        whole = exact_products(self.precision != "tf32")
        with whole, torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None):
            return self._halving(images.to(self.device)).float()

    def _halving(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b h w d"]:
        """Run the backbone; when the GPU's memory is short, in halves, and so from then on."""
        try:
            parts = [self.backbone(part) for part in images.split(self.batch_size)]
            return torch.cat(parts)
        except torch.cuda.OutOfMemoryError:
            if self.batch_size == 1:
                raise
        self.batch_size = max(1, self.batch_size // 2)
        self.watcher.say(f"the GPU's memory is short; going on in batches of {self.batch_size}")
        torch.cuda.empty_cache()
        return self._halving(images)


def _require(finite: Bool[Tensor, ""], backbone: DenseBackbone) -> None:
    if not finite:
        raise DensebenchError(
            f"features of {backbone.name} are not finite (nan or infinite); check its "
            "weights, or use --precision fp32"
        )
