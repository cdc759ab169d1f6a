"""Logistic regression against scikit-learn's own, where it is easy and where it is not."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from densebench.learners import logistic
from densebench.learners.logistic import fit_logistic

CPU = torch.device("cpu")


def data(n=300, width=6, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    centres = rng.normal(size=(classes, width))
    rows = centres[labels] + rng.normal(size=(n, width))
    return torch.from_numpy(rows.astype(np.float32)), torch.from_numpy(labels * 3)


@pytest.mark.parametrize("strength", [1e-6, 0.1, 100.0])
def test_equals_scikit_learn(strength):
    features, labels = data()
    (fit,) = fit_logistic(features, labels, [strength], CPU)
    theirs = LogisticRegression(C=strength, solver="newton-cholesky", tol=1e-12, max_iter=1000)
    theirs.fit(features.double().numpy(), labels.numpy())
    assert fit.classes == tuple(theirs.classes_)
    np.testing.assert_allclose(fit.weights, theirs.coef_, rtol=1e-6, atol=1e-9)
    found, expected = (b - b.mean() for b in (fit.intercepts.numpy(), theirs.intercept_))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


def test_classes_that_a_line_separates():
    """Without a penalty there would be no minimum."""
    features = torch.tensor([[-2.0, 1], [-1, 1], [1, 1], [2, 1]])
    (fit,) = fit_logistic(features, torch.tensor([5, 5, 9, 9]), [1e5], CPU)
    assert fit.logits(features).argmax(dim=1).tolist() == [0, 0, 1, 1]
    assert torch.isfinite(fit.weights).all()


def test_a_dimension_that_is_constant_and_a_class_alone():
    features, _ = data()
    features[:, 2] = 0
    (fit,) = fit_logistic(features, torch.full((300,), 7), [1.0], CPU)
    assert (fit.classes, fit.weights.abs().max()) == ((7,), 0)
    _, labels = data()
    (fit,) = fit_logistic(features, labels, [1.0], CPU)
    assert fit.weights[:, 2].abs().max() < 1e-12


def test_the_order_of_strengths_is_kept_and_chunks_change_nothing(monkeypatch):
    features, labels = data()
    high, low = fit_logistic(features, labels, [10.0, 0.01], CPU)
    assert high.weights.norm() > low.weights.norm()
    monkeypatch.setattr(logistic, "CHUNK_ROWS", 77)
    for whole, parts in zip(
        (high, low), fit_logistic(features, labels, [10.0, 0.01], CPU), strict=True
    ):
        torch.testing.assert_close(whole.weights, parts.weights, rtol=1e-9, atol=1e-9)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_finds_the_same():
    features, labels = data()
    (here,), (there,) = (
        fit_logistic(features, labels, [1.0], torch.device(device)) for device in ("cpu", "cuda")
    )
    torch.testing.assert_close(here.weights, there.weights, rtol=1e-9, atol=1e-9)
