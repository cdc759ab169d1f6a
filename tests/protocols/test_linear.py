"""The linear protocol end to end on small data: interruption, variants, the head's file."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from densebench.host.errors import DensebenchError
from densebench.records.store import load_evidence
from densebench.run.execute import evaluate
from densebench.run.options import RunOptions

PARAMS = {"input_size": 28, "mask_size": 20, "epochs": 4, "drop_at": 3, "batch_size": 4, "lr": 0.1}


@pytest.fixture(scope="module")
def linear_task(colour_task):
    return colour_task.with_name("linear.toml")


def _options(linear_task, results, **changes):
    params = {**PARAMS, **changes.pop("params", {})}
    options = RunOptions("rgb_s14", str(linear_task), results=results, params=params)
    return replace(options, batch_size=3, **changes)


def test_the_head_learns_colours(linear_task, tmp_path):
    longer = {"input_size": 56, "epochs": 12, "drop_at": 10, "lr": 1.0}
    record, _ = evaluate(_options(linear_task, tmp_path, params=longer))
    assert record.score.resolution == 20
    assert [score.resolution for score in record.scores] == [20, 56, "original"]
    by_epoch = record.protocol.details["miou_by_epoch"]
    assert len(by_epoch) == 12
    assert record.score.value > 0.5
    # The reference scores the epoch that was best on the validation images themselves.
    assert record.score.value == pytest.approx(max(by_epoch), abs=1e-9)
    assert record.protocol.details["scored_epoch"] == int(np.argmax(by_epoch)) + 1


def test_clean_scores_the_last_epoch(linear_task, tmp_path):
    record, _ = evaluate(_options(linear_task, tmp_path, variant="clean"))
    by_epoch = record.protocol.details["miou_by_epoch"]
    assert record.protocol.details["scored_epoch"] == len(by_epoch)
    assert record.score.value == pytest.approx(by_epoch[-1], abs=1e-9)


def test_variants_have_hashes_of_their_own(linear_task, tmp_path):
    records = [
        evaluate(_options(linear_task, tmp_path, variant=variant, params={"epochs": 1}))[0]
        for variant in ("reference", "clean", "cached")
    ]
    assert len({record.protocol.hash for record in records}) == 3
    with pytest.raises(DensebenchError, match="variants reference, clean, cached, not 'fast'"):
        evaluate(_options(linear_task, tmp_path, variant="fast"))


def test_a_batch_larger_than_the_data_is_refused(linear_task, tmp_path):
    with pytest.raises(DensebenchError, match="batch_size 7 is more than the 6 training images"):
        evaluate(_options(linear_task, tmp_path, params={"batch_size": 7}))


def test_published_validation_drops_the_last_batch(linear_task, tmp_path):
    dropped = {"batch_size": 3, "drop_last_val": True, "epochs": 1}
    whole, _ = evaluate(_options(linear_task, tmp_path, params={**dropped, "drop_last_val": False}))
    record, path = evaluate(_options(linear_task, tmp_path, params=dropped))
    pixels = [np.sum(r.score.confusion) for r in (record, whole)]
    assert pixels[0] == pytest.approx(pixels[1] * 3 / 4, rel=0.05)
    clean, _ = evaluate(_options(linear_task, tmp_path, params=dropped, variant="clean"))
    assert np.sum(clean.score.confusion) == pixels[1]
    # The separate evaluator drops none: at the input's size both have scored all four images.
    assert record.scores[1] == whole.scores[1]
    assert record.protocol.details["scored_images"] == {"20": 3, "28": 4, "original": 4}
    assert len(load_evidence(path, record).names) == 3


def test_one_head_has_two_published_numbers(linear_task, tmp_path):
    """Trained with masks of one size, and scored at that size or, apart, at the input's."""
    trained, _ = evaluate(_options(linear_task, tmp_path))
    apart, _ = evaluate(_options(linear_task, tmp_path, params={"score_size": 28}))
    named, _ = evaluate(_options(linear_task, tmp_path, params={"score_size": "input"}))
    assert [score.resolution for score in trained.scores] == [20, 28, "original"]
    assert [score.resolution for score in apart.scores] == [28, 20, "original"]
    assert apart.scores == [trained.scores[1], trained.scores[0], trained.scores[2]]
    assert named.scores == apart.scores
    assert apart.score.value != trained.score.value
    assert apart.protocol.hash != trained.protocol.hash
    for record in (trained, apart):  # the epoch is picked as in the published training
        details = record.protocol.details
        assert details["validated_at"] == 20
        assert max(details["miou_by_epoch"]) == pytest.approx(
            next(score.value for score in record.scores if score.resolution == 20), abs=1e-9
        )


