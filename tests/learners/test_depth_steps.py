"""Where an interrupted training of depth goes on, and what it does not go on from."""

import pytest

from densebench.host.errors import DensebenchError
from densebench.learners.depth_head import Bins, seeded_depth_head
from densebench.learners.depth_losses import MultiLoss
from densebench.learners.depth_steps import DepthSteps
from densebench.learners.depth_training import DepthOptimisation, DepthTraining


def steps_of(folder, width=3):
    def begin():
        how = DepthOptimisation(4, 1, 1e-3, 0.0, 1.0)
        head = seeded_depth_head(width, Bins(count=8), True, 0)
        return DepthTraining(head, how, MultiLoss({"sig": 1.0}))

    return DepthSteps(begin, 2, 0, folder)


def test_it_goes_on_after_the_last_epoch(tmp_path):
    first = steps_of(tmp_path)
    assert not first.resume()
    first.training.done = 2
    first.end(0.5)
    second = steps_of(tmp_path)
    assert second.resume() == "going on after step 2"
    assert second.losses == [0.5]


@pytest.mark.parametrize("width", [3, 4])
def test_a_checkpoint_of_no_use_is_passed_by(tmp_path, width):
    first = steps_of(tmp_path)
    first.training.done = 2
    first.end(0.5)
    if width == 3:
        (tmp_path / "epoch.pt").write_bytes(b"damaged")
    other = steps_of(tmp_path, width)
    assert "of no use; the training begins anew" in other.resume()
    assert (other.training.done, other.losses) == (0, [])


def test_too_few_images_are_told():
    with pytest.raises(DensebenchError, match="batch_size 2 is more than the 1 training images"):
        steps_of(None).check(1)
