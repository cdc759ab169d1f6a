"""DINOv3's linear segmentation end to end: windows, interruption, variants, what is left."""

from dataclasses import replace

import numpy as np
import pytest

from densebench.records.store import load_evidence
from densebench.run.execute import evaluate
from densebench.run.options import RunOptions

PARAMS = {
    "input_size": 42,
    "image_size": 42,
    "stride": 28,
    "steps": 8,
    "warmup": 2,
    "batch_size": 3,
    "lr": 0.1,
    "validations": 2,
}


@pytest.fixture(scope="module")
def task(colour_task):
    """The small pictures of squares under this protocol."""
    text = colour_task.with_name("linear.toml").read_text().split("[params]")[0]
    file = colour_task.with_name("sliding.toml")
    file.write_text(text.replace('"linear"', '"sliding_linear"').replace("_linear", "_sliding"))
    file.write_text(file.read_text().replace('"sliding_sliding"', '"sliding_linear"'))
    return file


def options_of(task, results, **changes):
    params = {**PARAMS, **changes.pop("params", {})}
    options = RunOptions("rgb_s14", str(task), results=results, params=params)
    return replace(options, **changes)


def test_the_head_learns_colours(task, tmp_path):
    record, path = evaluate(options_of(task, tmp_path, params={"steps": 60, "validations": 3}))
    by_validation = record.protocol.details["miou_by_validation"]
    assert len(by_validation) == 3
    assert record.score.resolution == "original"
    assert record.score.value > 0.5
    # The reference scores the head that was best on the validation images themselves.
    assert record.score.value == pytest.approx(max(by_validation), abs=1e-9)
    best = int(np.argmax(by_validation)) + 1
    assert record.protocol.details["scored_step"] == best * 20
    names = [metric.name for metric in record.score.metrics]
    assert {"mean_accuracy", "mean_precision", "mean_dice", "mean_fscore"} < set(names)
    assert len(load_evidence(path, record).names) == 4


def test_clean_scores_the_last_head_and_looks_at_no_validation_image(task, tmp_path):
    record, _ = evaluate(options_of(task, tmp_path, variant="clean"))
    assert record.protocol.details["miou_by_validation"] == []
    assert record.protocol.details["scored_step"] == 8
    assert record.protocol.val_in_fit == ""
