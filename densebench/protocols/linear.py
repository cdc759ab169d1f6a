"""Linear segmentation: a 1x1 convolution on frozen patches, trained by cross-entropy.

Source: vpariza/NeCo at 3932160, experiments/linear_segmentation; the head ``bn_linear`` is that of
facebookresearch/dinov2's segmentation evaluation.
"""

import io
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from densebench.backbones.base import PositionsOf
from densebench.errors import DensebenchError
from densebench.features import PatchBatch, PatchSource
from densebench.heads import Head, HeadTraining, Optimisation, head_bytes
from densebench.metrics import Absent
from densebench.protocols.base import (
    InputSize,
    Prediction,
    Protocol,
    ProtocolParams,
    Resolution,
    Scoring,
)
from densebench.results import write_atomically
from densebench.scoring import Scorer
from densebench.transforms import FlippedCrop, Squash, Transform, derived_seed

ORDER_DRAWS, HEAD_DRAWS = 2, 3
NEVER = -1e4  # a logit that cannot win, and that upsampling does not turn into nan


class LinearParams(ProtocolParams):
    """Parameters of the head's training; sizes in pixels, ``epochs`` and ``drop_at`` in epochs.

    ``shuffle``, ``drop_last`` and ``drop_last_val`` are what the published data modules do, each
    dataset's in its own way; ``clean`` shuffles always and scores every image. ``views`` is read by
    the variant ``cached`` alone.
    """

    input_size: InputSize = 448
    mask_size: Resolution = 100
    epochs: int = Field(default=25, gt=0)
    lr: float = Field(default=0.01, gt=0)
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
    views: int = Field(default=2, gt=0)


