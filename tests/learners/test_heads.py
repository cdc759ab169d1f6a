"""The head's training against the published code, step by step."""

import io

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, interpolate

from densebench.datasets.transforms import resize_labels
from densebench.host.errors import DensebenchError
from densebench.learners.heads import (
    Head,
    HeadTraining,
    Optimisation,
    class_logits,
    head_bytes,
    load_head,
)
from densebench.measures.scoring import upsampled
from densebench.measures.segmentation import class_counts, confusion_matrix, iou_per_class, mean_iou

PUBLISHED = Optimisation("sgd", 0.01, 0.9, 1e-4, drop_at=20)


def _head(arrays):
    head = Head(64, 11, "linear")
    with torch.no_grad():
        head.classify.weight.copy_(torch.from_numpy(arrays["W0"])[:, :, None, None])
        head.classify.bias.copy_(torch.from_numpy(arrays["b0"]))
    return head


def _grid(features):
    return torch.from_numpy(features).unflatten(1, (14, 14))


@pytest.mark.parametrize("case", ["const", "drop5"])
def test_ten_steps_equal_the_published_code(golden, case):
    arrays, masks = golden("linear_head"), torch.from_numpy(golden("hbird_masks")["mem_mask"])
    patches = _grid(golden("hbird_efflite16_d64")["mem_feat"])
    training = HeadTraining(
        _head(arrays), Optimisation("sgd", 0.01, 0.9, 1e-4, 1 if case == "drop5" else 20), 255
    )
    for step, batch in enumerate(torch.from_numpy(arrays["batch_order"]).long()):
        loss = training.step(patches[batch], masks[batch], 100)
        assert loss == pytest.approx(float(arrays[f"{case}/loss"][step]), abs=1e-6)
        weight = training.head.classify.weight.detach().numpy()[:, :, 0, 0]
        np.testing.assert_allclose(weight, arrays[f"{case}/W"][step], rtol=0, atol=3e-7)
        bias = training.head.classify.bias.detach().numpy()
        np.testing.assert_allclose(bias, arrays[f"{case}/b"][step], rtol=0, atol=5e-8)
        rate = training.state()["optimiser"]["param_groups"][0]["lr"]
        assert rate == pytest.approx(float(arrays[f"{case}/lr"][step]))
        if step == 4 and case == "drop5":
            training.end_epoch()
    _assert_equal_miou(training.head, arrays, golden, case)


def _assert_equal_miou(head, arrays, golden, case):
    logits = head.eval()(_grid(golden("hbird_efflite16_d64")["query_feat"]))
    truth = torch.from_numpy(golden("hbird_masks")["val_mask"])
    for size in (100, 224):
        labels = torch.stack([upsampled(x, (size, size)).argmax(0) for x in logits]).numpy()
        confusion = confusion_matrix(resize_labels(truth, size).numpy(), labels, 11, 11, 255)
        counts = class_counts(confusion)
        if size == 100:
            assert (labels != arrays[f"{case}/pred100"]).sum() <= 4
        assert np.abs(counts - arrays[f"{case}/tpfpfn{size}"]).sum() <= 8
        miou = mean_iou(iou_per_class(counts), "zero")
        assert miou == pytest.approx(float(arrays[f"{case}/miou{size}"]), abs=1e-5)
    np.testing.assert_array_equal(resize_labels(truth, 100).numpy(), arrays["gt100"])


def test_the_head_commutes_with_upsampling():
    generator = torch.Generator().manual_seed(0)
    patches = torch.randn(4, 7, 5, 16, generator=generator)
    masks = torch.randint(0, 6, (4, 60, 60), generator=generator, dtype=torch.uint8)
    grid_first, pixels_first = Head(16, 6, "linear"), Head(16, 6, "linear")
    pixels_first.load_state_dict(grid_first.state_dict())
    truth = resize_labels(masks, 50).long()
    upsampled_logits = interpolate(grid_first(patches), size=(50, 50), mode="bilinear")
    tokens = interpolate(patches.permute(0, 3, 1, 2), size=(50, 50), mode="bilinear")
    logits = pixels_first(tokens.permute(0, 2, 3, 1))
    torch.testing.assert_close(upsampled_logits, logits, atol=1e-5, rtol=1e-5)
    cross_entropy(upsampled_logits, truth).backward()
    cross_entropy(logits, truth).backward()
    for ours, published in zip(grid_first.parameters(), pixels_first.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, published.grad, atol=1e-5, rtol=1e-5)


