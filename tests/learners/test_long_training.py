"""A training that counts in steps: validations at equal distances, the best head, going on."""

import pytest
import torch

from densebench.learners.long_training import STRETCH, LongTraining
from densebench.learners.normed_head import HeadSteps, seeded_normed_head
from densebench.learners.onecycle import WarmupOneCycle
from densebench.learners.pixel_loss import pixel_loss

COUNT = 60


def begin() -> HeadSteps:
    schedule = WarmupOneCycle.of_segmentation(1e-2, COUNT, 2)
    return HeadSteps(seeded_normed_head(4, 3, 0), schedule, 1e-3)


def make_steps(training: LongTraining, count: int) -> None:
    for _ in range(count):
        draws = torch.Generator().manual_seed(training.steps.done)
        patches = torch.randn(1, 2, 2, 4, generator=draws)
        labels = torch.randint(3, (1, 4, 4), generator=draws)
        training.steps.step(lambda head, p=patches, t=labels: pixel_loss(head(p), t, True))
        training.position += 1


def run(training: LongTraining, scores: dict[int, float]) -> list[int]:
    """Goes on to the end; gives after which steps something was kept."""
    kept = []
    while training.is_due or not training.is_done:
        if training.is_due:
            training.end_validation(scores[training.steps.done])
        else:
            make_steps(training, training.stretch)
        training.save()
        kept.append(training.steps.done)
    return kept


def test_validations_are_at_equal_distances_and_the_best_head_is_kept(tmp_path):
    training = LongTraining(begin, COUNT, 3, tmp_path)
    assert run(training, {20: 0.2, 40: 0.5, 60: 0.5}) == [20, 20, 25, 40, 40, 50, 60, 60]
    assert training.scores == [0.2, 0.5, 0.5]
    assert (training.best, training.best_step) == (1, 40)
    last = {k: v.clone() for k, v in training.steps.head.state_dict().items()}
    training.take_best()
    best = LongTraining(begin, COUNT, 0, None)
    make_steps(best, 40)
    for name, tensor in training.steps.head.state_dict().items():
        assert torch.equal(tensor, best.steps.head.state_dict()[name])
    assert not torch.equal(last["classify.weight"], training.steps.head.classify.weight)


def test_without_validations_it_is_kept_stretch_by_stretch(tmp_path):
    training = LongTraining(begin, COUNT, 0, tmp_path)
    assert run(training, {}) == [STRETCH, 2 * STRETCH, COUNT]
    assert training.best_step == COUNT


@pytest.mark.parametrize("left_at", [1, 2, 4])
def test_an_interrupted_one_goes_on_from_what_was_kept(tmp_path, left_at):
    scores = {20: 0.2, 40: 0.5, 60: 0.1}
    whole = LongTraining(begin, COUNT, 3, None)
    run(whole, scores)
    first = LongTraining(begin, COUNT, 3, tmp_path)
    for _ in range(left_at):
        if first.is_due:
            first.end_validation(scores[first.steps.done])
        else:
            make_steps(first, first.stretch)
        first.save()
    again = LongTraining(begin, COUNT, 3, tmp_path)
    assert again.resume() == f"going on after step {first.steps.done} of 60"
    assert again.position == first.position
    run(again, scores)
    assert again.scores == whole.scores
    whole.take_best()
    again.take_best()
    for name, tensor in whole.steps.head.state_dict().items():
        assert torch.equal(tensor, again.steps.head.state_dict()[name])


def test_a_damaged_checkpoint_begins_anew(tmp_path):
    first = LongTraining(begin, COUNT, 3, tmp_path)
    make_steps(first, 3)
    first.save()
    (tmp_path / "epoch.pt").write_bytes((tmp_path / "epoch.pt").read_bytes()[:100])
    again = LongTraining(begin, COUNT, 3, tmp_path)
    assert "is of no use; the training begins anew" in again.resume()
    assert again.steps.done == again.position == 0
    assert LongTraining(begin, COUNT, 3, None).resume() == ""
