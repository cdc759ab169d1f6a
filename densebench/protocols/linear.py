"""Linear segmentation: a 1x1 convolution on frozen patches, trained by cross-entropy.

Source: vpariza/NeCo at 3932160, experiments/linear_segmentation; the head ``bn_linear`` is that of
facebookresearch/dinov2's segmentation evaluation.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from densebench.backbones.base import PositionsOf
from densebench.datasets.transforms import FlippedCrop, Squash, derived_seed
from densebench.features.source import PatchBatch, PatchSource
from densebench.learners.epochs import Epochs
from densebench.learners.heads import (
    Head,
    HeadTraining,
    Optimisation,
    class_logits,
    head_bytes,
    seeded_head,
)
from densebench.learners.passes import Passes
from densebench.learners.resident import Resident
from densebench.measures.labels import LabelScoring
from densebench.measures.scoring import Prediction, Resolution, Scorer
from densebench.measures.segmentation import Absent
from densebench.protocols.base import InputSize, Needs, Protocol, ProtocolParams

HEAD_DRAWS = 3
CHOSEN_BY_VAL = "the epoch whose head is scored is the best one on the validation images"
WATCHED_BY_VAL = "the mIoU after each epoch is told; nothing depends on it"
NEVER = -1e4  # a logit that cannot win, and that upsampling does not turn into nan


class LinearParams(ProtocolParams):
    """Parameters of the head's training; sizes in pixels, ``epochs`` and ``drop_at`` in epochs.

    ``mask_size`` is that of the training and of the validation after every epoch. ``score_size`` is
    the one that is ranked: ``mask``, which is the same, or the separate published evaluator's, 448.

    ``shuffle``, ``drop_last`` and ``drop_last_val`` are what the published data modules do, each
    dataset's in its own way; ``clean`` shuffles always and scores every image. ``views`` is read by
    the variant ``cached`` alone.
    """

    input_size: InputSize = 448
    mask_size: Resolution = 100
    score_size: Resolution | Literal["mask"] = "mask"
    epochs: int = Field(default=25, gt=0, le=100_000)
    lr: float = Field(default=0.01, gt=0, le=3e38)  # what float32 holds
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=1e-4, ge=0)
    drop_at: int = Field(default=20, gt=0)
    batch_size: int = Field(default=128, gt=0)
    augment: bool = True
    optimiser: Literal["sgd", "adamw"] = "sgd"
    head: Literal["linear", "bn_linear"] = "linear"
    shuffle: bool = True
    drop_last: bool = True
    drop_last_val: bool = False
    views: int = Field(default=2, gt=0, le=1000)


class _Sizes(NamedTuple):
    """In pixels, or the original one: what is ranked, and what training and validation see.

    Masks of one batch have one size, so that ``original`` trains at the input's.
    """

    ranked: Resolution
    mask: Resolution
    training: int


class Linear(Protocol):
    """The head under three variants.

    ``reference`` extracts new augmented views every epoch and scores the head of the epoch that was
    best on the validation images; ``clean`` scores the last one; ``cached`` is ``clean`` on a fixed
    number of views that are extracted once.
    """

    published_positions: ClassVar[PositionsOf] = "neco"
    Params: ClassVar[type[ProtocolParams]] = LinearParams
    variants: ClassVar[tuple[str, ...]] = ("reference", "clean", "cached")
    version: ClassVar[int] = 2
    predicts_own: ClassVar[bool] = True
    params: LinearParams

    _predicted: int = 0  # validation images, and how many of them the published training drops
    _dropped: int = 0

    @property
    def scoring(self) -> LabelScoring:
        """The ranked size first, then the training's, the input's and the original one.

        In pixels wherever possible, so that the two published numbers are told apart: the training
        validates at 100, the separate evaluator scores at 448, which is the input's size.
        """
        sizes: tuple[Resolution, ...] = (self._sizes.ranked, self._sizes.mask, self.input_size)
        resolutions = tuple(dict.fromkeys((*sizes, "original")))
        setting = self.setting
        absent: Absent = "zero" if setting.variant == "reference" else "nan"
        classes = setting.n_classes, setting.classes, setting.ignore_index
        return LabelScoring(resolutions, "none", absent, *classes)

    @property
    def needs(self) -> Needs:
        """A pass for each epoch; no view is kept where every epoch sees new ones."""
        kept = self.params.views if self.setting.variant == "cached" else 0
        return Needs(
            train_passes=self.params.epochs,
            kept_train_views=kept if self.params.augment else 1,
            val_in_fit=CHOSEN_BY_VAL if self._is_published else WATCHED_BY_VAL,
        )

    def memory_plan(self, n_train: int, n_val: int) -> dict[str, int]:
        """A batch's patches, and its logits at the masks' size with their gradients."""
        batch, side = min(self.params.batch_size, n_train), self._sizes.training
        patches = batch * self.grid**2 * self.setting.embed_dim * 4 * 2
        logits = batch * side**2 * self.setting.n_classes * 4 * 3
        return {"patches of a batch": patches, "logits of a batch": logits}

    def fit(self, train: PatchSource, val: PatchSource) -> None:
        """Train the head, going on after the last epoch that an interrupted run finished.

        Of several processes the first one makes the steps, and the others are given its head.
        """
        self._passes.check(len(train))
        watcher, epochs, world = self.setting.watcher, self._epochs, self.setting.world
        if world.is_main and (told := epochs.resume()):
            watcher.say(told)
        done = world.from_main(len(epochs.scores))
        watcher.advance(train.phase, done * len(train))
        for epoch in range(done, self.params.epochs):
            loss = self._train_epoch(train, epoch)
            epochs.share(world)
            score = self._validate(val)
            if world.is_main:
                epochs.end(score)
            told = f"mIoU {100 * score:.2f} at {self._sizes.mask}"
            watcher.say(f"epoch {epoch + 1}/{self.params.epochs}: loss {loss:.4f}, {told}")
        if world.is_main and self._is_published:
            epochs.take_best()
        epochs.share(world)

    def predict(self, val: PatchSource) -> Iterator[Prediction]:
        """Logits of every validation patch.

        The published training may drop the last batch, so that these images do not count at
        ``mask_size``; the separate evaluator drops none.
        """
        return self._predictions(self._passes.validation(val))

    def _predictions(self, batches: Iterable[tuple[PatchBatch, bool]]) -> Iterator[Prediction]:
        head, ignored = self._epochs.training.head.eval(), self.setting.ignore_index
        counts = self._is_published or ignored >= self.setting.n_classes
        never = None if counts else ignored
        self._predicted = self._dropped = 0
        for batch, dropped in batches:
            self._predicted += len(batch.indices)
            self._dropped += len(batch.indices) if dropped else 0
            left_out = (self._sizes.mask,) if dropped else ()
            scores = _scores(head, batch.patches, never)
            yield Prediction(batch.indices, batch.masks, scores=scores, left_out=left_out)
        counted = torch.tensor([self._predicted, self._dropped])
        self._predicted, self._dropped = self.setting.world.sum(counted).tolist()

    def details(self) -> dict[str, Any]:
        """The mIoU after each epoch at ``mask_size``, and the epoch whose head was scored.

        ``scored_images`` counts the validation images by resolution.
        """
        scores = self._epochs.scores
        best = self._epochs.best if self._is_published else len(scores) - 1
        return {
            "miou_by_epoch": scores,
            "validated_at": self._sizes.mask,
            "scored_epoch": best + 1,
            "scored_images": {
                str(size): self._predicted - (self._dropped if size == self._sizes.mask else 0)
                for size in self.scoring.resolutions
            },
        }

    def artifacts(self) -> dict[str, bytes]:
        """The head."""
        about = {**self.setting.about, "input_size": self.input_size}
        return {"head.safetensors": head_bytes(self._epochs.training.head, self.params.head, about)}

    @property
    def _is_published(self) -> bool:
        return self.setting.variant == "reference"

    @cached_property
    def _sizes(self) -> _Sizes:
        pixels = {"input": self.input_size}
        mask: Resolution = pixels.get(str(self.params.mask_size), self.params.mask_size)
        wanted = self.params.score_size
        ranked = mask if wanted == "mask" else pixels.get(str(wanted), wanted)
        return _Sizes(ranked, mask, mask if isinstance(mask, int) else self.input_size)

    @cached_property
    def _passes(self) -> Passes:
        """The published quirks of order and last batches are the reference's alone."""
        params, setting = self.params, self.setting
        squashed = Squash(self.input_size, setting.mean, setting.std, centred_mask=True)
        cropped = FlippedCrop(self.input_size, setting.mean, setting.std)
        return Passes(
            train_view=cropped if params.augment else squashed,
            val_view=squashed,
            batch_size=params.batch_size,
            drop_last=params.drop_last,
            drop_last_val=params.drop_last_val and self._is_published,
            shuffle=params.shuffle or not self._is_published,
            fixed_views=params.views if setting.variant == "cached" else None,
            keep=bool(self.needs.kept_train_views),
            seed=setting.seed,
            resident=Resident(setting.device, setting.world),
        )

    @cached_property
    def _epochs(self) -> Epochs:
        params, setting = self.params, self.setting
        how = Optimisation(
            params.optimiser, params.lr, params.momentum, params.weight_decay, params.drop_at
        )

        def begin() -> HeadTraining:
            seed = derived_seed(setting.seed, HEAD_DRAWS)
            head = seeded_head(setting.embed_dim, setting.n_classes, params.head, seed)
            return HeadTraining(head.to(setting.device), how, setting.ignore_index)

        return Epochs(begin, params.epochs, setting.workdir)

    def _train_epoch(self, train: PatchSource, epoch: int) -> float:
        """One pass in batches; returns the mean loss, in the process that makes the steps.

        Raises:
            DensebenchError: the loss is not finite, or there was no batch to make a step on.
        """
        losses = []
        training, watcher = self._epochs.training, self.setting.watcher
        for batch in self._passes.training(train, epoch):
            patches = batch.patches.to(self.setting.device)
            losses.append(training.step(patches, batch.masks, self._sizes.training))
            watcher.status(f"epoch {epoch + 1}/{self.params.epochs}, loss {losses[-1]:.4f}")
        if losses:
            training.end_epoch()
        return float(np.mean(losses)) if losses else float("nan")

    def _validate(self, val: PatchSource) -> float:
        """The mIoU of the present head at ``mask_size``."""
        scoring = replace(self.scoring, resolutions=(self._sizes.mask,))
        scorer = Scorer(scoring, val.split)
        for prediction in self._predictions(self._passes.validation_again(val)):
            scorer.add(prediction)
        world = self.setting.world
        scorer.gather(world)
        return world.from_main(scorer.value() if world.is_main else 0.0)


@torch.inference_mode()
def _scores(
    head: Head, patches: Float[Tensor, "b h w d"], never: int | None
) -> Float[Tensor, "b c h w"]:
    """Logits of the head, with none for a class that is never predicted."""
    logits = class_logits(head, patches.to(next(head.parameters()).device))
    if never is not None:
        logits[:, never] = NEVER
    return logits


PROTOCOL = Linear
