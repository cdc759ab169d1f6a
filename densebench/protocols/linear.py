"""Linear segmentation: a 1x1 convolution on frozen patches, trained by cross-entropy.

Source: vpariza/NeCo at 3932160, experiments/linear_segmentation; the head ``bn_linear`` is that of
facebookresearch/dinov2's segmentation evaluation.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from densebench.backbones.base import PositionsOf
from densebench.datasets.transforms import FlippedCrop, Squash, Transform, derived_seed
from densebench.features.source import PatchBatch, PatchSource
from densebench.host.errors import DensebenchError
from densebench.learners.batching import in_batches
from densebench.learners.heads import Head, HeadTraining, Optimisation, class_logits, head_bytes
from densebench.learners.resume import Checkpoint
from densebench.measures.labels import LabelScoring
from densebench.measures.scoring import Prediction, Resolution, Scorer
from densebench.measures.segmentation import Absent
from densebench.protocols.base import InputSize, Needs, Protocol, ProtocolParams

ORDER_DRAWS, HEAD_DRAWS = 2, 3
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
    params: LinearParams

    _training: HeadTraining
    _history: list[float]
    _best: dict[str, Tensor]
    _predicted: int = 0  # validation images, and how many of them the published training drops
    _dropped: int = 0

    @property
    def scoring(self) -> LabelScoring:
        """The ranked size first, then the training's, the input's and the original one.

        In pixels wherever possible, so that the two published numbers are told apart: the training
        validates at 100, the separate evaluator scores at 448, which is the input's size.
        """
        ranked = self.params.score_size
        wanted = (self._mask_size if ranked == "mask" else self._in_pixels(ranked), self._mask_size)
        resolutions = tuple(dict.fromkeys((*wanted, self.input_size, "original")))
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
            val_in_fit=CHOSEN_BY_VAL if self._keeps_best else WATCHED_BY_VAL,
        )

    def memory_plan(self, n_train: int, n_val: int) -> dict[str, int]:
        """A batch's patches, and its logits at the masks' size with their gradients."""
        batch, side = min(self.params.batch_size, n_train), self._train_mask_size
        patches = batch * self.grid**2 * self.setting.embed_dim * 4 * 2
        logits = batch * side**2 * self.setting.n_classes * 4 * 3
        return {"patches of a batch": patches, "logits of a batch": logits}

    def fit(self, train: PatchSource, val: PatchSource) -> None:
        """Train the head, going on after the last epoch that an interrupted run finished."""
        self._check_batch(len(train))
        self._begin()
        self._restore()
        self.setting.watcher.advance(train.phase, len(self._history) * len(train))
        for epoch in range(len(self._history), self.params.epochs):
            loss = self._train_epoch(train, epoch)
            self._end_epoch(self._validate(val))
            score = f"mIoU {100 * self._history[-1]:.2f} at {self._mask_size}"
            self.setting.watcher.say(
                f"epoch {epoch + 1}/{self.params.epochs}: loss {loss:.4f}, {score}"
            )
        if self.setting.variant == "reference":
            self._training.head.load_state_dict(self._best)

    def predict(self, val: PatchSource) -> Iterator[Prediction]:
        """Logits of every validation patch.

        The published training may drop the last batch, so that these images do not count at
        ``mask_size``; the separate evaluator drops none.
        """
        self._training.head.eval()
        self._predicted = self._dropped = 0
        for batch, dropped in self._val_batches(val):
            self._predicted += len(batch.indices)
            self._dropped += len(batch.indices) if dropped else 0
            left_out = (self._mask_size,) if dropped else ()
            scores = self._logits(batch.patches)
            yield Prediction(batch.indices, batch.masks, scores=scores, left_out=left_out)

    def details(self) -> dict[str, Any]:
        """The mIoU after each epoch at ``mask_size``, and the epoch whose head was scored.

        ``scored_images`` counts the validation images by resolution.
        """
        best = int(np.argmax(self._history)) if self._keeps_best else len(self._history) - 1
        return {
            "miou_by_epoch": self._history,
            "validated_at": self._mask_size,
            "scored_epoch": best + 1,
            "scored_images": {
                str(size): self._predicted - (self._dropped if size == self._mask_size else 0)
                for size in self.scoring.resolutions
            },
        }

    def artifacts(self) -> dict[str, bytes]:
        """The head."""
        about = {**self.setting.about, "input_size": self.input_size}
        return {"head.safetensors": head_bytes(self._training.head, self.params.head, about)}

    @property
    def _keeps_best(self) -> bool:
        return self.setting.variant == "reference"

    @property
    def _mask_size(self) -> Resolution:
        return self._in_pixels(self.params.mask_size)

    def _in_pixels(self, size: Resolution) -> Resolution:
        return self.input_size if size == "input" else size

    @property
    def _train_mask_size(self) -> int:
        """Masks of one batch have one size, so that ``original`` trains at the input's."""
        size = self._mask_size
        return size if isinstance(size, int) else self.input_size

    @property
    def _val_view(self) -> Transform:
        return Squash(self.input_size, self.setting.mean, self.setting.std, centred_mask=True)

    @property
    def _train_view(self) -> Transform:
        if self.params.augment:
            return FlippedCrop(self.input_size, self.setting.mean, self.setting.std)
        return self._val_view

    def _check_batch(self, n_train: int) -> None:
        if self.params.drop_last and n_train < self.params.batch_size:
            raise DensebenchError(
                f"batch_size {self.params.batch_size} is more than the {n_train} training images, "
                f"and incomplete batches are dropped; use --set batch_size={n_train} or fewer"
            )

    def _begin(self) -> None:
        self._training = self._new_training()
        self._history, self._best = [], {}

    def _new_training(self) -> HeadTraining:
        params, setting = self.params, self.setting
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed(setting.seed, HEAD_DRAWS))
            head = Head(setting.embed_dim, setting.n_classes, params.head).to(setting.device)
        how = Optimisation(
            params.optimiser, params.lr, params.momentum, params.weight_decay, params.drop_at
        )
        return HeadTraining(head, how, setting.ignore_index)

    def _train_epoch(self, train: PatchSource, epoch: int) -> float:
        """One pass in batches; returns the mean loss.

        Raises:
            DensebenchError: the loss is not finite, or there was no batch to make a step on.
        """
        losses = []
        for batch in self._head_batches(train, epoch):
            patches = batch.patches.to(self.setting.device)
            loss = self._training.step(patches, batch.masks, self._train_mask_size)
            losses.append(loss)
            self.setting.watcher.status(f"epoch {epoch + 1}/{self.params.epochs}, loss {loss:.4f}")
        if not losses:
            raise self._nothing_to_learn_from(train)
        self._training.end_epoch()
        return float(np.mean(losses))

    def _nothing_to_learn_from(self, train: PatchSource) -> DensebenchError:
        readable, size = len(train) - len(train.unreadable), self.params.batch_size
        if not readable:
            return DensebenchError(f"none of the {len(train)} training images can be read")
        return DensebenchError(
            f"only {readable} of the {len(train)} training images can be read, fewer than "
            f"batch_size {size}, and incomplete batches are dropped; "
            f"use --set batch_size={readable} or fewer"
        )

    def _head_batches(self, train: PatchSource, epoch: int) -> Iterator[PatchBatch]:
        """The epoch's views in batches of the head's size, which need not be the extraction's."""
        cached = self.setting.variant == "cached"
        view = epoch % self.params.views if cached else epoch
        kept = bool(self.needs.kept_train_views)
        order, size = self._order(train, epoch), self.params.batch_size
        views = train.batches(self._train_view, self.setting.seed, view, order, keep=kept)
        for batch in in_batches(views, size):
            if len(batch.indices) == size or not self.params.drop_last:
                yield batch

    def _order(self, train: PatchSource, epoch: int) -> list[int]:
        """The list's own order where the published loader does not shuffle."""
        if not self.params.shuffle and self.setting.variant == "reference":
            return list(train.split.order or range(len(train)))
        seed = derived_seed(self.setting.seed, epoch, ORDER_DRAWS)
        return torch.randperm(len(train), generator=torch.Generator().manual_seed(seed)).tolist()

    def _val_batches(self, val: PatchSource) -> Iterator[tuple[PatchBatch, bool]]:
        """With each batch, whether the published training's loader drops it.

        That is the last incomplete one, counted in images that can be read and in the list's own
        order, unless it is the only one.
        """
        if self.setting.variant != "reference" or not self.params.drop_last_val:
            yield from ((batch, False) for batch in val.batches(self._val_view))
            return
        views, size = val.batches(self._val_view, order=val.split.order), self.params.batch_size
        for number, batch in enumerate(in_batches(views, size)):
            yield batch, number > 0 and len(batch.indices) < size

    def _validate(self, val: PatchSource) -> float:
        """The mIoU of the present head at ``mask_size``."""
        scoring = replace(self.scoring, resolutions=(self._mask_size,))
        scorer = Scorer(scoring, val.split)
        for prediction in self.predict(val):
            scorer.add(prediction)
        return scorer.value()

    @torch.inference_mode()
    def _logits(self, patches: Float[Tensor, "b h w d"]) -> Float[Tensor, "b c h w"]:
        logits = class_logits(self._training.head, patches.to(self.setting.device))
        ignored = self.setting.ignore_index
        if self.setting.variant != "reference" and ignored < self.setting.n_classes:
            logits[:, ignored] = NEVER
        return logits

    def _end_epoch(self, miou: float) -> None:
        """Note the mIoU, keep the best head, and leave a checkpoint."""
        if not self._history or miou > max(self._history):
            self._best = {k: v.clone() for k, v in self._training.head.state_dict().items()}
        self._history.append(miou)
        if self.setting.workdir is not None:
            state = {"training": self._training.state(), "history": self._history}
            Checkpoint(self.setting.workdir).save({**state, "best": self._best})

    def _restore(self) -> None:
        """Take up the last checkpoint of an interrupted run; one that is of no use is passed by."""
        if self.setting.workdir is None:
            return
        checkpoint = Checkpoint(self.setting.workdir)
        if not checkpoint.file.exists():
            return
        if checkpoint.restore(self._take_up):
            done = len(self._history)
            self.setting.watcher.say(f"going on after epoch {done} of {self.params.epochs}")
        else:
            self._begin()
            self.setting.watcher.say(f"{checkpoint.file} is of no use; the training begins anew")

    def _take_up(self, state: dict[str, Any]) -> None:
        if not 0 < len(state["history"]) <= self.params.epochs:
            raise ValueError("another number of epochs")
        self._new_training().head.load_state_dict(state["best"])  # refuses what does not fit
        self._training.restore(state["training"])
        self._history, self._best = state["history"], state["best"]


PROTOCOL = Linear