def test_batch_normalisation_comes_before_the_linear_map():
    head = Head(8, 3, "bn_linear").train()
    patches = torch.randn(16, 4, 4, 8) * 50 + 100
    logits = head(patches)
    flat = patches.flatten(0, 2)
    normal = (flat - flat.mean(0)) / (flat.var(0, unbiased=False) + 1e-5).sqrt()
    weight, bias = head.classify.weight[:, :, 0, 0], head.classify.bias
    expected = (normal @ weight.T + bias).unflatten(0, (16, 4, 4)).permute(0, 3, 1, 2)
    torch.testing.assert_close(logits, expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_a_restored_training_goes_on_bit_for_bit(optimiser):
    generator = torch.Generator().manual_seed(0)
    patches = torch.randn(6, 4, 4, 8, generator=generator)
    masks = torch.randint(0, 3, (6, 16, 16), generator=generator, dtype=torch.uint8)
    how = Optimisation(optimiser, 0.1, 0.9, 1e-4, drop_at=1)
    torch.manual_seed(0)
    whole, resumed = (HeadTraining(Head(8, 3, "bn_linear"), how, 255) for _ in range(2))
    whole.step(patches, masks, 10)
    whole.end_epoch()
    saved = io.BytesIO()
    torch.save(whole.state(), saved)
    saved.seek(0)
    resumed.restore(torch.load(saved, weights_only=True))
    for training in (whole, resumed):
        training.step(patches, masks, 10)
    for ours, theirs in zip(
        whole.head.state_dict().values(), resumed.head.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs)


def test_void_pixels_are_left_out_and_all_void_is_refused():
    patches = torch.randn(2, 4, 4, 8)
    masks = torch.full((2, 16, 16), 255, dtype=torch.uint8)
    training = HeadTraining(Head(8, 3, "linear"), PUBLISHED, 0)
    with pytest.raises(DensebenchError, match="loss is nan"):
        training.step(patches, masks, 16)
    masks[:, :8] = 1
    assert np.isfinite(training.step(patches, masks, 16))


def test_a_new_head_is_drawn_as_the_published_one():
    """A plain convolution's own draw: uniform within 1 / sqrt(inputs), for weights and biases."""
    for tensor in Head(64, 1000, "linear").state_dict().values():
        assert tensor.abs().max() <= 1 / 8
        assert tensor.std() == pytest.approx(1 / 8 / 3**0.5, rel=0.1)


def test_logits_do_not_depend_on_the_batch_and_must_be_finite():
    torch.manual_seed(0)
    head, patches = Head(37, 11, "bn_linear").eval(), torch.randn(9, 5, 5, 37)
    whole = class_logits(head, patches)
    assert torch.equal(whole, torch.cat([class_logits(head, part) for part in patches.split(2)]))
    torch.testing.assert_close(whole, head(patches))
    patches[4, 2, 2, 1] = torch.inf
    with pytest.raises(DensebenchError, match="the head's logits are not finite"):
        class_logits(head, patches)


def test_a_head_survives_its_file(tmp_path):
    head = Head(8, 2, "bn_linear")
    about = {
        "classes": ["sky", "ground"],
        "palette": [[0, 0, 0], [1, 2, 3]],
        "ignore_index": 255,
        "input_size": 224,
        "backbone": "b",
        "fingerprint": "f",
        "mean": [0.5, 0.4, 0.3],
        "std": [0.3, 0.2, 0.1],
        "positions": "neco",
    }
    file = tmp_path / "head.safetensors"
    file.write_bytes(head_bytes(head, "bn_linear", about))
    loaded = load_head(file)
    assert loaded.classes == ("sky", "ground")
    assert loaded.palette == ((0, 0, 0), (1, 2, 3))
    assert (loaded.mean, loaded.positions) == ((0.5, 0.4, 0.3), "neco")
    patches = torch.randn(1, 2, 2, 8)
    torch.testing.assert_close(loaded.head(patches), head.eval()(patches))
    with torch.no_grad():
        head.classify.weight[1, 3] = torch.nan
    file.write_bytes(head_bytes(head, "bn_linear", about))
    with pytest.raises(DensebenchError, match="weights are not finite; train it again"):
        load_head(file)
    file.write_bytes(b"no head")
    with pytest.raises(DensebenchError, match="not a head of this version"):
        load_head(file)


ABOUT = {
    "classes": ["sky", "ground"],
    "palette": [[0, 0, 0], [1, 2, 3]],
    "ignore_index": 255,
    "input_size": 224,
    "backbone": "b",
    "fingerprint": "f",
    "mean": [0.5, 0.4, 0.3],
    "std": [0.3, 0.2, 0.1],
    "positions": "neco",
}


@pytest.mark.parametrize(
    "change",
    [
        {"classes": ["sky"]},
        {"classes": ["sky", "ground", "more"]},
        {"classes": []},
        {"classes": [1, 2]},
        {"palette": [[0, 0], [1, 2]]},
        {"palette": [[0, 0, 256], [1, 2, 3]]},
        {"palette": 7},
        {"input_size": 0},
        {"input_size": 10**12},
        {"mean": [0.5, 0.4]},
        {"std": [0.3, 0.0, 0.1]},
        {"std": [0.3, float("inf"), 0.1]},
        {"positions": "mine"},
        {"extra": 1},
    ],
)
def test_a_head_that_says_something_impossible_is_refused(tmp_path, change):
    file = tmp_path / "head.safetensors"
    file.write_bytes(head_bytes(Head(8, 2, "linear"), "linear", {**ABOUT, **change}))
    with pytest.raises(DensebenchError, match=r"head\.safetensors: not a head of this version"):
        load_head(file)


@pytest.mark.parametrize("key", sorted(ABOUT))
def test_a_head_that_does_not_say_all_is_refused(tmp_path, key):
    about = {name: value for name, value in ABOUT.items() if name != key}
    file = tmp_path / "head.safetensors"
    file.write_bytes(head_bytes(Head(8, 2, "linear"), "linear", about))
    with pytest.raises(DensebenchError, match=r"head\.safetensors: not a head of this version"):
        load_head(file)


@pytest.mark.parametrize(
    "damage",
    [
        lambda head: setattr(head.classify, "weight", torch.nn.Parameter(torch.ones(2, 8))),
        lambda head: delattr(head.classify, "bias"),
        lambda head: delattr(head.classify, "weight"),
        lambda head: head.register_buffer("more", torch.ones(1)),
        lambda head: head.double(),
        lambda head: setattr(head.classify, "bias", torch.nn.Parameter(torch.ones(3))),
    ],
)
def test_a_head_of_other_tensors_is_refused(tmp_path, damage):
    head, file = Head(8, 2, "linear"), tmp_path / "head.safetensors"
    damage(head)
    file.write_bytes(head_bytes(head, "linear", ABOUT))
    with pytest.raises(DensebenchError, match=r"head\.safetensors: not a head of this version"):
        load_head(file)
