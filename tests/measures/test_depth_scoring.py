"""The published evaluation of depth, from the patch grid to the numbers."""

import numpy as np
import pytest
import torch

from densebench.measures.depth import ERRORS, aligned, depth_errors, mean_errors
from densebench.measures.depth_scoring import DepthScoring
from densebench.measures.scoring import Prediction, upsampled

PUBLISHED = {
    "pub": (True, DepthScoring(("original",), inside="nyu_eigen")),
    "no_tta": (False, DepthScoring(("original",), inside="nyu_eigen")),
    "full": (False, DepthScoring(("original",))),
    "aligned": (True, DepthScoring(("original",), inside="nyu_eigen", least_squares=True)),
    "blank": (False, DepthScoring(("original",), inside="nyu_eigen")),
}


def prediction_of(grids, mirrored):
    """Of the image, and where asked for the mean with its mirror image's."""
    grids = torch.from_numpy(grids)
    values = (grids[:, 0] + grids[:, 1].flip(-1)) / 2 if mirrored else grids[:, 0]
    indices = torch.arange(len(values))
    return Prediction(indices, torch.empty(len(values), 0, 0), values=values[:, None])


@pytest.mark.parametrize("case", PUBLISHED)
def test_every_error_is_the_published_one(golden, case):
    arrays = golden("dinov3_depth")
    mirrored, scoring = PUBLISHED[case]
    truth = (arrays["eval/gt_mm"] / 1000).astype(np.float32)
    grids = arrays["eval/pred_grid"]
    if case == "blank":
        truth = np.concatenate([np.zeros_like(truth[:1]), truth[:2]])
        grids = np.concatenate([grids[:1], grids[:2]])
    prediction, found, vectors = prediction_of(grids, mirrored), [], []
    for position, of_image in enumerate(truth):
        valid = scoring.counted(of_image)
        depth = scoring.depth(prediction, position, of_image, valid)
        found.append(depth_errors(depth[valid], of_image[valid]))
        vectors.append(scoring.vector(prediction, position, of_image))
        if position == 0:
            np.testing.assert_array_equal(valid, arrays[f"eval/{case}/mask0"])
            wanted = arrays[f"eval/{case}/pred0"]
            np.testing.assert_allclose(depth, wanted, rtol=0, atol=4e-6)
    errors = np.array([[errors[name] for errors in found] for name in ERRORS])
    np.testing.assert_allclose(errors, arrays[f"eval/{case}/per_image"], rtol=2e-7, atol=0)
    means = mean_errors(found)
    wanted = dict(zip(ERRORS, arrays[f"eval/{case}/mean"].tolist(), strict=True))
    assert means == pytest.approx(wanted, rel=2e-7)
    for metric, name in zip(scoring.metrics, ("rmse", "abs_rel", "a1"), strict=True):
        assert metric.of(np.sum(vectors, axis=0)) == pytest.approx(wanted[name], rel=2e-7)


def test_scale_and_shift_are_the_published_ones(golden):
    arrays = golden("dinov3_depth")
    scoring = PUBLISHED["aligned"][1]
    prediction = prediction_of(arrays["eval/pred_grid"], True)
    for position, steps in enumerate(arrays["eval/gt_mm"]):
        truth = (steps / 1000).astype(np.float32)
        depth = upsampled(prediction.values[position], truth.shape)[0].numpy()
        _, found = aligned(depth, truth, scoring.counted(truth))
        wanted = arrays["eval/aligned/scale_shift"][position]
        assert found == pytest.approx(wanted.tolist(), rel=2e-6)


def test_nothing_that_counts_is_told():
    scoring = DepthScoring(("original",))
    assert "has a depth that counts" in scoring.why_not(np.zeros(4))
    assert not scoring.why_not(np.ones(4))
