"""The mean IoU of arrays, against torchmetrics."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.classification import MulticlassJaccardIndex

from densebench.host.errors import DensebenchError
from densebench.measures.meter import MeanIoU

LABELS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60)


@given(LABELS, st.integers(1, 5))
def test_pieces_give_what_torchmetrics_gives_of_all(pairs, pieces: int) -> None:
    predicted, truth = map(np.array, zip(*pairs, strict=True))
    theirs = MulticlassJaccardIndex(4, average="none")(torch.tensor(predicted), torch.tensor(truth))
    there = np.isin(np.arange(4), [*predicted, *truth])
    meter = MeanIoU(classes=4)
    for part in np.array_split(np.arange(len(truth)), pieces):
        meter.update(torch.tensor(predicted[part]), truth[part])
    assert meter.compute() == pytest.approx(float(theirs.numpy()[there].mean()), abs=1e-6)
    zero = MeanIoU(classes=4, absent="zero")
    zero.update(predicted, truth)
    assert zero.compute() == pytest.approx(float(theirs.mean()), abs=1e-6)


def test_void_and_forgetting() -> None:
    meter = MeanIoU(classes=2)
    meter.update([0, 1, 1], [0, 1, 255])
    assert meter.compute() == 1.0
    assert meter.confusion.tolist() == [[1, 0], [0, 1]]
    meter.reset()
    assert meter.confusion.sum() == 0


@pytest.mark.parametrize(
    ("predicted", "truth"), [([0], [0, 1]), ([2], [0]), ([0], [2]), ([-1], [0])]
)
def test_what_cannot_be_counted(predicted: list[int], truth: list[int]) -> None:
    with pytest.raises(DensebenchError, match="MeanIoU"):
        MeanIoU(classes=2).update(predicted, truth)
