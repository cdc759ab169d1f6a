"""Patches that the published code was given, in the place of a backbone and its images."""

from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from densebench.features.source import PatchBatch
from densebench.host.distributed import World
from densebench.measures.scoring import Scorer


class StoredMaps:
    """Feature maps that were extracted before; those in ``lacks`` cannot be read."""

    def __init__(self, maps: np.ndarray, masks: np.ndarray, lacks: Sequence[int] = ()) -> None:
        self.maps, self.masks = torch.from_numpy(maps), torch.from_numpy(masks)
        names = tuple(map(str, range(len(maps))))
        self.split = SimpleNamespace(
            order=None, names=names, groups=None, mask=lambda index: masks[index]
        )
        self.lacks, self.world, self.unreadable = set(lacks), World(), dict[str, str]()

    def __len__(self) -> int:
        return len(self.maps)

    def batches(self, *_: Any, **__: Any) -> Iterator[PatchBatch]:
        for start in range(0, len(self), 5):
            end = min(start + 5, len(self))
            there = [i for i in range(start, end) if i not in self.lacks]
            some = torch.tensor(there, dtype=torch.int64)
            yield PatchBatch(some, self.maps[some], self.masks[some])


@pytest.fixture
def capi_images(golden: Callable[[str], Any]) -> tuple[StoredMaps, StoredMaps]:
    """The training and the test images of the golden arrays."""
    arrays = golden("capi_features")
    train = StoredMaps(arrays["train"], arrays["train_mask"])
    return train, StoredMaps(arrays["test"], arrays["test_mask"])


def scored(protocol: Any, source: Any) -> tuple[float, float]:
    """The ranked mIoU of a protocol's predictions, and their pixel accuracy."""
    scorer = Scorer(protocol.scoring, source.split)
    for prediction in protocol.predict(source):
        scorer.add(prediction)
    measured = {found.metric.name: found.value for found in scorer.results()[0].measured}
    return measured["miou"], measured["pixel_accuracy"]
