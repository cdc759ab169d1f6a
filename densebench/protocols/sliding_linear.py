"""Linear segmentation at true aspect ratio: a head trained on crops, scored by sliding windows.

Source: facebookresearch/dinov3 at 6876159, dinov3/eval/segmentation with its ADE20K linear config;
in spirit that of DINOv2. docs/protocols/sliding_linear.md has the quirks.
"""

from collections.abc import Iterator
from functools import cached_property, partial
from typing import Any, ClassVar, Literal, TypeVar, get_args

import torch
from jaxtyping import Float, Int64
from pydantic import Field, PositiveFloat
from torch import Tensor

from densebench.datasets.aspect_crops import AspectCrop, fitted_side, resized_shape
from densebench.datasets.sizes import Size
from densebench.datasets.transforms import derived_seed, resize_labels
from densebench.datasets.windows import Sliding, Window, scaled_side
from densebench.features.loading import Unreadable
from densebench.features.source import PatchSource
from densebench.host.errors import DensebenchError
from densebench.learners.counted_classes import CountedClasses
from densebench.learners.crops import CropStream
from densebench.learners.heads import class_logits, head_bytes
from densebench.learners.long_training import LongTraining
from densebench.learners.normed_head import (
    HeadSteps,
    NormedHead,
    kept_channels,
    seeded_normed_head,
)
from densebench.learners.onecycle import WarmupOneCycle
from densebench.learners.pixel_loss import pixel_loss
from densebench.learners.sliding import SlidingTest
from densebench.measures.class_means import MeanAccuracy, MeanDice, MeanFScore, MeanPrecision
from densebench.measures.labels import LabelScoring
from densebench.measures.scoring import Prediction, Resolution, Scorer
from densebench.protocols.base import InputSize, Needs, ProtocolParams, resolve_input_size
from densebench.protocols.quirks import AUTO, QuirkyParams, QuirkyProtocol

P = TypeVar("P", bound=ProtocolParams)

HEAD_DRAWS, DROPOUT_DRAWS = 3, 4
Quirk = Literal["loss_over_void", "repeated_draws", "best_of_validations"]
NO_CLASS = 255  # in the file of a head
CHOSEN_BY_VAL = "the head that is scored is the one that was best on the validation images"


class SlidingLinearParams(QuirkyParams):
    """Parameters of training and test; sizes in pixels, lengths in steps.

    ``input_size`` is the side of crops and windows, and need be no multiple of the patch:
    ``partial_patches`` says whether pixels beyond the last whole patch are dropped or padded.
    ``image_size`` is the shorter side of a validation image, which ``ratios`` of training images
    refer to. ``scales`` and ``flip_test`` average class probabilities over several test images;
    ``mode`` ``whole`` has no windows: images are stretched to a square of ``input_size``, and
    scored at ``image_size``. ``validations`` are those of the quirk ``best_of_validations``.
    """

    input_size: InputSize = 512
    image_size: int = Field(default=512, gt=0, le=1 << 14)
    stride: int = Field(default=341, gt=0)
    mode: Literal["slide", "whole"] = "slide"
    scales: tuple[PositiveFloat, ...] = Field(default=(1.0,), min_length=1, max_length=100)
    flip_test: bool = False
    ratios: tuple[PositiveFloat, PositiveFloat] = (0.5, 2.0)
    largest_share: float = Field(default=0.75, gt=0)
    flip: float = Field(default=0.5, ge=0, le=1)
    distort: bool = True
    partial_patches: Literal["auto", "drop", "pad"] = "auto"
    dropout: float = Field(default=0.1, ge=0, lt=1)
    steps: int = Field(default=40_000, gt=0, le=10_000_000)
    warmup: int = Field(default=1_500, ge=0)
    batch_size: int = Field(default=16, gt=0, le=100_000)
    lr: float = Field(default=1e-3, gt=0, le=3e38)  # what float32 holds
    weight_decay: float = Field(default=1e-3, ge=0)
    validations: int = Field(default=8, gt=0, le=100_000)
    quirks: tuple[Quirk, ...] | Literal["auto"] = AUTO


