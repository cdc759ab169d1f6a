"""Co-occurrence, edges and communities against the published code."""

import importlib.util
import math
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from densebench.host.errors import DensebenchError
from densebench.learners.communities import (
    CLEAN_ANGLES,
    PUBLISHED_ANGLES,
    co_occurrence,
    communities,
    edges,
    offsets,
)

RUNS = range(4)


def test_neco_cbfe_co_occurrence_and_edges(golden: Callable) -> None:
    arrays = golden("neco_cbfe")
    clusters = arrays["com/clusters"].astype(np.int64)
    found = co_occurrence(clusters, 31, offsets(PUBLISHED_ANGLES))
    np.testing.assert_allclose(found, arrays["com/adjacency"], rtol=0, atol=1e-15)
    for run in RUNS:
        pairs, weights = edges(found, float(arrays[f"com/run{run}/weight_threshold"]))
        assert np.array_equal(pairs, arrays[f"com/run{run}/edges"])
        np.testing.assert_allclose(weights, arrays[f"com/run{run}/weight"], rtol=0, atol=1e-15)


def test_published_neighbours_are_one_sided() -> None:
    near = [(0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1)]
    far = [(0, 2), (1, 1), (2, 0), (1, -1), (0, -2), (-2, -1), (-2, 0), (-1, 1)]
    assert offsets(PUBLISHED_ANGLES) == near + far
    clean = offsets(CLEAN_ANGLES)
    assert sorted(clean) == sorted((-down, -right) for down, right in clean)


def test_co_occurrence_by_hand() -> None:
    """Of 0's other neighbours two thirds are 1; the second image has none but 0."""
    images = np.array([[[0, 1], [2, 1]], [[0, 0], [0, 0]]])
    found = co_occurrence(images, 4, [(0, 1), (1, 0), (1, 1)])
    np.testing.assert_allclose(found[0], [0, 2 / 3, 1 / 3, 0])
    assert np.isnan(found[1]).all()  # ordered: nothing is right of or below it but itself
    assert np.isnan(found[3]).all()


def test_edges_need_both_ways_and_have_the_weaker() -> None:
    adjacency = np.array([[0, 0.5, 0.9], [0.4, 0, math.nan], [0.1, 0.9, 0]])
    pairs, weights = edges(adjacency, 0.3)
    assert (pairs.tolist(), weights.tolist()) == ([[0, 1]], [0.4])


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Infomap where it is absent: notes what it is asked, and gives the modules that are put in."""
    asked: dict[str, Any] = {"modules": {}}

    class Infomap:
        def __init__(self, **how: object) -> None:
            asked.update(how=how, links=[], runs=0)

        def add_link(self, *link: float) -> None:
            asked["links"].append(link)

        def run(self) -> None:
            asked["runs"] += 1

        @property
        def tree(self) -> list[SimpleNamespace]:
            root = SimpleNamespace(is_leaf=False)
            nodes = asked["modules"].items()
            return [
                root,
                *(SimpleNamespace(is_leaf=True, node_id=n, module_id=m) for n, m in nodes),
            ]

    module = ModuleType("infomap")
    module.Infomap = Infomap  # type: ignore[attr-defined]
    module.__spec__ = importlib.util.spec_from_loader("infomap", None)
    monkeypatch.setitem(sys.modules, "infomap", module)
    return asked


@pytest.mark.parametrize("run", RUNS)
def test_neco_cbfe_infomap_is_asked_what_is_published(
    golden: Callable, stand_in: dict[str, Any], run: int
) -> None:
    arrays, at = golden("neco_cbfe"), f"com/run{run}"
    graph = arrays[f"{at}/edges"], arrays[f"{at}/weight"]
    time = float(arrays[f"{at}/markov_time"])
    for seed, published in enumerate(arrays[f"{at}/module"].astype(int), start=1):
        stand_in["modules"] = {node: published[node] for node in np.flatnonzero(published)}
        found = communities(graph, 31, markov_time=time, preferred=20, seed=seed)
        assert np.array_equal(found, published)
        assert stand_in["how"] == {
            "directed": False,
            "two_level": True,
            "silent": True,
            "seed": seed,
            "markov_time": time,
            "preferred_number_of_modules": 20,
        }
        pairs = zip(graph[0].tolist(), graph[1].tolist(), strict=True)
        assert stand_in["links"] == [(*pair, weight) for pair, weight in pairs]
        assert stand_in["runs"] == 1


def test_infomap_finds_three_cliques() -> None:
    pytest.importorskip("infomap")
    triangle = np.array([(0, 1), (0, 2), (1, 2)])
    pairs = np.concatenate([triangle, triangle + 3, triangle + 6])
    found = communities((pairs, np.full(9, 0.5)), 10, markov_time=1.0, preferred=3, seed=1)
    assert [len(set(found[c : c + 3])) for c in (0, 3, 6)] == [1, 1, 1]
    assert sorted(set(found)) == [0, 1, 2, 3]
    assert found[9] == 0


def test_infomap_partitions_the_golden_graphs_as_finely(golden: Callable) -> None:
    """Its partitions are random: the same clusters have one, in about as many modules."""
    pytest.importorskip("infomap")
    arrays = golden("neco_cbfe")
    for run in RUNS:
        graph = arrays[f"com/run{run}/edges"], arrays[f"com/run{run}/weight"]
        time = float(arrays[f"com/run{run}/markov_time"])
        ours = communities(graph, 31, markov_time=time, preferred=20, seed=1)
        published = arrays[f"com/run{run}/module"]
        assert np.array_equal(ours == 0, published[0] == 0)
        assert abs(ours.max() - published.max(axis=1).mean()) <= 2


def test_no_edges_no_communities(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("densebench.learners.communities.require_infomap", lambda: None)
    none = np.zeros((0, 2), dtype=np.int64), np.zeros(0)
    assert not communities(none, 3, markov_time=1.0, preferred=2, seed=1).any()


def test_without_infomap_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    graph = np.array([[0, 1]]), np.array([0.5])
    with pytest.raises(DensebenchError, match=r"pip install 'densebench\[communities\]'"):
        communities(graph, 2, markov_time=1.0, preferred=2, seed=1)
