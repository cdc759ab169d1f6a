"""Co-occurrence, edges and communities against the published code."""

import importlib.util
import math
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace

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


def test_neco_cbfe_communities_of_three_cliques(golden: Callable) -> None:
    """Infomap's partitions are random: of clear communities, and of the golden's in its range."""
    pytest.importorskip("infomap")
    pairs = np.array(
        [(a, b) for c in (0, 3, 6) for a in range(c, c + 3) for b in range(a + 1, c + 3)]
    )
    found = communities((pairs, np.full(9, 0.5)), 10, markov_time=1.0, preferred=3, seed=1)
    assert [len(set(found[c : c + 3])) for c in (0, 3, 6)] == [1, 1, 1]
    assert sorted(set(found)) == [0, 1, 2, 3]
    assert found[9] == 0
    arrays = golden("neco_cbfe")
    for run in RUNS:
        graph = arrays[f"com/run{run}/edges"], arrays[f"com/run{run}/weight"]
        time = float(arrays[f"com/run{run}/markov_time"])
        ours = communities(graph, 31, markov_time=time, preferred=20, seed=1)
        published = arrays[f"com/run{run}/module"]
        assert np.array_equal(ours == 0, published[0] == 0)
        assert abs(ours.max() - published.max(axis=1).mean()) <= 2


def test_infomap_is_asked_for_what_is_published(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a stand-in, for where it is absent: arguments, links, and the modules that come back."""
    asked: dict[str, object] = {}

    class Infomap:
        def __init__(self, **how: object) -> None:
            asked.update(how, links=[], runs=0)

        def add_link(self, *link: float) -> None:
            asked["links"].append(link)

        def run(self) -> None:
            asked["runs"] += 1

        @property
        def tree(self) -> list[SimpleNamespace]:
            root = SimpleNamespace(is_leaf=False)
            leaves = [SimpleNamespace(is_leaf=True, node_id=n, module_id=n) for n in (1, 2)]
            return [root, *leaves]

    module = ModuleType("infomap")
    module.Infomap = Infomap
    module.__spec__ = importlib.util.spec_from_loader("infomap", None)
    monkeypatch.setitem(sys.modules, "infomap", module)
    graph = np.array([[1, 2]]), np.array([0.25])
    found = communities(graph, 4, markov_time=1.2, preferred=20, seed=3)
    assert found.tolist() == [0, 1, 2, 0]
    assert asked.pop("links") == [(1, 2, 0.25)]
    assert asked == {
        "directed": False,
        "two_level": True,
        "silent": True,
        "seed": 3,
        "markov_time": 1.2,
        "preferred_number_of_modules": 20,
        "runs": 1,
    }


def test_no_edges_no_communities(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("densebench.learners.communities.require_infomap", lambda: None)
    none = np.zeros((0, 2), dtype=np.int64), np.zeros(0)
    assert not communities(none, 3, markov_time=1.0, preferred=2, seed=1).any()


def test_without_infomap_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    graph = np.array([[0, 1]]), np.array([0.5])
    with pytest.raises(DensebenchError, match=r"pip install 'densebench\[communities\]'"):
        communities(graph, 2, markov_time=1.0, preferred=2, seed=1)