class SlidingLinear(QuirkyProtocol):
    """The head under two variants.

    ``reference`` is the published code: the loss counts void and padded pixels as 0 in its mean,
    every pass draws the same crops again, what does not fill a patch is dropped, and the head that
    is scored is the best of eight on the validation images. ``clean`` does none of that; ``quirks``
    names which of the first, second and last are kept.
    """

    Params: ClassVar[type[ProtocolParams]] = SlidingLinearParams
    version: ClassVar[int] = 1
    QUIRKS: ClassVar[tuple[str, ...]] = get_args(Quirk)
    params: SlidingLinearParams

    _test: SlidingTest | None = None

    @classmethod
    def resolve(cls, params: P, variant: str) -> P:
        """Also what becomes of pixels that fill no patch."""
        resolved = super().resolve(params, variant)
        if not isinstance(params, SlidingLinearParams) or params.partial_patches != "auto":
            return resolved
        how = "drop" if variant == "reference" else "pad"
        return resolved.model_copy(update={"partial_patches": how})

    @classmethod
    def shape_for(cls, params: SlidingLinearParams, patch_size: int) -> Size:
        """That of a crop, brought to whole patches."""
        side = _side(params, patch_size)
        fitted = fitted_side(side, patch_size, params.partial_patches == "drop")
        if fitted <= 0:
            raise DensebenchError(
                f"input_size {side} is no crop for patches of {patch_size} pixels; "
                f"take {patch_size} or more"
            )
        return fitted, fitted

    @property
    def scoring(self) -> LabelScoring:
        """At the original masks; without windows at masks that are resized as the image is."""
        resolution: Resolution = "original" if self.params.mode == "slide" else "input"
        setting = self.setting
        classes = setting.n_classes, setting.classes, setting.ignore_index
        further = MeanAccuracy(), MeanPrecision(), MeanDice(), MeanFScore()
        return LabelScoring((resolution,), "none", "nan", *classes, further)

    @property
    def needs(self) -> Needs:
        """So many crops; images of 4:3 have two windows."""
        params = self.params
        views = len(params.scales) * (2 if params.flip_test else 1)
        return Needs(
            train_images=params.steps * params.batch_size,
            val_looks=params.validations if self._takes_best else 0,
            kept_val_views=views * (2 if params.mode == "slide" else 1),
            val_in_fit=CHOSEN_BY_VAL if self._takes_best else "",
        )

    def memory_plan(self, n_train: int, n_val: int) -> dict[str, int]:
        """A batch's patches, and what the logits of one crop or one image take."""
        params, n_classes = self.params, len(self._classes.kept)
        patches = params.batch_size * self.grid**2 * self.setting.embed_dim * 4 * 2
        crop = self._crop.view_shape[0] ** 2 * n_classes * 4 * 4
        larger = max(1.0, *params.scales) ** 2
        image = round(2 * params.image_size**2 * larger) * n_classes * 4 * 3
        return {"patches of a batch": patches, "logits": max(crop, image)}

    def fit(self, train: PatchSource, val: PatchSource) -> None:
        """Train the head, going on after the last checkpoint of an interrupted run.

        Of several processes the first one makes the steps, and the others extract with it.
        """
        training, world, watcher = self._training, self.setting.world, self.setting.watcher
        if world.is_main and (told := training.resume()):
            watcher.say(told)
        training.share(world)
        watcher.advance(train.phase, training.steps.done * self.params.batch_size)
        repeats = self.has("repeated_draws")
        stream = CropStream(train, self._crop, self.setting.seed, repeats)
        stream.position = training.position
        while training.is_due or not training.is_done:
            if training.is_due:
                score = _value(self.scoring, val, self.predict(val))
                if score is not None:
                    watcher.say(training.end_validation(score))
            else:
                self._train(stream)
            if world.is_main:
                training.save()
            training.share(world)
        if world.is_main and self._takes_best:
            training.take_best()

    def predict(self, val: PatchSource) -> Iterator[Prediction]:
        """Scores of every validation image, one by one."""
        head, device = self._training.steps.head.eval(), self.setting.device
        self._test = self._test or _test(self.params, self._crop, val)

        def logits_of(patches: Float[Tensor, "b h w d"]) -> Float[Tensor, "b c h w"]:
            return class_logits(head, patches.to(device))

        for index, scores in self._test.scores(logits_of):
            try:
                mask = torch.from_numpy(val.split.mask(index))[None]
            except DensebenchError as error:
                val.leave_out(Unreadable(val.split.names[index], str(error)))
                continue
            val.watcher.advance(val.phase, 1)
            size: Size = self.input_size, self.input_size  # for panels
            if self.params.mode == "whole":
                size = resized_shape((mask.shape[1], mask.shape[2]), self.params.image_size)
            every = self._classes.scores(scores)
            yield Prediction(torch.tensor([index]), resize_labels(mask, size), scores=every[None])

    def details(self) -> dict[str, Any]:
        """The mIoU of each validation, and the step after which the scored head was there."""
        training, params = self._training, self.params
        return {
            "miou_by_validation": training.scores,
            "scored_step": training.best_step,
            "crops": params.steps * params.batch_size,
        }

    def artifacts(self) -> dict[str, bytes]:
        """The head that is scored, of the classes that count."""
        setting, kept = self.setting, self._classes.kept
        about = {**setting.about, "input_size": self.input_size}
        for key in ("classes", "palette"):
            about[key] = [about[key][i] for i in kept]
        if setting.ignore_index < setting.n_classes:
            about["ignore_index"] = NO_CLASS
        return {"head.safetensors": head_bytes(self._training.steps.head, "bn_linear", about)}

    @property
    def _takes_best(self) -> bool:
        return self.has("best_of_validations")

    @cached_property
    def _classes(self) -> CountedClasses:
        """The published head has no output for a class that does not count."""
        return CountedClasses(self.setting.n_classes, self.setting.ignore_index)

    @cached_property
    def _crop(self) -> AspectCrop:
        params, setting = self.params, self.setting
        return AspectCrop(
            _side(params, setting.patch_size),
            setting.mean,
            setting.std,
            patch=setting.patch_size,
            drops=params.partial_patches == "drop",
            shorter=params.image_size,
            ratios=params.ratios,
            largest_share=params.largest_share,
            flip=params.flip,
            distorts=params.distort,
            void=setting.ignore_index,
        )

    @cached_property
    def _training(self) -> LongTraining:
        params, setting = self.params, self.setting
        schedule = WarmupOneCycle.of_segmentation(params.lr, params.steps, params.warmup)

        def begin() -> HeadSteps:
            seed = derived_seed(setting.seed, HEAD_DRAWS)
            head = seeded_normed_head(setting.embed_dim, len(self._classes.kept), seed)
            return HeadSteps(head.to(setting.device), schedule, params.weight_decay)

        validations = min(params.validations, params.steps) if self._takes_best else 0
        return LongTraining(begin, params.steps, validations, setting.workdir)

    def _train(self, stream: CropStream) -> None:
        """The steps to the next checkpoint or validation."""
        training, setting, params = self._training, self.setting, self.params
        for batch in stream.batches(training.stretch, params.batch_size):
            kept = kept_channels(
                len(batch.patches),
                setting.embed_dim,
                params.dropout,
                derived_seed(setting.seed, training.steps.done, DROPOUT_DRAWS),
            )
            batch_loss = partial(
                _loss,
                batch.patches.to(setting.device),
                kept.to(setting.device),
                self._classes.outputs(batch.masks).to(setting.device),
                over_all=self.has("loss_over_void"),
            )
            loss = training.steps.step(batch_loss)
            setting.watcher.status(f"step {training.steps.done}/{params.steps}, loss {loss:.4f}")
        training.position = stream.position


