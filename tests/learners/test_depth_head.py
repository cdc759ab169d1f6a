"""The published head, from features to metres."""

import pytest
import torch

from densebench.learners.depth_head import (
    Bins,
    DepthHead,
    concatenated,
    cut_to_image,
    mirrored_mean,
    predicted_depth,
    seeded_depth_head,
    upsampled_depth,
)

NEAR = {"rtol": 0, "atol": 4e-6}


def tensors(arrays, *names):
    return [torch.from_numpy(arrays[name]) for name in names]


def head_of(arrays, place):
    """The head whose weights lie there, in evaluation mode."""
    weight, bias, bn_w, bn_b, bn_mean, bn_var = tensors(
        arrays, *(f"{place}/{name}" for name in ("W", "b", "bn_w", "bn_b", "bn_mean", "bn_var"))
    )
    head = DepthHead(weight.shape[1], Bins(len(weight)))
    head.project.weight.data, head.project.bias.data = weight[:, :, None, None], bias
    head.norm.weight.data, head.norm.bias.data = bn_w, bn_b
    head.norm.running_mean, head.norm.running_var = bn_mean, bn_var
    return head.eval()


def test_logits_and_depth_are_the_published_ones(golden):
    arrays = golden("dinov3_depth")
    features, logits, depth, up = tensors(
        arrays, "head/feat", "head/logits", "head/depth_linear_linear", "head/depth_up"
    )
    head = head_of(arrays, "head")
    torch.testing.assert_close(head.logits(features), logits, **NEAR)
    found = predicted_depth(head, features.permute(0, 2, 3, 1))
    torch.testing.assert_close(found, depth, **NEAR)
    torch.testing.assert_close(upsampled_depth(depth, (20, 28)), up, **NEAR)


@pytest.mark.parametrize("spacing", ["linear", "log"])
@pytest.mark.parametrize("weighting", ["linear", "softmax", "sigmoid"])
def test_bins_of_every_kind(golden, spacing, weighting):
    logits, wanted = tensors(
        golden("dinov3_depth"), "head/logits", f"head/depth_{spacing}_{weighting}"
    )
    bins = Bins(spacing=spacing, weighting=weighting)
    torch.testing.assert_close(bins.depth(logits), wanted, **NEAR)


def test_a_regression_instead_of_bins(golden):
    logits, wanted = tensors(golden("dinov3_depth"), "head/logits", "head/depth_regression")
    torch.testing.assert_close(Bins(count=1).depth(logits[:, :1]), wanted, **NEAR)


def test_several_layers_with_class_tokens(golden):
    arrays = golden("dinov3_depth")
    layers = tensors(arrays, "head/cls/feat0", "head/cls/feat1")
    tokens = tensors(arrays, "head/cls/cls0", "head/cls/cls1")
    logits = head_of(arrays, "head/cls").logits(concatenated(layers, tokens))
    torch.testing.assert_close(logits, torch.from_numpy(arrays["head/cls/logits"]), **NEAR)


def test_a_new_head_is_drawn_as_published_and_follows_its_seed():
    head, again, other = (seeded_depth_head(64, Bins(), True, seed) for seed in (1, 1, 2))
    assert torch.equal(head.project.weight, again.project.weight)
    assert not torch.equal(head.project.weight, other.project.weight)
    assert head.project.weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert not head.project.bias.any()


def test_the_mean_with_the_mirror_image_is_the_published_one(golden):
    depth, wanted = tensors(golden("dinov3_depth"), "head/depth_linear_linear", "head/tta_mean")
    torch.testing.assert_close(mirrored_mean(depth[:1], depth[1:]), wanted, **NEAR)


def test_padding_is_cut_off_again():
    padded = torch.arange(42.0)[None, :, None].expand(1, 42, 56)
    grid = padded[:, 7::14, 7::14]  # what a patch of a ramp is
    cut = cut_to_image(grid, 14, (38, 50))
    assert cut.shape == (1, 38, 50)
    torch.testing.assert_close(cut[:, 5:33], padded[:, 7:35, 3:53] + 0.5 - 0.5, atol=0.51, rtol=0)
    whole = torch.rand(1, 3, 4)
    assert cut_to_image(whole, 14, (42, 56)) is whole
