"""What is watched of a student in training: retrieval mIoU on a few labelled images, consistency.

These numbers are for watching alone: they are on few images and one view, stand in the training's
log, and never in a record.
"""

from collections.abc import Callable
from dataclasses import replace

import torch

from densebench.backbones.base import DenseBackbone
from densebench.cards import find_task
from densebench.datasets import Dataset, load_dataset
from densebench.datasets.subset import limited
from densebench.features.source import PatchSource
from densebench.measures.scoring import Scorer
from densebench.posttrain.consistency import neighbour_consistency
from densebench.posttrain.recipe import MonitorTable
from densebench.protocols.base import Setting
from densebench.protocols.in_context import InContext, InContextParams


def build_monitor(
    table: MonitorTable, device: torch.device
) -> Callable[[DenseBackbone], dict[str, float]] | None:
    """What measures a student as a recipe asks for it; None when it asks for nothing.

    Raises:
        DensebenchError: no such task, or its dataset is not here.
    """
    if not table.every or not table.task:
        return None
    found = find_task(table.task)
    card, file = found.card, found.file
    dataset = limited(load_dataset(card.dataset, card_path=file), table.images)

    def measure(student: DenseBackbone) -> dict[str, float]:
        size = max(1, table.input_size // student.patch_size) * student.patch_size
        images = [dataset.val.image(index) for index in range(len(dataset.val))]
        return {
            "monitor_miou": retrieval_miou(student, dataset, size, device),
            "monitor_consistency": neighbour_consistency(student, images, size, device),
        }

    return measure


def retrieval_miou(
    backbone: DenseBackbone, dataset: Dataset, size: int, device: torch.device
) -> float:
    """In-context mIoU in [0, 1] from all patches of one view of the training images."""
    params = InContextParams(
        input_size=size, memory_size="unbounded", augmentation_epochs=1, augment=False
    )
    setting = Setting(
        target=dataset.target,
        patch_size=backbone.patch_size,
        embed_dim=backbone.embed_dim,
        mean=backbone.mean,
        std=backbone.std,
        device=device,
    )
    protocol = InContext(params, setting)
    train = PatchSource(dataset.train, backbone, device)
    val = replace(train, split=dataset.val)
    protocol.fit(train, val)
    scorer = Scorer(protocol.scoring, dataset.val)
    for prediction in protocol.predict(val):
        scorer.add(prediction)
    return scorer.value()