class Linear(Protocol):
    """The head under three variants.

    ``reference`` extracts new augmented views every epoch and scores the head of the epoch that was
    best on the validation images; ``clean`` scores the last one; ``cached`` is ``clean`` on a fixed
    number of views that are extracted once.
    """

    published_positions: ClassVar[PositionsOf] = "neco"
    Params: ClassVar[type[ProtocolParams]] = LinearParams
    variants: ClassVar[tuple[str, ...]] = ("reference", "clean", "cached")
    params: LinearParams

    _training: HeadTraining
    _history: list[float]
    _best: dict[str, Tensor]

    @property
    def scoring(self) -> Scoring:
        """At the masks' size of the training, and at the original one."""
        size = self.params.mask_size
        resolutions: tuple[Resolution, ...] = (size,) if size == "original" else (size, "original")
        absent: Absent = "zero" if self.setting.variant == "reference" else "nan"
        return Scoring(resolutions, "none", absent, self.setting.n_classes)

    @property
    def train_passes(self) -> int:
        """One for each epoch."""
        return self.params.epochs

    @property
    def kept_train_views(self) -> int:
        """None where every epoch sees new views."""
        if not self.params.augment:
            return 1
        return self.params.views if self.setting.variant == "cached" else 0

    def memory_plan(self, n_train: int, n_val: int) -> dict[str, int]:
        """A batch's patches, and its logits at the masks' size with their gradients."""
        batch, side = min(self.params.batch_size, n_train), self._train_mask_size
        patches = batch * self.grid**2 * self.setting.embed_dim * 4 * 2
        logits = batch * side**2 * self.setting.n_classes * 4 * 3
        return {"patches of a batch": patches, "logits of a batch": logits}

    def fit(self, train: PatchSource, val: PatchSource) -> None:
        """Train the head, going on after the last epoch that an interrupted run finished."""
        self._check_batch(len(train))
        self._training = self._new_training()
        self._history, self._best = [], {}
        self._restore()
        train.advance(len(self._history) * len(train))
        for epoch in range(len(self._history), self.params.epochs):
            loss = self._train_epoch(train, epoch)
            self._end_epoch(self._validate(val))
            score = f"mIoU {100 * self._history[-1]:.2f} at {self.params.mask_size}"
            self.setting.say(f"epoch {epoch + 1}/{self.params.epochs}: loss {loss:.4f}, {score}")
        if self.setting.variant == "reference":
            self._training.head.load_state_dict(self._best)

    def predict(self, val: PatchSource) -> Iterator[Prediction]:
        """Logits of every validation patch; the published code may drop the last batch."""
        self._training.head.eval()
        left = self._scored_images(len(val))
        for batch in val.batches(self._val_view):
            kept = min(left, len(batch.indices))
            left -= kept
            if kept:
                scores = self._logits(batch.patches[:kept])
                yield Prediction(batch.indices[:kept], batch.masks[:kept], scores=scores)

    def details(self) -> dict[str, Any]:
        """The mIoU after each epoch at ``mask_size``, and the epoch whose head was scored."""
        best = int(np.argmax(self._history)) if self._keeps_best else len(self._history) - 1
        return {"miou_by_epoch": self._history, "scored_epoch": best + 1}

    def artifacts(self) -> dict[str, bytes]:
        """The head."""
        about = {**self.setting.about, "input_size": self.input_size}
        return {"head.safetensors": head_bytes(self._training.head, self.params.head, about)}

    @property
    def _keeps_best(self) -> bool:
        return self.setting.variant == "reference"

    @property
    def _train_mask_size(self) -> int:
        """Masks of one batch have one size, so that ``original`` trains at the input's."""
        size = self.params.mask_size
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
        """One pass in batches; returns the mean loss."""
        losses = []
        for patches, masks in self._head_batches(train, epoch):
            loss = self._training.step(
                patches.to(self.setting.device), masks, self._train_mask_size
            )
            losses.append(loss)
            self.setting.status(f"epoch {epoch + 1}/{self.params.epochs}, loss {loss:.4f}")
        self._training.end_epoch()
        return float(np.mean(losses))

    def _head_batches(self, train: PatchSource, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The epoch's views in batches of the head's size, which need not be the extraction's."""
        cached = self.setting.variant == "cached"
        view = epoch % self.params.views if cached else epoch
        kept = bool(self.kept_train_views)
        order = self._order(len(train), epoch)
        size, waiting = self.params.batch_size, list[PatchBatch]()
        for batch in train.batches(self._train_view, self.setting.seed, view, order, keep=kept):
            waiting.append(batch)
            if sum(len(b.indices) for b in waiting) >= size:
                patches = torch.cat([b.patches for b in waiting])
                masks = torch.cat([b.masks for b in waiting])
                yield patches[:size], masks[:size]
                indices = torch.cat([b.indices for b in waiting])
                waiting = [PatchBatch(indices[size:], patches[size:], masks[size:])]
        if waiting and len(waiting[0].indices) and not self.params.drop_last:
            yield torch.cat([b.patches for b in waiting]), torch.cat([b.masks for b in waiting])

    def _order(self, n_train: int, epoch: int) -> list[int]:
        if not self.params.shuffle and self.setting.variant == "reference":
            return list(range(n_train))
        seed = derived_seed(self.setting.seed, epoch, ORDER_DRAWS)
        return torch.randperm(n_train, generator=torch.Generator().manual_seed(seed)).tolist()

    def _scored_images(self, n_val: int) -> int:
        """The published VOC loader drops the last incomplete validation batch."""
        size = self.params.batch_size
        drops = self.setting.variant == "reference" and self.params.drop_last_val
        return n_val // size * size if drops and n_val >= size else n_val

    def _validate(self, val: PatchSource) -> float:
        """The mIoU of the present head at ``mask_size``."""
        scoring = replace(self.scoring, resolutions=(self.params.mask_size,))
        scorer = Scorer(scoring, self.setting.classes, self.setting.ignore_index, val.split)
        for prediction in self.predict(val):
            scorer.add(prediction)
        return scorer.miou()

    @torch.inference_mode()
    def _logits(self, patches: Float[Tensor, "b h w d"]) -> Float[Tensor, "b c h w"]:
        logits: Tensor = self._training.head(patches.to(self.setting.device))
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
            buffer = io.BytesIO()
            torch.save({**state, "best": self._best}, buffer)
            write_atomically(self.setting.workdir / "epoch.pt", buffer.getvalue())

    def _restore(self) -> None:
        """Take up the last checkpoint of an interrupted run, if there is one."""
        if self.setting.workdir is None or not (self.setting.workdir / "epoch.pt").exists():
            return
        state = torch.load(self.setting.workdir / "epoch.pt", weights_only=True)
        self._training.restore(state["training"])
        self._history, self._best = state["history"], state["best"]
        self.setting.say(f"going on after epoch {len(self._history)} of {self.params.epochs}")


PROTOCOL = Linear