def _loss(
    patches: Float[Tensor, "b h w d"],
    kept: Float[Tensor, "b d"],
    labels: Int64[Tensor, "b H W"],
    head: NormedHead,
    over_all: bool,
) -> Float[Tensor, ""]:
    return pixel_loss(head(patches, kept), labels, over_all)


def _value(
    scoring: LabelScoring, val: PatchSource, predictions: Iterator[Prediction]
) -> float | None:
    """The ranked number of predictions, in the process that has them.

    Raises:
        DensebenchError: there is none.
    """
    scorer = Scorer(scoring, val.split)
    for prediction in predictions:
        scorer.add(prediction)
    return scorer.value() if val.world.is_main else None


def _test(params: SlidingLinearParams, crop: AspectCrop, val: PatchSource) -> SlidingTest:
    """How the validation images are looked at."""
    side = crop.view_shape[0] if params.mode == "slide" else 0
    flips = (False, True) if params.flip_test else (False,)
    ways = [
        Sliding(scaled_side(params.image_size, scale), side, params.stride, flipped)
        for flipped in flips
        for scale in params.scales
    ]
    stretched = params.mode == "whole"

    def view_of(shape: Size) -> Window:
        size = crop.view_shape if stretched else shape
        return Window(size, crop.mean, crop.std, crop.patch, crop.drops, stretched)

    return SlidingTest(val, ways, view_of)


def _side(params: SlidingLinearParams, patch_size: int) -> int:
    """The side of crops and windows before they are brought to whole patches."""
    if isinstance(params.input_size, int):
        return params.input_size
    return resolve_input_size(params.input_size, patch_size)


PROTOCOL = SlidingLinear
