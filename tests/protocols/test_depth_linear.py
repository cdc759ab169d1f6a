"""Linear depth end to end on small data: what it learns, its variants, its interruption."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from densebench.cards import find_task
from densebench.host.errors import DensebenchError
from densebench.host.watcher import Watcher
from densebench.learners.depth_file import load_depth_head
from densebench.learners.depth_training import DepthTraining
from densebench.learners.onecycle import WarmupOneCycle
from densebench.protocols import task_params
from densebench.protocols.depth_linear import DepthLinear, DepthLinearParams
from densebench.records.store import load_evidence
from densebench.run.execute import Run, evaluate
from densebench.run.options import RunOptions

PARAMS = (
    "input_size = [42, 56]\ncrop = [28, 42]\ntrain_box = 'full'\neval_box = 'full'\n"
    "steps = 30\nwarmup_steps = 10\nbatch_size = 4\nlr = 0.1\n"
)


@pytest.fixture(scope="module")
def task(tmp_path_factory, write_dataset, write_depth) -> Path:
    folder = write_dataset(tmp_path_factory.mktemp("depth") / "data", 8, 4).parent
    return write_depth(folder, "depth_linear", PARAMS)


def options(task, results, **changes):
    run = RunOptions("rgb_s14", str(task), results=results, device="cpu", batch_size=3)
    return replace(run, **changes)


def test_defaults_are_those_of_the_published_config(golden):
    config = json.loads(str(golden("dinov3_depth")["meta"]))["config"]
    params = DepthLinearParams()
    schedule, head, views = config["scheduler"], config["decoder_head"], config["transforms"]
    assert params.batch_size == config["bs"] * config["n_gpus"]
    assert params.steps == schedule["total_iter"]
    assert params.warmup_steps == schedule["constructor_kwargs"]["warmup_iters"]
    assert params.lr == config["optimizer"]["lr"]
    assert params.weight_decay == config["optimizer"]["weight_decay"]
    assert params.clip == config["optimizer"]["gradient_clip"]
    assert (params.min_depth, params.max_depth) == (head["min_depth"], head["max_depth"])
    assert (params.spacing, params.weighting) == (head["bins_strategy"], head["norm_strategy"])
    assert (params.bins, params.batch_norm) == (head["n_output_channels"], head["use_batchnorm"])
    assert list(params.crop) == views["train"]["random_crop"]
    assert params.rotation == views["train"]["rotation_angle"]
    assert [1 - params.brightness, 1 + params.brightness] == views["train"]["brightness_range"]
    assert params.train_box.upper() == views["train"]["fixed_crop"]
    assert params.eval_box.upper() == views["eval"]["eval_mask"]
    assert params.align_least_squares == config["eval"]["align_least_squares"]
    assert params.flip_test == config["eval"]["use_tta"]
    assert params.losses == {"sig": 1.0, "gradient_log": 0.0, "gradient": 0.0, "l1": 0.0}


def test_depth_is_learnt_and_shuffled_depth_is_not(task, tmp_path):
    """The colours tell the depth; with the depth of other images they do not."""
    learnt, path = evaluate(options(task, tmp_path / "whole"))
    assert [score.resolution for score in learnt.scores] == ["original", "input"]
    main, abs_rel, delta1 = learnt.score.metrics
    assert (main.name, main.unit, main.higher) == ("rmse", "m", False)
    assert (abs_rel.name, delta1.name, delta1.higher) == ("abs_rel", "delta1", True)
    assert learnt.protocol.input_size == (42, 56)
    vectors = load_evidence(path, learnt).vectors
    assert vectors.shape == (1, 4, 4)
    assert vectors[0, :, 1].tolist() == [1.0] * 4
    names = (task.parent / "train.txt").read_text().split()
    files = [task.parent / "depth" / f"{name}.png" for name in names]
    known = [file.read_bytes() for file in files]
    try:
        for file, content in zip(files, [*known[3:], *known[:3]], strict=True):
            file.write_bytes(content)
        shuffled, _ = evaluate(options(task, tmp_path / "shuffled"))
    finally:
        for file, content in zip(files, known, strict=True):
            file.write_bytes(content)
    assert main.value < 1.3, shuffled.score.value
    assert shuffled.score.value > 1.2 * main.value
    assert shuffled.score.of("delta1").value < delta1.value


def test_variants_and_parameters_have_hashes_of_their_own(task, tmp_path):
    changes = [{}, {"variant": "clean"}, {"params": {"flip_test": False}}, {"params": {"bins": 8}}]
    runs = [Run(options(task, tmp_path, **change), Watcher()) for change in changes]
    assert len({run.inputs.protocol_hash for run in runs}) == len(changes)


def test_an_interrupted_run_ends_with_the_head_of_an_unbroken_one(task, tmp_path, monkeypatch):
    whole, path = evaluate(options(task, tmp_path / "whole"))
    step = DepthTraining.step

    def interrupted(training, *batch):
        if training.done == 21:
            raise KeyboardInterrupt
        return step(training, *batch)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(DepthTraining, "step", interrupted)
        evaluate(options(task, tmp_path / "killed"))
    steps = []
    with monkeypatch.context() as patch:
        patch.setattr(
            DepthTraining, "step", lambda self, *b: steps.append(self.done) or step(self, *b)
        )
        resumed, other = evaluate(options(task, tmp_path / "killed"))
    assert steps == list(range(20, 30))
    assert resumed.scores == whole.scores
    kept = [file.with_suffix(".head.safetensors").read_bytes() for file in (path, other)]
    assert kept[0] == kept[1]
    assert not list(tmp_path.rglob("epoch.pt"))


def test_padding_is_stretched_as_published_or_cut(task, tmp_path):
    """Of 30x50 pixels, a patch of 14 makes 42x56."""
    params = {"input_size": [30, 50], "crop": [20, 40], "steps": 2, "warmup_steps": 1}
    run = Run(options(task, tmp_path, params=params), Watcher())
    assert run.protocol.input_shape == (42, 56)
    protocol = run.protocol
    source = run._source("val", "predict")
    stretched = next(protocol.predict(source)).values
    assert stretched.shape[1:] == (1, 3, 4)
    clean = Run(options(task, tmp_path, params=params, variant="clean"), Watcher())
    cut = next(clean.protocol.predict(clean._source("val", "predict"))).values
    assert cut.shape[1:] == (1, 30, 50)


def test_the_head_that_is_left_predicts_what_was_scored(task, tmp_path):
    record, path = evaluate(options(task, tmp_path, params={"flip_test": False}))
    kept = load_depth_head(path.with_suffix(".head.safetensors"))
    assert (kept.about.height, kept.about.width) == (42, 56)
    assert kept.about.fingerprint == record.backbone.fingerprint
    assert kept.head.bins.count == 256
    assert not kept.about.mirrored and not kept.about.padding_is_cut


BAD = [
    ({"crop": [43, 56]}, "is larger than the 42x56 pixels of train_box 'full'"),
    ({"train_box": "nyu", "crop": [42, 56]}, "is larger than the"),
    ({"warmup_steps": 30}, "warmup_steps must be fewer than the 30 steps"),
    ({"min_depth": 10.0}, "min_depth must be below max_depth"),
    ({"sig_weight": 0.0}, "every loss has the weight 0"),
    ({"input_size": "auto"}, "input_size"),
    ({"input_size": [0, 56]}, "input_size"),
    ({"batch_size": 9}, "batch_size 9 is more than the 8 training images"),
    ({"max_depth": 1e-9}, "max_depth"),
    ({"eval_box": "kitti"}, "eval_box"),
]


@pytest.mark.parametrize(("params", "told"), BAD, ids=[str(params) for params, _ in BAD])
def test_what_cannot_be_is_told_in_one_line(task, tmp_path, params, told):
    with pytest.raises(DensebenchError, match=told) as caught:
        evaluate(options(task, tmp_path, params=params))
    assert "\n" not in str(caught.value)


def test_nothing_that_has_depth_is_told(task, tmp_path):
    with pytest.raises(DensebenchError, match="no validation pixel has a depth that counts"):
        evaluate(options(task, tmp_path, params={"max_depth": 1.0}))


def test_training_images_without_depth_teach_nothing(task, tmp_path):
    (tmp_path / "data").mkdir()
    for name in ("images", "train.txt", "val.txt"):
        (tmp_path / "data" / name).symlink_to(task.parent / name)
    (tmp_path / "data/depth").mkdir()
    for file in (task.parent / "depth").iterdir():
        Image.fromarray(np.zeros((42, 56), np.uint16)).save(tmp_path / "data/depth" / file.name)
    val = (task.parent / "val.txt").read_text().split()
    for name in val:
        content = (task.parent / f"depth/{name}.png").read_bytes()
        (tmp_path / f"data/depth/{name}.png").write_bytes(content)
    card = tmp_path / "data/depth_linear.toml"
    card.write_text(task.read_text())
    with pytest.raises(DensebenchError, match="there is nothing to learn: no training image has"):
        evaluate(options(card, tmp_path, params={"steps": 3, "warmup_steps": 1}))
    assert not list(tmp_path.rglob("*depth_linear/*.json"))


def test_words_are_no_size_of_images():
    with pytest.raises(DensebenchError, match="give \\[HEIGHT, WIDTH\\]"):
        DepthLinear.shape_of("auto", 14)
    assert DepthLinear.shape_of((480, 640), 14) == (490, 644)
    assert torch.tensor(DepthLinear.shape_of(224, 16)).tolist() == [224, 224]


PAGE = Path(__file__).parents[2] / "docs/protocols/depth.md"


@pytest.mark.skipif(not PAGE.is_file(), reason="no docs beside the package")
def test_the_page_says_what_the_cards_and_the_schedule_are():
    table = PAGE.read_text(encoding="utf-8").partition("## Data")[0]
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", table, re.MULTILINE)
    tasks = {name: find_task(name).card for name, _ in rows}
    assert {card.protocol for card in tasks.values()} == {"depth_linear", "depth_in_context"}
    for name, told in rows:
        length = re.search(r"([\d,]+) steps of (\d+)", told)
        assert bool(length) == (tasks[name].protocol == "depth_linear"), name
        if length:
            params = task_params(tasks[name], name)
            assert (params.steps, params.batch_size) == (
                int(length[1].replace(",", "")),
                int(length[2]),
            )
    schedule = WarmupOneCycle.of_depth(3e-4, 38_400, 12_800)
    rates = [schedule.rate(step) for step in range(38_400)]
    assert (max(rates), int(np.argmax(rates))) == (pytest.approx(2.253e-4, abs=5e-8), 12_799)
    assert "at most 2.253e-4, in step 12,799" in PAGE.read_text(encoding="utf-8")
