"""CAPI's logistic regression against the minimisers that scikit-learn found for it."""

import numpy as np
import pytest
import torch

from densebench.datasets.targets import labels
from densebench.learners.choosing import HeldOut
from densebench.protocols.base import Setting
from densebench.protocols.logreg import Logreg, LogregParams

from .conftest import StoredMaps, scored

ONE = (1.0, 1.0, 1.0)
CLASSES = tuple("abcdefghijk")


def make(variant="reference", ignore_index=255, **params):
    setting = Setting(labels(CLASSES, ignore_index), 16, 48, ONE, ONE, variant)
    return Logreg(LogregParams(**params), setting)


@pytest.fixture(scope="module")
def images(golden):
    arrays = golden("capi_features")
    train = StoredMaps(arrays["train"], arrays["train_mask"])
    return train, StoredMaps(arrays["test"], arrays["test_mask"])


@pytest.fixture(scope="module")
def run(images):
    """The protocol, the fits of the search, what they predict, and those on all images."""
    seen, fits = [], []
    confusion, fitted = HeldOut.confusion, Logreg._fitted

    def watched(held, truth, found):
        seen.append(found[:, 0].reshape(14, 14))
        return confusion(held, truth, found)

    def kept(protocol, values):
        fits.append(fitted(protocol, values))
        return fits[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HeldOut, "confusion", watched)
        patch.setattr(Logreg, "_fitted", kept)
        protocol = make()
        protocol.fit(*images)
    return protocol, fits[0], torch.stack(seen), protocol._fitted(protocol._grid)


def test_the_grid_is_the_published_one(golden):
    expected = golden("capi_logreg")["C"]
    np.testing.assert_allclose(make().params.C, expected, rtol=1e-15)


@pytest.mark.parametrize("place", range(8))
def test_finds_the_minimum(golden, run, place):
    arrays, protocol = golden("capi_logreg"), run[0]
    # The solver of the golden arrays is itself 3.4e-7 from the search's minimum at the last C.
    for fits, ending, tolerance in ((run[1], "_fold", 1e-6), (run[3], "", 3e-7)):
        fit = fits.fits[place]
        assert list(fit.classes) == arrays["classes"].tolist()
        expected = arrays[f"W{ending}"][place]
        error = np.linalg.norm(fit.weights.numpy() - expected) / np.linalg.norm(expected)
        assert error < tolerance
        shift = fit.intercepts.numpy() - arrays[f"b{ending}"][place]
        np.testing.assert_allclose(shift - shift.mean(), 0, atol=2e-5)
    n = protocol._n_rows
    targets = protocol._table.modes[:n].long()
    logits = run[3].fits[place].logits(protocol._table.features[:n])
    penalty = run[3].fits[place].weights.square().sum() / (2 * arrays["C"][place] * n)
    objective = torch.nn.functional.cross_entropy(logits, targets) + penalty
    assert objective.item() == pytest.approx(arrays["objective"][place], rel=2e-9)


def test_chooses_as_the_published_code(golden, run, images):
    arrays, (protocol, _, seen, _) = golden("capi_logreg"), run
    found = seen.reshape(2, 8, 14, 14).transpose(0, 1)  # image by image
    assert np.array_equal(found, arrays["pred_val"])
    np.testing.assert_allclose(protocol._scores, arrays["miou_val"], rtol=0, atol=1e-15)
    assert protocol._best == arrays["best"]
    result = float(arrays["result_miou"]), float(arrays["result_acc"])
    assert scored(protocol, images[1]) == pytest.approx(result, abs=1e-15)


@pytest.mark.parametrize("place", range(8))
def test_predicts_as_the_published_code(golden, run, images, place):
    arrays, protocol = golden("capi_logreg"), run[0]
    with pytest.MonkeyPatch.context() as patch:
        fits = type(run[3])([run[3].fits[place]], 256)
        patch.setattr(protocol, "_classifier", fits)
        found = torch.cat([p.labels for p in protocol.predict(images[1])])
        scores = scored(protocol, images[1])
    assert np.array_equal(found[:, ::16, ::16], arrays["pred_test"][place])
    assert torch.equal(
        found, found[:, ::16, ::16].repeat_interleave(16, 1).repeat_interleave(16, 2)
    )
    wanted = arrays["miou_test"][place], arrays["acc_test"][place]
    assert scores == pytest.approx(wanted, abs=1e-15)


def test_a_solver_in_float32_stops_before_the_minimum_where_the_penalty_is_small(golden):
    """What the protocol's page says of it."""
    arrays = golden("capi_logreg")
    differing = (arrays["lbfgs32/pred_test"] != arrays["pred_test"]).sum(axis=(1, 2, 3))
    small = arrays["C"] < 10
    assert not differing[small].any()
    assert differing.max() == 18
    worth = np.abs(arrays["lbfgs32/miou_test"] - arrays["miou_test"]).max()
    assert round(float(worth), 4) == 0.0032
    assert np.abs(arrays["lbfgs32/miou_val"] - arrays["miou_val"]).max() < 0.0003
    assert arrays["lbfgs32/n_iter"].max() < 1000
    assert arrays["n_iter"].max() < 25 > arrays["n_iter_fold"].max()


def test_never_predicts_what_is_ignored(images):
    protocol = make(ignore_index=0, C=[0.05])
    protocol.fit(*images)
    found = torch.cat([p.labels for p in protocol.predict(images[1])])
    assert not ((found == 0) | (found >= 11)).any()
    assert protocol.scoring.classes == CLASSES


def test_clean_scores_masks_at_their_own_size_too(images):
    protocol = make("clean", C=[0.05])
    protocol.fit(*images)
    assert protocol.scoring.resolutions == ("input", "original")
    assert scored(protocol, images[1])[0] > 0.3


@pytest.mark.parametrize("bad", [{"C": []}, {"C": [0]}, {"C": [1, 1.0]}, {"C": ["a"]}])
def test_refuses_a_senseless_grid(bad):
    with pytest.raises(ValueError, match=r"at least 1|greater than 0|given once|valid number"):
        LogregParams(**bad)


def test_memory_is_that_of_the_table_and_the_shares():
    plan = make().memory_plan(24, 12)
    assert plan["shares of the classes"] == 2 * 24 * 196 * 11 * 8
