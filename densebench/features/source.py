"""The patches of a split: images read, transformed and run through a backbone, batch by batch."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor

from densebench.backbones.attention import AttentionMaps
from densebench.backbones.base import DenseBackbone
from densebench.datasets.base import Split
from densebench.datasets.transforms import Transform
from densebench.features.cache import FeatureCache
from densebench.features.entries import Entry
from densebench.features.loading import Loader, Unreadable, Views, normalised
from densebench.features.precision import Precision
from densebench.features.rounds import Part, Reach, Rounds, Shapes
from densebench.features.storing import given
from densebench.features.together import Together
from densebench.features.writing import EntryWriter
from densebench.host.device import device_name, exact_products
from densebench.host.distributed import World
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
    different ways share features; None where the backbone has no learnt table. ``output`` is what
    else than the features of patches is given, if it is; ``layers`` are the blocks, None for the
    backbone's own output.
    """

    fingerprint: str
    positions: str | None
    output: str | None = None
    layers: tuple[int, ...] | None = None

    @classmethod
    def of(cls, backbone: DenseBackbone) -> "FeatureSpec":
        """What the backbone gives as it is now."""
        return cls(backbone.fingerprint, backbone.positions, backbone.output, backbone.layers)

    def key(self) -> dict[str, Any]:
        """All of it, for the key of cached features; theirs is what it always was."""
        chosen = {"output": self.output, "layers": self.layers and list(self.layers)}
        known = {"backbone": self.fingerprint, "positions": self.positions}
        return known | {key: value for key, value in chosen.items() if value is not None}


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
    world: World = field(default_factory=World)  # the processes that extract together

    def __len__(self) -> int:
        return len(self.split)

    def batches(
        self,
        transform: Transform,
        seed: int = 0,
        epoch: int = 0,
        order: Sequence[int] | None = None,
        keep: bool = True,
        reach: Reach = "all",
    ) -> Iterator[PatchBatch]:
        """The split under ``transform``, in its own order unless another is given.

        Patches come from the feature cache where there is one; ``keep`` says whether a view is
        worth a place in it. Several processes share the work, and each of them goes through all
        that it is given: by ``reach`` everything, everything for the first process and nothing for
        the others, or what it extracted itself.

        Raises:
            DensebenchError: an image or mask cannot be read, and ``skip_bad`` is off.
        """
        views = Views(self.split, transform, seed, epoch)
        spec: dict[str, Any] | None = None
        if self.cache is not None and keep:
            spec = self._spec(transform, seed, epoch) if self.world.is_main else {}
        if self.world.size == 1:
            found = self._alone(views, order, spec)
        else:
            together = Together(self, self._rounds, views, shapes_of(self, views))
            found = together.batches(range(len(self)) if order is None else order, reach, spec)
        left = len(order or self.split)
        for part in found:
            yield PatchBatch(*part)
            # Of what the others extract meanwhile it is only known that it will be as much.
            done = len(part[0]) * (self.world.size if reach == "own" else 1)
            self.watcher.advance(self.phase, min(done, left))
            left -= min(done, left)

    def extracted(
        self, views: Views, order: Sequence[int], size: int, late: bool = True
    ) -> Iterator[Part | None]:
        """Batches of some images, ``size`` by ``size``; None for one of which none can be read.

        All features are finite. A GPU is not waited for to know that: it is told when the next
        batch is asked for, unless ``late`` is off.
        """
        for loaded in self._loader.batches(views, order, size):
            for image in loaded.unreadable:
                self.leave_out(image)
            if not loaded.indices:
                yield None
                continue
            self.produced_on.add(device_name(self.device))
            patches = self.forward(normalised(loaded, views.transform, self.device)).float()
            finite = torch.isfinite(patches).all()
            late = late and self.device.type != "cpu"
            if not late:
                _require(finite, self.backbone)
            masks = loaded.masks.clone()  # who keeps masks does not keep the images beside them
            yield torch.tensor(loaded.indices), patches, masks
            if late:
                _require(finite, self.backbone)

    def stored(self, entry: Entry, order: Sequence[int]) -> Iterator[Part]:
        """Batches of some images that an entry has."""
        for name, reason in entry.unreadable.items():
            self.leave_out(Unreadable(name, reason))
        bad = {self.split.names.index(name) for name in entry.unreadable}
        kept = [index for index in order if index not in bad]
        for start in range(0, len(kept), self.batch_size):
            yield _read(entry, np.array(kept[start : start + self.batch_size]))

    def filled(self, entry: Entry, extracted: Iterable[Part | None]) -> Iterator[Part]:
        """Put what an entry lacks into it, and give it as it was stored."""
        with EntryWriter(entry) as writer:
            for part in extracted:
                if part is None:
                    continue
                indices, patches, masks = part
                of_images = patches.cpu().numpy()
                # What is stored, not what was extracted: a float16 cache gives the same every time.
                stored = torch.from_numpy(entry.as_read(of_images))
                writer.put(indices.numpy(), of_images, masks.numpy().copy(), self.unreadable)
                yield indices, stored, masks
        if entry.filled < len(self):
            entry.unreadable |= self.unreadable
            entry.commit(len(self))

    def _alone(
        self, views: Views, order: Sequence[int] | None, spec: dict[str, Any] | None
    ) -> Iterator[Part]:
        """Of one process: from the cache, if what ``spec`` describes is or can be there."""
        if self.cache is not None and spec is not None:
            shapes, n = shapes_of(self, views), len(self)
            sizes = (n, *shapes.patches), (n, *shapes.mask)
            kinds = self.split.target.dtype, given(self, views.transform)
            with self.cache.open(spec, *sizes, *kinds) as entry:
                if entry is not None:
                    yield from self._through(entry, views, order)
                    return
        order = range(len(self)) if order is None else order
        found = self.extracted(views, order, self.batch_size)
        yield from (part for part in found if part is not None)

    @cached_property
    def _rounds(self) -> Rounds:
        """Made once: a GPU that is short of memory makes batches smaller, but no other rounds."""
        return Rounds(self.world, self.batch_size)

    def _spec(self, transform: Transform, seed: int, epoch: int) -> dict[str, Any]:
        """All that changes the features of a view, and nothing else."""
        return {
            **self._identity,
            "view": transform.spec(),
            "draw": [seed, epoch] if transform.random else None,
            "precision": self.precision,
        }

    @cached_property
    def _identity(self) -> dict[str, Any]:
        spec = FeatureSpec.of(self.backbone)
        return {**spec.key(), "images": self.split.fingerprint()}

    def _through(self, entry: Entry, views: Views, order: Sequence[int] | None) -> Iterator[Part]:
        """Read what the entry has and extract the rest into it, in the split's own order."""
        rest: Iterator[Part] = iter(())
        in_order = order is None and not entry.beyond
        if missing := entry.missing:
            entry.note_device(device_name(self.device))
            rest = self.filled(entry, self.extracted(views, missing, self.batch_size, late=False))
        self.produced_on.update(entry.devices)
        if in_order:
            yield from self.stored(entry, range(entry.filled))
            yield from rest
            return
        for _ in rest:
            pass
        yield from self.stored(entry, range(len(self)) if order is None else order)

    @cached_property
    def _loader(self) -> Loader:
        return Loader(self.split, self.workers, pinned=self.device.type == "cuda")

    def leave_out(self, image: Unreadable) -> None:
        """Note an image that cannot be read.

        Raises:
            DensebenchError: ``skip_bad`` is off.
        """
        if not self.skip_bad:
            raise DensebenchError(f"{image.reason}; --skip-bad leaves such images out")
        self.unreadable[image.name] = image.reason

    @torch.inference_mode()
    def forward(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b h w d"]:
        """What the backbone gives for a batch, in the precision that it computes in."""
        dtype = AUTOCAST.get(self.precision)
        whole = exact_products(self.precision != "tf32")
        with whole, torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None):
            return self._halving(images.to(self.device))

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


def of_attention(source: PatchSource) -> PatchSource:
    """The same images, whose patches have their share in each head of the last block.

    Raises:
        DensebenchError: the backbone gives no attention of a class token.
    """
    return replace(source, backbone=AttentionMaps(source.backbone))


def _require(finite: Bool[Tensor, ""], backbone: DenseBackbone) -> None:
    if not finite:
        raise DensebenchError(
            f"features of {backbone.name} are not finite (nan or infinite); check its "
            "weights, or use --precision fp32"
        )


def shapes_of(source: PatchSource, views: Views) -> Shapes:
    """Of an image's patches and of its mask."""
    transform, backbone = views.transform, source.backbone
    rows, columns = (side // backbone.patch_size for side in transform.shape)
    mask_type = torch.from_numpy(np.empty(0, source.split.target.dtype)).dtype
    return Shapes((rows, columns, backbone.embed_dim), transform.mask_shape, mask_type)


def _read(entry: Entry, indices: Int64[np.ndarray, " b"]) -> Part:
    patches, masks = entry.read(indices)
    return torch.from_numpy(indices), torch.from_numpy(patches), torch.from_numpy(masks)
