"""Clusterings of patches and of their foreground, on patches whose groups are plain."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from densebench.host.errors import DensebenchError
from densebench.host.watcher import Watcher
from densebench.learners.attended import Attended
from densebench.learners.cluster_foreground import Effort
from densebench.measures.foregrounds import Foreground
from densebench.protocols.clusterings import Clusterer, Graph, Plan

SIDE = 4
GROUPS = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]])


def split(n: int, seed: int, attended: tuple[int, ...] = (1, 3)) -> Attended:
    """Images whose quarters are a group each; of the groups, some are attended to."""
    rng = np.random.default_rng(seed)
    patches = 10 * np.eye(4)[GROUPS.ravel()] + rng.normal(0, 0.1, (n, SIDE**2, 4))
    shown = torch.from_numpy(np.isin(GROUPS, attended)).expand(n, -1, -1)
    masks = torch.from_numpy(GROUPS.astype(np.uint8)).expand(n, -1, -1).clone()
    return Attended(torch.arange(n), patches.astype(np.float32), masks, shown)


@pytest.fixture
def clusterer() -> Callable[..., Clusterer]:
    def build(published: bool = True, threshold: float | str = 0.5, **graph: Any) -> Clusterer:
        plan = Plan(
            size=8,
            n_clusters=4,
            threshold=threshold,
            n_objects=2,
            object_seeds=2,
            graph=Graph(**graph) if graph else None,
            n_classes=4,
            effort=Effort(niter=20, nredo=2, points_per_centroid=256),
            seed=0,
        )
        return Clusterer(plan, Foreground((0, 2), 255, void_counts=published), Watcher())

    return build


def test_the_attended_groups_are_foreground_and_its_clusters(clusterer: Callable) -> None:
    found = clusterer().found(split(3, 0), split(2, 1))
    assert found.labels.shape == (2, 3, 8, 8)
    large = GROUPS.repeat(2, 0).repeat(2, 1)
    for shown, *clusterings in found.labels:
        assert np.array_equal(shown, np.isin(large, (1, 3)))
        for labels in clusterings:
            assert (labels[shown == 0] == 2).all()
            assert len({labels[large == 1][0], labels[large == 3][0]}) == 2
    assert found.told == {"threshold": 0.5, "foreground_clusters": {"train": 2, "val": 2}}


def test_published_code_chooses_anew_for_validation_images(clusterer: Callable) -> None:
    train, val = split(3, 0, (1, 3)), split(2, 1, (1, 2, 3))
    published = clusterer(published=True).found(train, val)
    clean = clusterer(published=False).found(train, val)
    assert published.told["foreground_clusters"] == {"train": 2, "val": 3}
    assert clean.told["foreground_clusters"] == {"train": 2, "val": 2}


def test_the_threshold_is_found_with_training_masks(clusterer: Callable) -> None:
    """Two of four clusters: the sweep has one cut, whose cluster is wholly attended to."""
    found = clusterer(threshold="train").found(split(3, 0), split(2, 1))
    assert found.told["threshold"] == 0.95


def test_modules_beyond_the_classes_are_one_label(
    clusterer: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = []

    def numbered(graph: object, n_labels: int, seed: int, **how: object) -> np.ndarray:
        seeds.append(seed)
        return 10 * np.arange(n_labels)

    monkeypatch.setattr("densebench.protocols.clusterings.communities", numbered)
    how = {"weight_threshold": 0.1, "markov_time": 1.0}
    build = clusterer(n_clusters=3, seeds=2, upper_bound=True, **how)
    found = build.found(split(3, 0), split(2, 1))
    _, _, _, first, second, fine = found.labels.swapaxes(0, 1)
    assert seeds == [1, 2]
    assert np.array_equal(first, second)
    assert np.array_equal(first, np.where(fine == 0, 0, 4))
    assert found.told["communities"] == [30, 30]


def test_nothing_is_foreground(clusterer: Callable) -> None:
    with pytest.raises(DensebenchError, match=r"no cluster has 0\.50 of its pixels"):
        clusterer().found(split(3, 0), split(2, 1, ()))
