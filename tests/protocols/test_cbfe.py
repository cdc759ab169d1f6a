"""Fully unsupervised segmentation, whole, against the published code."""

import json
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from densebench.datasets.targets import labels
from densebench.features.source import PatchBatch
from densebench.host.distributed import World
from densebench.host.errors import DensebenchError
from densebench.host.watcher import Watcher
from densebench.learners.clustering import StreamedPCA
from densebench.measures.scoring import Scorer
from densebench.protocols.base import Setting
from densebench.protocols.cbfe import Cbfe, CbfeParams

ONE = (1.0, 1.0, 1.0)
VOC = labels(("background", *(f"object {n}" for n in range(1, 21))), 255)


class StoredPatches:
    """Patches and attention of a split that were computed before."""

    phase, world, watcher = "", World(), Watcher()

    def __init__(self, arrays: Any, part: slice, attention: bool = False) -> None:
        self.arrays, self.part = arrays, part
        kept = arrays["attn"] if attention else arrays["feat"].astype(np.float32).swapaxes(1, 2)
        self.maps = torch.from_numpy(kept[part]).unflatten(-1, (14, 14)).permute(0, 2, 3, 1)
        self.masks = torch.from_numpy(arrays["gt"][part])
        names = arrays["names"][part].tolist()
        self.split = SimpleNamespace(order=None, names=names, groups=None, name="val")

    def __len__(self) -> int:
        return len(self.masks)

    def batches(self, *args: Any, **kwargs: Any) -> Iterator[PatchBatch]:
        for indices in torch.arange(len(self)).split(7):
            yield PatchBatch(indices, self.maps[indices], self.masks[indices])


@pytest.fixture(autouse=True)
def _stored_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    def of_attention(source: StoredPatches) -> StoredPatches:
        return StoredPatches(source.arrays, source.part, attention=True)

    monkeypatch.setattr("densebench.learners.attended.of_attention", of_attention)
    monkeypatch.setattr("densebench.protocols.cbfe.of_attention", of_attention)


def protocol(variant: str = "reference", **params: Any) -> Cbfe:
    how = CbfeParams(input_size=224, K=40, pca_dim=16, K_communities=30, **params)
    return Cbfe(Cbfe.resolve(how, variant), Setting(VOC, 16, 32, ONE, ONE, variant))


@pytest.fixture
def splits(golden: Callable) -> tuple[Any, StoredPatches, StoredPatches]:
    arrays = golden("neco_cbfe")
    n = json.loads(str(arrays["meta"]))["n_train"]
    parts = slice(None, n), slice(n, None)
    return (arrays, *(StoredPatches(arrays, part) for part in parts))


def scores(whole: Cbfe, train: StoredPatches, val: StoredPatches) -> dict[str, float]:
    whole.fit(train, val)
    scorer = Scorer(whole.scoring, val.split)
    for prediction in whole.predict(val):
        scorer.add(prediction)
    (result,) = scorer.results()
    return {measured.metric.name: measured.value for measured in result.measured}


def test_neco_cbfe_pca(splits: tuple) -> None:
    arrays, *parts = splits
    rows = np.concatenate([part.maps.flatten(0, 2).numpy() for part in parts])
    reduction = StreamedPCA(32, 16, 1000)
    reduction.fit([rows], len(rows))
    found, published = reduction.transform(rows), arrays["pca"].reshape(-1, 16)
    signs = np.sign((found * published).sum(axis=0))
    error = np.linalg.norm(found * signs - published) / np.linalg.norm(published)
    assert error < 3e-6


def test_neco_cbfe_whole(splits: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    """From features to numbers; communities by the published modules instead of Infomap's."""
    arrays, train, val = splits
    modules = iter(arrays["com/run1/module"])
    module = "densebench.protocols.clusterings"
    monkeypatch.setattr(f"{module}.communities", lambda *args, **how: next(modules).astype(int))
    whole = protocol(weight_threshold=0.04, markov_time=1.0, community_seeds=5, upper_bound=True)
    found = scores(whole, train, val)
    told = whole.details()
    assert told["threshold"] == float(arrays["fg/threshold"])
    assert told["edges"] == len(arrays["com/run1/edges"])
    assert told["foreground_clusters"] == {
        "train": arrays["fg/is_fg_train"].sum(),
        "val": arrays["fg/is_fg_val"].sum(),
    }
    # The signs of the PCA are free, and so some patches' clusters at a border.
    assert found["foreground_jaccard"] == pytest.approx(float(arrays["fg/jac_val"]), abs=1e-4)
    assert found["objects_miou"] == pytest.approx(arrays["obj/miou"].mean(), abs=1e-4)
    assert found["communities_miou"] == pytest.approx(float(arrays["com/run1/mean"]), abs=1e-4)
    upper = float(arrays["com/upper_miou"])
    assert found["communities_upper_bound"] == pytest.approx(upper, abs=1e-4)


def test_clean_looks_at_no_training_mask(splits: tuple) -> None:
    _, train, val = splits
    params = {"communities": False, "object_seeds": 1, "nredo": 1}
    expected = scores(protocol("clean", threshold=0.4, **params), train, val)
    train.masks = torch.full_like(train.masks, 255)
    assert scores(protocol("clean", threshold=0.4, **params), train, val) == expected
    with pytest.raises(DensebenchError, match="'train' looks at true masks"):
        protocol("clean", threshold="train")
    assert protocol("clean").params.threshold == 0.5
    assert protocol().params.threshold == "train"


def test_what_the_quirks_of_the_foreground_are_worth(splits: tuple) -> None:
    """As the golden's description has it: void left out 0.259, and the train clusters on val."""
    _, train, val = splits
    params = {"communities": False, "object_seeds": 1, "nredo": 5, "threshold": 0.4}
    reference, clean = (
        scores(protocol(variant, **params), train, val)["foreground_jaccard"]
        for variant in ("reference", "clean")
    )
    assert reference == pytest.approx(0.29105, abs=1e-4)
    assert clean != pytest.approx(reference, abs=1e-3)


def test_without_infomap_nothing_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DensebenchError, match="communities = false leaves them out"):
        CbfeParams().check(VOC)
    CbfeParams(communities=False).check(VOC)
    with pytest.raises(DensebenchError, match="no class is called 'background'"):
        CbfeParams(communities=False).check(labels(("sky", "tree"), 255))


def test_a_backbone_without_attention_is_refused_before_the_work(
    splits: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(source: StoredPatches) -> None:
        raise DensebenchError("gives no attention")

    _, train, val = splits
    monkeypatch.setattr("densebench.protocols.cbfe.of_attention", none)
    monkeypatch.setattr(StoredPatches, "batches", lambda *args, **how: pytest.fail("extracts"))
    with pytest.raises(DensebenchError, match="gives no attention"):
        protocol(communities=False).fit(train, val)


def test_as_many_object_clusters_as_classes_of_objects() -> None:
    kinds = protocol(communities=False).scoring.kinds
    assert [(kind.labels, kind.matching) for kind in kinds] == [(21, "hungarian")]
    finer = protocol(communities=False, K_objects=60).scoring.kinds
    assert [(kind.labels, kind.matching) for kind in finer] == [(61, "precision")]
    assert protocol("clean").scoring.absent == "nan"
