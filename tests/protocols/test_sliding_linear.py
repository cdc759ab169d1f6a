"""DINOv3's linear segmentation end to end: windows, interruption, variants, what is left."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from densebench.host.errors import DensebenchError
from densebench.learners.heads import load_head
from densebench.learners.long_training import LongTraining
from densebench.protocols.sliding_linear import SlidingLinear, SlidingLinearParams
from densebench.records.panels import load_panels, panel_folder
from densebench.records.store import load_evidence
from densebench.run.execute import evaluate
from densebench.run.options import RunOptions
from densebench.run.predict import predict_image

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


def test_all_quirks_in_clean_are_the_reference_and_each_alone_trains_another_head(task, tmp_path):
    every = list(SlidingLinear.QUIRKS)
    settings = {"positions": "official", "normalisation": "imagenet", "partial_patches": "drop"}

    def found(variant, **params):
        record, path = evaluate(options_of(task, tmp_path, variant=variant, params=params))
        return record, path.with_suffix(".head.safetensors").read_bytes()

    (reference, _), (clean, head) = found("reference"), found("clean", **settings)
    (same, _) = found("clean", quirks=every, **settings)
    assert same.score.metrics == reference.score.metrics
    assert same.protocol.details == reference.protocol.details
    assert same.run_id not in (reference.run_id, clean.run_id)
    for quirk in ("loss_over_void", "repeated_draws"):
        record, other = found("clean", quirks=[quirk], **settings)
        assert other != head
        assert record.protocol.val_in_fit == ""
    record, _ = found("clean", quirks=["best_of_validations"], **settings)
    assert len(record.protocol.details["miou_by_validation"]) == 2


def test_what_does_not_fill_a_patch_is_dropped_or_padded(task, tmp_path):
    odd = {"input_size": 40, "image_size": 40}
    records = [
        evaluate(options_of(task, tmp_path, variant=variant, params=odd))[0]
        for variant in ("reference", "clean")
    ]
    assert [record.protocol.input_size for record in records] == [28, 42]
    assert [r.protocol.params["partial_patches"] for r in records] == ["drop", "pad"]
    with pytest.raises(DensebenchError, match="input_size 10 is no crop for patches of 14 pixels"):
        evaluate(options_of(task, tmp_path, params={"input_size": 10}))


@pytest.mark.parametrize("variant", ["reference", "clean"])
def test_an_ignored_class_of_an_index_of_its_own_is_never_predicted(task, tmp_path, variant):
    card = shutil.copytree(task.parent, tmp_path / "data") / "sliding.toml"
    card.write_text(card.read_text() + "ignore_index = 0\n")
    for file in card.with_name("masks").iterdir():
        mask = np.array(Image.open(file))
        Image.fromarray(np.where(mask == 255, 0, mask).astype(np.uint8)).save(file)
    record, path = evaluate(options_of(card, tmp_path, variant=variant))
    confusion = np.array(record.score.confusion[0])
    assert not confusion[0].any()
    assert not confusion[:, 0].any()
    head = load_head(path.with_suffix(".head.safetensors"))
    assert head.classes == ("green", "blue")
    assert len(head.head.classify.weight) == 2


@pytest.mark.parametrize(
    ("changes", "resolution"),
    [({"scales": [0.9, 1.2], "flip_test": True}, "original"), ({"mode": "whole"}, "input")],
)
def test_a_test_at_several_scales_and_of_whole_images(task, tmp_path, changes, resolution):
    params = {"steps": 30, "validations": 1, "image_size": 56, **changes}
    record, _ = evaluate(options_of(task, tmp_path, params=params, panels=2))
    assert record.score.resolution == resolution
    assert record.score.value > 0.4
    assert record.score.value == pytest.approx(record.protocol.details["miou_by_validation"][0])


def test_panels_show_what_was_predicted_by_windows(task, tmp_path):
    _, path = evaluate(options_of(task, tmp_path, panels=2))
    index = load_panels(panel_folder(path))
    assert [panel.name for panel in index.panels] == ["picture06", "picture08"]
    for panel in index.panels:
        for kind in (panel.truth, panel.prediction):
            assert Image.open(panel_folder(path) / kind).size == (42, 42)


def test_a_killed_run_ends_with_the_weights_of_an_unbroken_one(task, tmp_path, ear):
    params = {"steps": 80, "validations": 4}
    _, whole = evaluate(options_of(task, tmp_path / "whole", params=params))
    results, saved, save = tmp_path / "killed", [], LongTraining.save

    def save_and_die(training):
        save(training)
        saved.append(training.steps.done)
        if len(saved) == 3:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(LongTraining, "save", save_and_die)
        evaluate(options_of(task, results, params=params))
    assert not list(results.rglob("*.json"))
    _, path = evaluate(options_of(task, results, params=params), ear)
    assert f"going on after step {saved[-1]} of 80" in ear.lines
    heads = [p.with_suffix(".head.safetensors").read_bytes() for p in (whole, path)]
    assert heads[0] == heads[1]
    assert not list(results.rglob("epoch.pt"))


def test_what_cannot_be_read_is_left_out(task, tmp_path):
    card = shutil.copytree(task.parent, tmp_path / "data") / "sliding.toml"
    (card.parent / "masks/picture07.png").write_bytes(b"no mask")
    (card.parent / "images/picture01.png").write_bytes(b"no image")
    record, path = evaluate(options_of(card, tmp_path, skip_bad=True))
    assert set(record.dataset.skipped) == {"picture01", "picture07"}
    assert len(load_evidence(path, record).names) == 3
    with pytest.raises(DensebenchError, match=r"picture01\.png: not a readable image"):
        evaluate(options_of(card, tmp_path))
    for number in range(6, 10):
        (card.parent / f"images/picture{number:02d}.png").write_bytes(b"no image")
    with pytest.raises(DensebenchError, match="no validation image was scored"):
        evaluate(options_of(card, tmp_path, skip_bad=True))


def test_the_shape_of_the_input_follows_from_the_patch_and_the_variant():
    params = SlidingLinearParams()
    for variant, patch, side in (("reference", 14, 504), ("clean", 14, 518), ("clean", 16, 512)):
        resolved = SlidingLinear.resolve(params, variant)
        assert SlidingLinear.shape_for(resolved, patch) == (side, side)


def test_several_layers_make_another_run_and_a_head_that_knows_them(task, tmp_path):
    runs = [
        evaluate(replace(options_of(task, tmp_path, params=layers), backbone="hog_mixer_s14"))
        for layers in ({}, {"layers": [0, 1]})
    ]
    (plain, _), (joined, path) = runs
    assert plain.run_id != joined.run_id
    assert plain.backbone.fingerprint == joined.backbone.fingerprint
    assert "layers" not in plain.protocol.params
    assert joined.protocol.params["layers"] == [0, 1]
    head = load_head(path.with_suffix(".head.safetensors"))
    assert head.layers == (0, 1)
    assert head.head.classify.weight.shape[1] == 2 * plain.backbone.embed_dim
    image = task.parent / "images" / "picture09.png"
    files = path.with_suffix(".head.safetensors"), image, tmp_path / "out.png"
    shares = predict_image("hog_mixer_s14", *files, device="cpu")
    assert sum(shares.values()) == pytest.approx(1.0)
    with pytest.raises(DensebenchError, match="has the layers 0 to 1, not"):
        evaluate(
            replace(options_of(task, tmp_path, params={"layers": 7}), backbone="hog_mixer_s14")
        )
