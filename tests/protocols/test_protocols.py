"""A run that learnt nothing, or nonsense, leaves no record but one line."""

import pytest
import torch

from densebench.host.errors import DensebenchError
from densebench.learners.heads import HeadTraining
from densebench.run.execute import evaluate
from densebench.run.options import RunOptions

CLUSTERS = "\n[params]\ninput_size = 28\nK = 2\npca_dim = 3\nseeds = 1\nmask_size = 14\n"


@pytest.fixture
def data(write_dataset, tmp_path):
    """The folder of six training and four validation pictures that a test may damage."""
    folder = write_dataset(tmp_path / "data", 6, 4).parent
    text = (folder / "linear.toml").read_text().split("[params]")[0]
    clusters = text.replace('"linear"', '"overclustering"').replace("tiny_linear", "tiny_clusters")
    (folder / "clusters.toml").write_text(clusters + CLUSTERS)
    return folder


def _damage(data, numbers):
    for number in numbers:
        file = data / "images" / f"picture{number:02d}.png"
        file.write_bytes(file.read_bytes()[:50])


def _refused(data, task, why, **params):
    results = data / "results"
    options = RunOptions(
        "rgb_s14", str(data / f"{task}.toml"), params=params, results=results, skip_bad=True
    )
    with pytest.raises(DensebenchError, match=why) as caught:
        evaluate(options)
    assert "\n" not in str(caught.value)
    assert not list(results.rglob("*.json"))
    assert not list(results.rglob("*.safetensors"))


@pytest.mark.parametrize("variant_drop", [True, False])
def test_no_readable_training_image(data, variant_drop):
    _damage(data, range(6))
    why = "none of the 6 training images can be read"
    _refused(data, "linear", why, drop_last=variant_drop)
    _refused(data, "retrieval", "there is nothing to remember")


def test_fewer_readable_images_than_a_batch(data):
    _damage(data, range(4))
    why = "only 2 of the 6 training images can be read, fewer than batch_size 3, .* batch_size=2"
    _refused(data, "linear", why, batch_size=3)
    kept = RunOptions(
        "rgb_s14",
        str(data / "linear.toml"),
        params={"batch_size": 3, "drop_last": False},
        results=data / "results",
        skip_bad=True,
    )
    assert len(evaluate(kept)[0].dataset.skipped) == 4


@pytest.mark.parametrize("task", ["linear", "retrieval", "clusters"])
def test_no_readable_validation_image(data, task):
    _damage(data, range(6, 10))
    why = "PCA to 3 needs" if task == "clusters" else "no validation image was scored"
    _refused(data, task, why)


def test_a_loss_that_is_not_finite(data):
    _refused(data, "linear", "the head's loss is (nan|inf)", lr=1e38, batch_size=2, epochs=2)


def test_weights_that_left_the_finite_in_the_last_step(data, monkeypatch):
    step = HeadTraining.step

    def too_far(training, *batch):
        loss = step(training, *batch)
        training.head.classify.weight.data[1] = torch.nan
        return loss

    monkeypatch.setattr(HeadTraining, "step", too_far)
    _refused(data, "linear", "the head's logits are not finite", batch_size=6, epochs=1)
