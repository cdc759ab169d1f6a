"""A post-training on a GPU that was stopped goes on as if it had not been."""

import os
import signal

import pytest
import torch

from densebench.host.always import always_alike
from densebench.host.watcher import Watcher
from densebench.posttrain.journal import read_journal
from densebench.posttrain.trainer import InterruptedTrainingError, Place, Trainer

from ..posttrain.conftest import (  # noqa: F401 (fixtures)
    make_backbone,
    make_recipe,
    photographs,
    write_photographs,
)
from .conftest import shows


class Stopping(Watcher):
    """Ctrl-C after some steps."""

    def __init__(self, steps):
        self.left = steps

    def advance(self, phase, done):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def make(gpu, tmp_path, photographs, make_recipe, make_backbone):  # noqa: F811
    def trainer(folder, watcher=None):
        (tmp_path / folder).mkdir(exist_ok=True)
        place = Place(tmp_path / folder, gpu, watcher=watcher or Watcher())
        recipe = make_recipe(training__steps=6, training__checkpoint_every=4)
        backbone = make_backbone().to(gpu)
        return Trainer(backbone, recipe, photographs, place, backbone.fingerprint)

    return trainer


def state(trainer):
    lines = read_journal(trainer.place.folder / "log.jsonl")
    weights = trainer.learner.student.state_dict()
    return [line["loss"] for line in lines if "loss" in line], {
        name: values.cpu() for name, values in weights.items()
    }


@shows("a post-training that is stopped and resumed ends bit for bit as one that is not")
def test_stopped_and_resumed(make):
    with always_alike(0):
        whole = make("whole")
        whole.run()
        first = make("stopped", Stopping(3))
        with pytest.raises(InterruptedTrainingError, match="step 3 of 6"):
            first.run()
        second = make("stopped")
        second.resume()
        second.run()
    (losses, weights), (told, resumed) = state(whole), state(second)
    assert told == losses
    assert all(torch.equal(weights[name], resumed[name]) for name in weights)
