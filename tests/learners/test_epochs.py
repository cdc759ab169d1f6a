"""What is kept from epoch to epoch: scores, the best head, and where to go on."""

from pathlib import Path

import pytest
import torch

from densebench.learners.epochs import Epochs
from densebench.learners.heads import HeadTraining, Optimisation, seeded_head


def begin() -> HeadTraining:
    return HeadTraining(seeded_head(3, 2, "linear", 0), Optimisation("sgd", 0.1, 0.9, 0.0, 9), 255)


def bias(epochs: Epochs) -> list[float]:
    found: list[float] = epochs.training.head.classify.bias.tolist()
    return found


def end(epochs: Epochs, value: float, score: float) -> None:
    torch.nn.init.constant_(epochs.training.head.classify.bias, value)
    epochs.end(score)


def test_the_first_of_the_best_heads_is_taken() -> None:
    epochs = Epochs(begin, 4, None)
    for value, score in ((1.0, 0.2), (2.0, 0.5), (3.0, 0.5), (4.0, 0.1)):
        end(epochs, value, score)
    assert (epochs.best, epochs.scores) == (1, [0.2, 0.5, 0.5, 0.1])
    assert bias(epochs) == [4.0, 4.0]
    epochs.take_best()
    assert bias(epochs) == [2.0, 2.0]


def test_it_goes_on_where_another_process_stopped(tmp_path: Path) -> None:
    first = Epochs(begin, 3, tmp_path)
    assert first.resume() == ""
    end(first, 1.0, 0.5)
    end(first, 2.0, 0.25)
    second = Epochs(begin, 3, tmp_path)
    assert second.resume() == "going on after epoch 2 of 3"
    assert (second.scores, second.best, bias(second)) == ([0.5, 0.25], 0, [2.0, 2.0])
    second.take_best()
    assert bias(second) == [1.0, 1.0]


@pytest.mark.parametrize("count", [0, 1])
def test_a_checkpoint_of_more_epochs_is_of_no_use(tmp_path: Path, count: int) -> None:
    first = Epochs(begin, 3, tmp_path)
    end(first, 1.0, 0.5)
    end(first, 2.0, 0.25)
    second = Epochs(begin, count, tmp_path)
    assert second.resume().endswith("epoch.pt is of no use; the training begins anew")
    assert (second.scores, bias(second)) == ([], bias(Epochs(begin, 3, None)))
