"""Linear depth: a distribution over depths from each frozen patch, trained in metres.

Source: facebookresearch/dinov3 at 6876159, dinov3/eval/depth, with its linear config of NYUv2.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor

from densebench.datasets.depth_maps import DEPTH
from densebench.datasets.depth_views import DepthCrop, DepthView
from densebench.datasets.nyu_boxes import BoxName, box
from densebench.datasets.sizes import Size, as_size, padded_size
from densebench.datasets.transforms import derived_seed
from densebench.features.source import PatchSource
from densebench.host.errors import DensebenchError
from densebench.learners.depth_file import depth_head_bytes
from densebench.learners.depth_head import (
    Bins,
    Spacing,
    Weighting,
    cut_to_image,
    mirrored_mean,
    predicted_depth,
    seeded_depth_head,
)
from densebench.learners.depth_losses import WARM_CALLS, MultiLoss, SigLoss
from densebench.learners.depth_steps import DepthSteps
from densebench.learners.depth_training import DepthOptimisation, DepthTraining
from densebench.measures.depth_scoring import DepthScoring
from densebench.measures.scoring import Prediction
from densebench.protocols.base import InputSize, Needs, ProtocolParams
from densebench.protocols.quirks import AUTO, QuirkyParams, QuirkyProtocol

HEAD_DRAWS = 5
Quirk = Literal["momentum_cycle", "warm_loss", "far_truth", "gamma_of_bytes", "stretched_padding"]
LARGEST_SIDE = 1 << 14
Side = Annotated[int, Field(gt=0, le=LARGEST_SIDE)]
Share = Annotated[float, Field(ge=0, lt=1)]
Weight = Annotated[float, Field(ge=0, le=1e6)]


class DepthLinearParams(QuirkyParams):
    """Parameters of the depth head's training; sizes in pixels, height first, depth in metres.

    ``input_size``: of the whole image, to which images of another size are resized; it is then
    padded to the patch size. ``crop`` is cut from the part ``train_box`` of it, without resizing.
    ``eval_box`` is the part that is scored, against the depth at its own size.

    ``bins`` of 1 are a regression instead. ``brightness``, ``gamma`` and ``colour`` are how far
    factors and exponents go from 1. Losses of weight 0 are not computed.
    """

    input_size: Side | tuple[Side, Side] = (480, 640)
    crop: Side | tuple[Side, Side] = (416, 544)
    train_box: BoxName = "nyu"
    eval_box: BoxName = "nyu_eigen"
    min_depth: float = Field(default=0.001, gt=0, le=1e6)
    max_depth: float = Field(default=10.0, gt=0, le=1e6)
    bins: int = Field(default=256, gt=0, le=65_536)
    spacing: Spacing = "linear"
    weighting: Weighting = "linear"
    batch_norm: bool = True
    steps: int = Field(default=38_400, gt=0, le=100_000_000)
    warmup_steps: int = Field(default=12_800, ge=0)
    batch_size: int = Field(default=16, gt=0)
    lr: float = Field(default=3e-4, gt=0, le=3e38)  # what float32 holds
    weight_decay: float = Field(default=1e-4, ge=0, le=3e38)
    clip: float = Field(default=35.0, gt=0, le=3e38)
    sig_weight: Weight = 1.0
    gradient_log_weight: Weight = 0.0
    gradient_weight: Weight = 0.0
    l1_weight: Weight = 0.0
    augment: bool = True
    rotation: float = Field(default=2.5, ge=0, le=180)
    gamma: Share = 0.1
    brightness: Share = 0.25
    colour: Share = 0.1
    flip_test: bool = True
    align_least_squares: bool = False
    quirks: tuple[Quirk, ...] | Literal["auto"] = AUTO

    @model_validator(mode="after")
    def _fit_together(self) -> "DepthLinearParams":
        if self.warmup_steps >= self.steps:
            raise ValueError(f"warmup_steps must be fewer than the {self.steps} steps")
        if self.min_depth >= self.max_depth:
            raise ValueError("min_depth must be below max_depth")
        room, crop = box(self.train_box, as_size(self.input_size)).size, as_size(self.crop)
        if crop[0] > room[0] or crop[1] > room[1]:
            raise ValueError(
                f"crop {crop[0]}x{crop[1]} is larger than the {room[0]}x{room[1]} pixels of "
                f"train_box '{self.train_box}'"
            )
        if not any(self.losses.values()):
            raise ValueError("every loss has the weight 0")
        return self

    @property
    def image_size(self) -> Size:
        """Height and width of an image, before it is padded."""
        return as_size(self.input_size)

    @property
    def losses(self) -> dict[str, float]:
        """The weight of each."""
        return {
            "sig": self.sig_weight,
            "gradient_log": self.gradient_log_weight,
            "gradient": self.gradient_weight,
            "l1": self.l1_weight,
        }


class DepthLinear(QuirkyProtocol):
    """The depth head under two variants.

    ``reference`` keeps what the published code does: beta1 of 0 during the warm-up, a loss without
    its variance in the first 100 steps, truth beyond ``max_depth`` in training, an exponent that
    acts on 0..255, and a map of the padded image that is stretched over the image. ``clean`` has
    none of these; ``quirks`` names those that are kept.
    """

    Params: ClassVar[type[ProtocolParams]] = DepthLinearParams
    version: ClassVar[int] = 1
    targets: ClassVar[tuple[str, ...]] = (DEPTH,)
    predicts_own: ClassVar[bool] = True
    QUIRKS: ClassVar[tuple[str, ...]] = get_args(Quirk)
    params: DepthLinearParams

    @classmethod
    def shape_of(cls, size: InputSize, patch_size: int) -> Size:
        """The image, padded to the patch size.

        Raises:
            DensebenchError: the size is a word.
        """
        if isinstance(size, str):
            raise DensebenchError(
                f"input_size '{size}': depth is learnt on whole images; give [HEIGHT, WIDTH]"
            )
        return padded_size(as_size(size), patch_size)

    @property
    def scoring(self) -> DepthScoring:
        """At the depth's own size, as published, then at the input's."""
        params = self.params
        return DepthScoring(
            ("original", "input"),
            nearest=params.min_depth,
            farthest=params.max_depth,
            inside=params.eval_box,
            least_squares=params.align_least_squares,
        )

    @property
    def needs(self) -> Needs:
        """New crops for every step; the whole validation images, and their mirror images."""
        views = 2 if self.params.flip_test else 1
        seen = self.params.steps * self.params.batch_size
        return Needs(train_passes=1, train_images=seen, val_passes=views, kept_val_views=views)

    def memory_plan(self, n_train: int, n_val: int) -> dict[str, int]:
        """A batch's patches, its logits and its depth, with their gradients."""
        patch_size, batch = self.setting.patch_size, min(self.params.batch_size, n_train)
        rows, columns = (side // patch_size for side in self._train_view.shape)
        height, width = self._train_view.mask_shape
        patches = batch * rows * columns
        return {
            "patches of a batch": patches * self.setting.embed_dim * 4 * 2,
            "logits of a batch": patches * self.params.bins * 4 * 4,
            "depth of a batch": batch * height * width * 4 * 8,
        }

    def fit(self, train: PatchSource, val: PatchSource) -> None:
        """Train the head, going on after the last epoch that an interrupted run finished.

        Of several processes the first one makes the steps, and the others are given its head.
        """
        self._steps.check(len(train))
        watcher, steps, world = self.setting.watcher, self._steps, self.setting.world
        if world.is_main and (told := steps.resume()):
            watcher.say(told)
        epoch, done = world.from_main((len(steps.losses), steps.training.done))
        watcher.advance(train.phase, done * self.params.batch_size)
        while done < self.params.steps:
            loss = self._train_epoch(train, epoch, self.params.steps - done)
            before, done, epoch = done, world.from_main(steps.training.done), epoch + 1
            if done == before:
                raise DensebenchError(
                    f"only {len(train) - len(train.unreadable)} of the {len(train)} training "
                    f"images can be read, fewer than batch_size {self.params.batch_size}"
                )
            if world.is_main:
                steps.end(loss)
            watcher.say(f"step {done}/{self.params.steps}: loss {loss:.4f}")
        if not world.from_main(bool(np.isfinite(steps.losses).any())):
            raise DensebenchError(
                "there is nothing to learn: no training image has a depth where it is looked for; "
                "check the depth maps, their scale, and train_box"
            )
        steps.share(world)

    def predict(self, val: PatchSource) -> Iterator[Prediction]:
        """Metres of every validation patch, as the mean with the mirror image's."""
        self._steps.training.head.eval()
        plain: dict[int, Float[Tensor, "h w"]] = {}
        for batch in val.batches(self._view(), reach="own"):
            depth = self._depth(batch.patches)
            if self.params.flip_test:
                plain |= dict(zip(batch.indices.tolist(), depth, strict=True))
            else:
                yield Prediction(batch.indices, batch.masks, values=depth[:, None])
        if not self.params.flip_test:
            return
        for batch in val.batches(self._view(flipped=True), reach="own"):
            as_it_is = torch.stack([plain.pop(index) for index in batch.indices.tolist()])
            depth = mirrored_mean(as_it_is, self._depth(batch.patches))
            yield Prediction(batch.indices, batch.masks.flip(-1), values=depth[:, None])

    def details(self) -> dict[str, Any]:
        """The mean loss of each epoch; none of one in which no image had depth."""
        losses = self._steps.losses
        return {"loss_by_epoch": [loss if np.isfinite(loss) else None for loss in losses]}

    def artifacts(self) -> dict[str, bytes]:
        """The head."""
        known = ("backbone", "fingerprint", "mean", "std", "positions")
        height, width = self.params.image_size
        about = {name: self.setting.about[name] for name in known if name in self.setting.about}
        about |= {"height": height, "width": width, "mirrored": self.params.flip_test}
        about |= {"padding_is_cut": not self.has("stretched_padding")}
        return {"head.safetensors": depth_head_bytes(self._steps.training.head, about)}

    def _view(self, flipped: bool = False) -> DepthView:
        setting = self.setting
        return DepthView(
            self.params.image_size, setting.mean, setting.std, setting.patch_size, flipped
        )

    @cached_property
    def _train_view(self) -> DepthCrop:
        params, setting = self.params, self.setting
        return DepthCrop(
            as_size(params.crop),
            setting.mean,
            setting.std,
            setting.patch_size,
            image_size=self.params.image_size,
            box=params.train_box,
            rotation=params.rotation,
            gamma=(1 - params.gamma, 1 + params.gamma),
            brightness=(1 - params.brightness, 1 + params.brightness),
            colour=(1 - params.colour, 1 + params.colour),
            probability=0.5 if params.augment else 0.0,
            gamma_of_bytes=self.has("gamma_of_bytes"),
        )

    @cached_property
    def _steps(self) -> DepthSteps:
        params, setting = self.params, self.setting
        bins = Bins(
            params.bins, params.min_depth, params.max_depth, params.spacing, params.weighting
        )
        how = DepthOptimisation(
            params.steps,
            params.warmup_steps,
            params.lr,
            params.weight_decay,
            params.clip,
            farthest=None if self.has("far_truth") else params.max_depth,
            patch_size=None if self.has("stretched_padding") else setting.patch_size,
            momentum_cycles=self.has("momentum_cycle"),
        )

        def begin() -> DepthTraining:
            seed = derived_seed(setting.seed, HEAD_DRAWS)
            head = seeded_depth_head(setting.embed_dim, bins, params.batch_norm, seed)
            sig = SigLoss(WARM_CALLS if self.has("warm_loss") else 0)
            return DepthTraining(head.to(setting.device), how, MultiLoss(params.losses, sig))

        return DepthSteps(begin, params.batch_size, setting.seed, setting.workdir)

    def _train_epoch(self, train: PatchSource, epoch: int, left: int) -> float:
        """At most so many steps; returns the mean loss, in the process that makes them."""
        losses, training, watcher = [], self._steps.training, self.setting.watcher
        for batch in self._steps.batches(train, self._train_view, epoch, left):
            found = training.step(batch.patches.to(self.setting.device), batch.masks)
            losses.append(found.loss)
            watcher.status(f"step {training.done}/{self.params.steps}, loss {found.loss:.4f}")
        return float(np.nanmean(losses)) if np.isfinite(losses).any() else float("nan")

    def _depth(self, patches: Float[Tensor, "b h w d"]) -> Float[Tensor, "b h w"]:
        depth = predicted_depth(self._steps.training.head, patches.to(self.setting.device))
        if not self.has("stretched_padding"):
            depth = cut_to_image(depth, self.setting.patch_size, self.params.image_size)
        return depth.cpu()


PROTOCOL = DepthLinear
