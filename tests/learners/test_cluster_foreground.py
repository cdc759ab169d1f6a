"""Cluster-based foreground extraction against the published code."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from densebench.datasets.transforms import resize_labels
from densebench.host.errors import DensebenchError
from densebench.learners.cluster_foreground import (
    Clustered,
    Effort,
    cluster_foreground,
    jaccard,
    mean_jaccard,
    precisions,
    sweep,
)
from densebench.learners.clustering import cluster

EFFORT = Effort(niter=100, nredo=5, points_per_centroid=256)


def at(array: np.ndarray, size: int) -> np.ndarray:
    return resize_labels(torch.from_numpy(array), size).numpy()


@pytest.fixture
def published(golden: Callable) -> dict[str, Any]:
    """Both splits, clustered as published."""
    arrays = golden("neco_cbfe")
    meta = json.loads(str(arrays["meta"]))
    assert len(arrays["names"]) == meta["n_train"] + meta["n_val"] == 40
    clusters = at(arrays["fg/clusters"], meta["eval_size"]).astype(np.int64)
    shown = at(arrays["attn_mask"], meta["eval_size"]) > 0
    n, k = meta["n_train"], meta["k_fg"]
    return {
        "arrays": arrays,
        "meta": meta,
        "train": Clustered(clusters[:n], shown[:n], k),
        "val": Clustered(clusters[n:], shown[n:], k),
        "split": {"train": slice(None, n), "val": slice(n, None)},
    }


def test_neco_cbfe_precisions(published: dict[str, Any]) -> None:
    for name in ("train", "val"):
        found = published[name].precisions
        np.testing.assert_allclose(
            found, published["arrays"][f"fg/prec_{name}"], rtol=0, atol=2e-16
        )


def test_neco_cbfe_threshold(published: dict[str, Any]) -> None:
    arrays, n = published["arrays"], published["meta"]["n_train"]
    found = published["train"].sweep(at(arrays["gt"][:n], 100) != 0)
    assert np.array_equal(found.starts, arrays["fg/sweep_start"])
    np.testing.assert_allclose(found.jaccards, arrays["fg/sweep_jac"], rtol=0, atol=4e-8)
    np.testing.assert_allclose(found.precisions, arrays["fg/sweep_prec"], rtol=0, atol=2e-16)
    assert found.starts[found.best] == arrays["fg/best_start"]
    assert found.threshold == arrays["fg/threshold"]


def test_neco_cbfe_foreground_and_its_jaccard(published: dict[str, Any]) -> None:
    arrays, threshold = published["arrays"], float(published["arrays"]["fg/threshold"])
    for name, part in published["split"].items():
        chosen = published[name].above(threshold)
        assert np.array_equal(chosen, arrays[f"fg/is_fg_{name}"])
        mask = chosen[published[name].clusters]
        assert np.array_equal(mask, arrays["fg/mask"][part])
        large = at(mask.astype(np.uint8), published["meta"]["input"]) > 0
        true = arrays["gt"][part] != 0
        both, either = (large & true).sum((1, 2)), (large | true).sum((1, 2))
        found = mean_jaccard(both, either)
        assert found == pytest.approx(float(arrays[f"fg/jac_{name}"]), abs=4e-8)


def test_neco_cbfe_clusters_of_all_patches(published: dict[str, Any]) -> None:
    arrays, meta = published["arrays"], published["meta"]
    how = meta["clusterings"][0]
    rows = arrays["pca"].reshape(-1, meta["pca_dim"])
    assert len(rows) == how["n"]
    found = cluster(rows, how["k"], seed=how["seed"], spherical=how["spherical"], **EFFORT.each)
    assert np.array_equal(found.reshape(arrays["fg/clusters"].shape), arrays["fg/clusters"])


@pytest.mark.parametrize("seed", range(5))
def test_neco_cbfe_clusters_of_the_foreground(published: dict[str, Any], seed: int) -> None:
    """Fitted on the rows that faiss would draw, assigned patch by patch: no label differs."""
    arrays, meta = published["arrays"], published["meta"]
    shown, places = arrays["fg/mask"] > 0, _places(meta["grid"], meta["eval_size"])
    assert shown.sum() == meta["clusterings"][2]["n"]
    k = meta["k_objects"]
    found = cluster_foreground(arrays["pca"], places, shown, k, seed, EFFORT)
    assert np.array_equal(found, arrays["obj/clusters"][seed])
    if seed == 0:
        fine = cluster_foreground(arrays["pca"], places, shown, meta["k_community"], 0, EFFORT)
        assert np.array_equal(fine, arrays["com/clusters"])


def _places(grid: int, size: int) -> np.ndarray:
    return at(np.arange(grid**2, dtype=np.float32).reshape(1, grid, grid), size)[0].astype(np.int64)


def test_a_precision_is_a_mean_over_images_and_not_over_pixels() -> None:
    pixels, attended = np.array([[1, 9, 0], [9, 1, 0]]), np.array([[1, 0, 0], [0, 1, 0]])
    assert precisions(pixels, attended).tolist() == [0.5, 0.5, 0.0]


def test_of_equal_cuts_the_later_and_of_two_thresholds_the_lower() -> None:
    """Ten clusters of a pixel each: the cuts 5 and 6, which fit a nonsensical truth alike."""
    pixels, precise = np.ones((1, 10), int), np.array([0.0] * 5 + [0.325, 0.375, 0.4, 0.5, 0.6])
    found = sweep(pixels, 0 * pixels, np.array([0]), precise)
    assert found.starts.tolist() == [5, 6]
    assert found.best == 1
    assert found.threshold == pytest.approx(0.35)  # halfway between it and 0.4
    assert found.jaccards.tolist() == [0, 0]


def test_no_cluster_is_foreground() -> None:
    clusters = np.zeros((1, 2, 2), dtype=np.int64)
    shown = np.array([[[True, False], [False, False]]])
    with pytest.raises(DensebenchError, match=r"no cluster has 0\.40 .* the most is 0\.250"):
        Clustered(clusters, shown, 3).above(0.4)


def test_nothing_in_both_is_no_overlap() -> None:
    assert jaccard(np.array([0, 1]), np.array([0, 4])).tolist() == [0, 0.25]


def test_fewer_pixels_than_clusters() -> None:
    patches, shown = np.ones((1, 4, 2), np.float32), np.zeros((1, 2, 2), bool)
    with pytest.raises(DensebenchError, match="K is 3, but there are only 0 patches"):
        cluster_foreground(patches, np.arange(4).reshape(2, 2), shown, 3, 0, EFFORT)
