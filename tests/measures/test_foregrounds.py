"""Jaccard indices and clusterings against the published code."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from densebench.datasets.targets import labels
from densebench.host.errors import DensebenchError
from densebench.measures.foregrounds import (
    AttentionScoring,
    Clusterings,
    ClusterScoring,
    Foreground,
    jaccard_index,
)
from densebench.measures.jaccard import CommunitiesMeanIoU, ObjectsMeanIoU, UpperBoundMeanIoU
from densebench.measures.scoring import Prediction

PUBLISHED = Foreground((0,), 255, void_counts=True)
CLEAN = Foreground((0,), 255, void_counts=False)
MASSES = (0.5, 0.6, 0.65, 0.8)


def predicted(values: np.ndarray) -> Prediction:
    n = len(values)
    return Prediction(
        torch.arange(n), torch.empty(n, 1, 1), values=torch.from_numpy(values).float()
    )


def attention_vectors(arrays: Any, case: str, mass: float, shown: Foreground) -> np.ndarray:
    at = f"{case}/t{mass}"
    masks = np.concatenate([arrays[f"{at}/mask_merged"][:, None], arrays[f"{at}/mask_heads"]], 1)
    scoring, prediction = AttentionScoring(("input",), shown), predicted(masks)
    truth = arrays[f"{case}/gt"]
    return np.stack([scoring.vector(prediction, n, truth[n]) for n in range(len(truth))])


@pytest.mark.parametrize("mass", MASSES)
@pytest.mark.parametrize("case", ["p16", "p14"])
def test_neco_attention_jaccards(golden: Callable, case: str, mass: float) -> None:
    arrays, at = golden("neco_attention"), f"{case}/t{mass}"
    how = json.loads(str(arrays["meta"]))["cases"][case]
    vectors = attention_vectors(arrays, case, mass, PUBLISHED)
    assert len(vectors) == len(arrays["names"])
    np.testing.assert_allclose(vectors[:, 0], arrays[f"{at}/jac_merged"], rtol=0, atol=4e-8)
    np.testing.assert_allclose(vectors[:, 2], arrays[f"{at}/jac_best_head"], rtol=0, atol=4e-8)
    vectors[how["used"] :, [0, 2]] = 0  # those that the last batch dropped
    merged, best = AttentionScoring(("input",), PUBLISHED).metrics
    total = vectors.sum(axis=0)
    assert merged.of(total) == pytest.approx(float(arrays[f"{at}/merged"]), abs=4e-8)
    assert best.of(total) == pytest.approx(float(arrays[f"{at}/best_head"]), abs=4e-8)


def test_neco_attention_what_clean_is_worth(golden: Callable) -> None:
    """The numbers of the golden's description: over all, and by classes other than 0 and 255."""
    arrays = golden("neco_attention")
    merged, best = AttentionScoring(("input",), PUBLISHED).metrics
    total = attention_vectors(arrays, "p16", 0.6, PUBLISHED).sum(axis=0)
    assert merged.of(total) == pytest.approx(0.27362, abs=5e-6)
    assert best.of(total) == pytest.approx(0.14828, abs=5e-6)
    clean = attention_vectors(arrays, "p16", 0.6, CLEAN)
    names = arrays["names"].tolist()
    assert [name for name, v in zip(names, clean, strict=True) if v[1] == 0] == [
        "blank",
        "void_only",
    ]
    # 0.18774 by those classes alone; here void is no part of a mask either.
    assert 0.18774 < best.of(clean.sum(axis=0)) < 0.2


@pytest.fixture
def cbfe(golden: Callable) -> dict[str, Any]:
    arrays = golden("neco_cbfe")
    return {"arrays": arrays, "n": json.loads(str(arrays["meta"]))["n_train"]}


def scored(truth: np.ndarray, kinds: tuple[Clusterings, ...], values: np.ndarray) -> tuple:
    scoring = ClusterScoring(("input",), PUBLISHED, 21, kinds, "zero")
    prediction = predicted(values)
    vectors = [scoring.vector(prediction, n, truth[n]) for n in range(len(truth))]
    total = np.sum(vectors, axis=0)
    settled = scoring.settle(total)
    return scoring, settled, scoring.settled(total, settled)


def test_neco_cbfe_foreground_and_object_clusters(cbfe: dict[str, Any]) -> None:
    arrays, n = cbfe["arrays"], cbfe["n"]
    shown, clusters = arrays["fg/mask"][n:], arrays["obj/clusters"][:, n:]
    kinds = (Clusterings(ObjectsMeanIoU, 5, 21, 21, "hungarian"),)
    values = np.concatenate([shown[:, None], clusters.transpose(1, 0, 2, 3)], axis=1)
    scoring, mappings, sums = scored(arrays["gt"][n:], kinds, values)
    jaccard, miou = scoring.metrics
    assert jaccard.of(sums) == pytest.approx(float(arrays["fg/jac_val"]), abs=4e-8)
    assert miou.of(sums) == pytest.approx(arrays["obj/miou"].mean(), abs=1e-15)
    counts = sums[2:].reshape(5, 3, 21)
    assert np.array_equal(counts, arrays["obj/tpfpfn"])
    for mapping, published in zip(mappings, arrays["obj/mapping"], strict=True):
        there = published != 255
        assert np.array_equal(mapping[there], published[there])
    assert scoring.detail([sums], [mappings]).mapping == [mappings[0].tolist()]