@pytest.mark.parametrize("variant", ["reference", "clean", "cached"])
def test_an_ignored_class_of_an_index_of_its_own(linear_task, tmp_path, variant):
    card = shutil.copytree(linear_task.parent, tmp_path / "data") / "linear.toml"
    card.write_text(card.read_text().replace("[params]", "ignore_index = 0\n\n[params]"))
    for file in card.with_name("masks").iterdir():
        mask = np.array(Image.open(file))
        Image.fromarray(np.where(mask == 255, 0, mask).astype(np.uint8)).save(file)
    record, _ = evaluate(_options(card, tmp_path, variant=variant, params={"epochs": 1}))
    for score in record.scores:
        confusion = np.array(score.confusion[0])
        assert confusion[0].sum() == 0
        assert (confusion[:, 0].sum() > 0) == (variant == "reference")


def test_a_killed_run_ends_with_the_weights_of_an_unbroken_one(linear_task, tmp_path):
    params = {"epochs": 30, "drop_at": 20}
    _, whole = evaluate(_options(linear_task, tmp_path / "whole", params=params))
    results = tmp_path / "killed"
    command = [sys.executable, "-m", "densebench", "run", "--backbone", "rgb_s14"]
    command += ["--task", str(linear_task), "--results", str(results), "--batch-size", "3"]
    for key, value in {**PARAMS, **params}.items():
        command += ["--set", f"{key}={value}"]
    _kill_after_a_checkpoint(command, results)
    assert not list(results.rglob("*.json"))
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "going on after epoch" in done.stderr
    resumed = next(results.rglob("*.head.safetensors"))
    assert resumed.read_bytes() == whole.with_suffix(".head.safetensors").read_bytes()
    assert not list(results.rglob("epoch.pt"))


def _kill_after_a_checkpoint(command, results):
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    for _ in range(6000):
        if list(results.rglob("epoch.pt")) or process.poll() is not None:
            break
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"


def test_predict_uses_the_head(linear_task, tmp_path):
    options = _options(linear_task, tmp_path, params={"input_size": 56, "epochs": 12, "lr": 1.0})
    record, path = evaluate(options)
    image = linear_task.parent / "images" / "picture09.png"
    command = [sys.executable, "-m", "densebench", "predict", "--image", str(image)]
    command += ["--head", str(path.with_suffix(".head.safetensors"))]
    command += ["--out", str(tmp_path / "out.png")]
    good = _run([*command, "--backbone", "rgb_s14"])
    assert good.returncode == 0, good.stderr
    labels = np.array(Image.open(tmp_path / "out.png"))
    assert labels.shape == (42, 56)
    assert "%" in good.stdout
    truth = np.array(Image.open(linear_task.parent / "masks" / "picture09.png"))
    assert (labels == truth)[truth != 255].mean() > 0.5
    other = _run([*command, "--backbone", "hog_s14"])
    assert other.returncode == 2
    assert "was trained on the features of rgb_s14" in other.stderr
    assert record.backbone.name == "rgb_s14"


def _run(command):
    return subprocess.run(command, capture_output=True, text=True, check=False)
