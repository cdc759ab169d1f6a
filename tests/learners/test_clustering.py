"""Streaming standardisation and PCA, and k-means, against the published code."""

import faiss
import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from densebench.host.errors import DensebenchError
from densebench.learners.clustering import StreamedPCA, cluster, kmeans_device, pca_rows


def _fitted(rows, out_width, rows_per_dim, batch=500):
    reduction = StreamedPCA(rows.shape[1], out_width, rows_per_dim)
    parts = (rows[i : i + batch] for i in range(0, len(rows), batch))
    reduction.fit(parts, len(rows))
    return reduction


def test_equals_the_published_projection(golden):
    arrays = golden("overcluster")
    rows = golden("hbird_efflite16_d64")["query_feat"].reshape(-1, 64)
    reduction = _fitted(rows, 50, 1000)
    np.testing.assert_allclose(reduction.scaler.mean_, arrays["scaler_mean"], atol=1e-6)
    np.testing.assert_allclose(reduction.scaler.scale_, arrays["scaler_scale"], rtol=1e-6)
    ours, theirs = reduction.transform(rows), arrays["pca_feats"]
    signs = np.sign((ours * theirs).sum(axis=0))
    # The last axes of a small sample are nearly degenerate, and turn within their plane.
    np.testing.assert_allclose((ours * signs)[:, :40], theirs[:, :40], atol=2e-3)


def test_sampled_rows_are_those_that_faiss_takes():
    rows = np.random.default_rng(0).normal(size=(5000, 4)).astype(np.float32)
    whole = faiss.PCAMatrix(4, 2)
    whole.train(rows)
    picked = faiss.PCAMatrix(4, 2)
    picked.train(rows[pca_rows(5000, 4000)])
    np.testing.assert_array_equal(faiss.vector_to_array(whole.A), faiss.vector_to_array(picked.A))
    assert not np.array_equal(pca_rows(5000, 4000), np.arange(4000))


def test_all_rows_equal_scikit_learn():
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(3000, 12)) @ rng.normal(size=(12, 12)) + 5).astype(np.float32)
    ours = _fitted(rows, 4, 0).transform(rows)
    scaled = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    theirs = PCA(4).fit_transform(scaled)
    signs = np.sign((ours * theirs).sum(axis=0))
    np.testing.assert_allclose(ours * signs, theirs, atol=1e-3)


def test_clusters_are_recovered_and_depend_on_the_seed_alone():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(5, 8)) * 20
    truth = rng.integers(0, 5, 1000)
    rows = (centres[truth] + rng.normal(size=(1000, 8))).astype(np.float32)
    how = {"niter": 20, "nredo": 3, "points_per_centroid": 256}
    labels = cluster(rows, 5, seed=0, **how)
    assert all(len(np.unique(labels[truth == t])) == 1 for t in range(5))
    np.testing.assert_array_equal(labels, cluster(rows, 5, seed=0, **how))


def test_impossible_requests_are_refused():
    rows = np.zeros((10, 4), dtype=np.float32)
    with pytest.raises(DensebenchError, match="K is 20"):
        cluster(rows, 20, seed=0, niter=1, nredo=1, points_per_centroid=1)
    with pytest.raises(DensebenchError, match="pca_dim 9"):
        StreamedPCA(4, 9, 0)
    with pytest.raises(DensebenchError, match="needs as many"):
        StreamedPCA(64, 50, 0).fit(iter([rows]), 10)


def test_constant_dimensions_stay_as_they_are():
    rows = np.random.default_rng(0).normal(size=(400, 5)).astype(np.float32)
    rows[:, 2] = 7.3
    reduction = _fitted(rows, 2, 0, batch=13)
    scaler = StandardScaler().fit(rows)
    np.testing.assert_allclose(reduction.scaler.mean_, scaler.mean_, atol=1e-6)
    np.testing.assert_allclose(reduction.scaler.scale_, scaler.scale_, rtol=1e-6)
    assert np.isfinite(reduction.transform(rows)).all()


def test_k_means_is_done_where_it_is_asked_for():
    assert kmeans_device("cpu", torch.device("cuda", 1)) == torch.device("cpu")
    with pytest.raises(DensebenchError, match="needs a run on a GPU that faiss can use"):
        kmeans_device("gpu", torch.device("cpu"))