@pytest.mark.parametrize("run", range(4))
def test_neco_cbfe_communities(cbfe: dict[str, Any], run: int) -> None:
    arrays, n, at = cbfe["arrays"], cbfe["n"], f"com/run{run}"
    split = {"train": slice(None, n), "val": slice(n, None)}[str(arrays[f"{at}/split"])]
    clusters = arrays["com/clusters"][split]
    modules = [module[clusters] for module in arrays[f"{at}/module"]]
    kinds = (Clusterings(CommunitiesMeanIoU, len(modules), 22, 21, "hungarian"),)
    labels_ = np.minimum(np.stack(modules, axis=1), 21)
    values = np.concatenate([arrays["fg/mask"][split][:, None], labels_], axis=1)
    scoring, mappings, sums = scored(arrays["gt"][split], kinds, values)
    metric = scoring.metrics[1]
    assert metric.of(sums) == pytest.approx(float(arrays[f"{at}/mean"]), abs=1e-15)
    counts = sums[2:].reshape(-1, 3, 21)
    assert np.array_equal(counts, arrays[f"{at}/tpfpfn"])
    each = [ObjectsMeanIoU(start=0, repeats=1, classes=21).of(c.ravel()) for c in counts]
    np.testing.assert_allclose(each, arrays[f"{at}/miou"], rtol=0, atol=1e-15)
    for mapping, published in zip(mappings, arrays[f"{at}/mapping"], strict=True):
        there = published != 255
        assert np.array_equal(mapping[:21][there], published[there])


def test_neco_cbfe_upper_bound(cbfe: dict[str, Any]) -> None:
    arrays, n = cbfe["arrays"], cbfe["n"]
    kinds = (Clusterings(UpperBoundMeanIoU, 1, 31, 31, "precision"),)
    values = np.stack([arrays["fg/mask"][n:], arrays["com/clusters"][n:]], axis=1)
    scoring, mappings, sums = scored(arrays["gt"][n:], kinds, values)
    assert np.array_equal(sums[2:].reshape(3, 21), arrays["com/upper_tpfpfn"])
    published = arrays["com/upper_mapping"]
    assert np.array_equal(mappings[0][published != 255], published[published != 255])
    found = scoring.metrics[1].of(sums)
    assert found == pytest.approx(float(arrays["com/upper_miou"]), abs=1e-15)


def test_labels_beyond_the_matched_are_the_first_class() -> None:
    kind = Clusterings(CommunitiesMeanIoU, 1, 4, 3, "hungarian")
    confusion = np.array([[0, 5, 0, 1], [0, 0, 5, 0], [9, 0, 0, 50]])
    assert kind.settle(confusion).tolist() == [2, 0, 1, 0]


def test_void_counts_as_published_and_is_left_out_in_clean() -> None:
    truth = np.array([[0, 3], [255, 5]], dtype=np.uint8)
    shown, counted = PUBLISHED.of(truth)
    assert shown.tolist() == [[False, True], [True, True]]
    assert counted.all()
    shown, counted = CLEAN.of(truth)
    assert shown.tolist() == [[False, True], [False, True]]
    assert counted.tolist() == [[True, True], [False, True]]
    assert PUBLISHED.objects(truth).tolist() == CLEAN.objects(truth).tolist() == [3, 5]
    without_void = np.where(truth == 255, 0, truth).astype(np.uint8)
    assert PUBLISHED.objects(without_void).tolist() == [3]  # the largest is taken to be void
    assert CLEAN.objects(without_void).tolist() == [3, 5]


def test_void_is_no_part_of_a_predicted_foreground_in_clean() -> None:
    truth = np.array([[0, 1], [255, 255]], dtype=np.uint8)
    values = np.ones((1, 2, 2, 2), dtype=np.float32)
    found = {}
    for name, shown in (("published", PUBLISHED), ("clean", CLEAN)):
        kinds = (Clusterings(ObjectsMeanIoU, 1, 2, 2, "hungarian"),)
        scoring = ClusterScoring(("input",), shown, 2, kinds, "zero")
        found[name] = scoring.vector(predicted(values), 0, truth)[:2].tolist()
    assert found == {"published": [0.75, 1], "clean": [0.5, 1]}


def test_an_image_without_any_foreground_counts_as_published_only() -> None:
    truth, values = np.zeros((2, 2), dtype=np.uint8), np.zeros((1, 2, 2, 2), dtype=np.float32)
    for shown, counts in ((PUBLISHED, 1), (CLEAN, 0)):
        kinds = (Clusterings(ObjectsMeanIoU, 1, 2, 2, "hungarian"),)
        scoring = ClusterScoring(("input",), shown, 2, kinds, "zero")
        assert scoring.vector(predicted(values), 0, truth)[:2].tolist() == [0, counts]
    assert jaccard_index(truth > 0, truth > 0) == 0


def test_background_is_named() -> None:
    target = labels(("sky", "ground", "tree"), 255)
    assert Foreground.named(("ground", "sky"), target).background == (1, 0)
    with pytest.raises(
        DensebenchError, match=r"no class is called 'background'.*params\.background"
    ):
        Foreground.named(("background",), target)
