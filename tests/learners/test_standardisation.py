"""The published choices, dimension by dimension."""

import numpy as np
import pytest

from densebench.host.errors import DensebenchError
from densebench.learners.standardisation import Standardisation

PUBLISHED = ["center", "center_div", "StandardScaler", "RobustScaler", "pca", "pca_whiten"]


def fit_share(arrays):
    chosen = arrays["perm"][arrays["n_val"] :]
    return arrays["train"][chosen].reshape(-1, 48)


@pytest.mark.parametrize("choice", PUBLISHED)
def test_equals_the_published_code(golden, choice):
    arrays = golden("capi_features")
    scaler = Standardisation(choice).fit(fit_share(arrays))
    rows = arrays["test"].reshape(-1, 48)[:64]
    found, expected = scaler.transform(rows), arrays[f"stdz_{choice}"]
    if choice.startswith("pca"):  # whose signs are free
        found = found * np.sign((found * expected).sum(axis=0))
    np.testing.assert_allclose(found, expected, rtol=4e-7, atol=4e-7)
    assert found.dtype == np.float32


@pytest.mark.parametrize("choice", ["none", *PUBLISHED])
def test_in_place_is_the_same(golden, choice):
    arrays = golden("capi_features")
    rows = fit_share(arrays)
    scaler = Standardisation(choice).fit(rows)
    expected = scaler.transform(rows)
    scaler.replace(rows)
    np.testing.assert_array_equal(rows, expected)


@pytest.mark.parametrize("choice", ["pca", "pca_whiten"])
def test_fewer_rows_than_axes(choice):
    with pytest.raises(DensebenchError, match="needs 8 patches, one for each dimension, not 5"):
        Standardisation(choice).fit(np.ones((5, 8), dtype=np.float32))
