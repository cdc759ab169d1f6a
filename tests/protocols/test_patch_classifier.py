"""What both classifiers of patches share, against the arrays of the published code."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from densebench.datasets.targets import labels
from densebench.host.errors import DensebenchError
from densebench.measures.scoring import Prediction, Scorer
from densebench.protocols import load_protocol
from densebench.protocols.base import Setting
from densebench.protocols.knn import Knn, KnnParams

from .conftest import StoredMaps

ONE = (1.0, 1.0, 1.0)


def make(variant="reference", **params):
    setting = Setting(labels(tuple("abcdefghijk"), 255), 16, 48, ONE, ONE, variant)
    return Knn(KnnParams(ks=[1], distances=["L2"], **params), setting)


def test_is_standardised_by_the_share_that_is_not_held_out(golden, capi_images):
    arrays, protocol = golden("capi_features"), make()
    protocol.fit(*capi_images)
    scaler = protocol._steps._steps[0]._fitted
    np.testing.assert_allclose(scaler.mean_, arrays["std_mean"], rtol=1e-13)
    np.testing.assert_allclose(scaler.scale_, arrays["std_scale"], rtol=1e-13)
    train, test = capi_images
    held = torch.from_numpy(arrays["perm"][: arrays["n_val"]]).long()
    for source, which, name in ((train, held, "std_val"), (test, [0, 1], "std_test")):
        found = protocol._steps.transform(source.maps[which].flatten(0, 2)).reshape(2, 14, 14, 48)
        np.testing.assert_allclose(found, arrays[name], rtol=4e-7, atol=4e-7)


def test_clean_is_standardised_by_all(golden, capi_images):
    protocol = make("clean")
    protocol.fit(*capi_images)
    rows = capi_images[0].maps.flatten(0, 2).double()
    expected = (rows - rows.mean(dim=0)) / rows.std(dim=0, unbiased=False)
    found = protocol._steps.transform(rows.float())
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=5e-6)


def test_the_images_of_the_golden_arrays_are_the_same_photographs(golden):
    arrays, masks = golden("capi_features"), golden("hbird_masks")
    assert len(arrays["names_train"]) == len(arrays["train"])
    assert len(set(arrays["names_test"])) == len(arrays["test"])
    differing = (arrays["train_mask"] != masks["mem_mask"]).mean()
    assert 0.03 < differing < 0.04  # by the rule of nearest resizing alone


def test_an_image_that_cannot_be_read_leaves_no_row(golden):
    arrays = golden("capi_features")
    whole = StoredMaps(arrays["train"], arrays["train_mask"])
    lacking = StoredMaps(arrays["train"], arrays["train_mask"], lacks=[3, 11])
    protocol, other = make(), make()
    protocol.fit(whole, None)
    other.fit(lacking, None)
    assert not set(other._table.images[: other._n_rows].tolist()) & {3, 11}
    assert other._n_rows < protocol._n_rows


def test_nothing_that_can_be_learnt_from(golden):
    arrays = golden("capi_features")
    none = StoredMaps(arrays["train"], arrays["train_mask"], lacks=range(24))
    with pytest.raises(DensebenchError, match="no training image could be read"):
        make().fit(none, None)
    void = StoredMaps(arrays["train"], np.full_like(arrays["train_mask"], 255))
    with pytest.raises(DensebenchError, match="has a class as its most frequent label"):
        make().fit(void, None)


def test_every_so_many_patches_alone(golden, capi_images):
    protocol = make(subsampling=7)
    protocol.fit(*capi_images)
    rows = set((protocol._table.patches[: protocol._n_rows] % 7).tolist())
    assert protocol._n_rows < 24 * 196 / 7 + 2
    assert rows == {0}


@pytest.mark.parametrize(
    "case", ["all", "pred_only", "absent_both", "gt_only", "pred_void", "ign0", "ign0_nopred0"]
)
def test_is_scored_as_by_the_published_code(golden, case):
    arrays = golden("capi_metric")
    ignored = arrays[f"{case}/ignore"].tolist()
    truth, found = (arrays[f"{case}/{name}"].reshape(1, 100, 200) for name in ("gt", "pred"))
    # A dataset has one ignored label; where that is a class, no pixel of it is 255.
    truth = np.where(np.isin(truth, ignored), ignored[0], truth)
    setting = Setting(labels(tuple("012345"), ignored[0]), 16, 48, ONE, ONE)
    scoring = Knn(KnnParams(), setting).scoring
    classes = torch.from_numpy(found).long().masked_fill(torch.from_numpy(found) == 255, 6)
    scorer = Scorer(scoring, SimpleNamespace(names=("one",), groups=None))
    scorer.add(Prediction(torch.tensor([0]), torch.from_numpy(truth), labels=classes))
    result = scorer.results()[0]
    measured = {m.metric.name: m.value for m in result.measured}
    assert measured["miou"] == pytest.approx(float(arrays[f"{case}/miou"]), abs=1e-15)
    assert measured["pixel_accuracy"] == pytest.approx(float(arrays[f"{case}/acc"]), abs=1e-15)
    ids = {name: 255 if name == "void" else int(name) for name in scoring.classes}
    there = {ids[name]: iou for name, iou in result.detail.classes.items() if iou is not None}
    assert list(there) == arrays[f"{case}/classes"].tolist()
    np.testing.assert_allclose(list(there.values()), arrays[f"{case}/iou"], rtol=0, atol=1e-15)


@pytest.mark.parametrize("protocol", ["knn", "logreg"])
def test_its_page_names_every_parameter_and_variant(protocol):
    folder = Path(__file__).parents[2] / "docs" / "protocols"
    if not folder.is_dir():
        pytest.skip("the installed package has no docs beside it")
    page = (folder / f"{protocol}.md").read_text("utf-8")
    shared = (folder / "knn.md").read_text("utf-8")
    kind = load_protocol(protocol)
    for name in kind.Params.model_fields:
        assert (
            f"`{name}`" in page or f"`{name}`" in shared or name in ("positions", "normalisation")
        )
    for variant in kind.variants:
        assert f"`{variant}`" in page
    assert f"--task ade20k_{protocol}" in page


def test_memory_is_that_of_the_table(golden):
    plan = make().memory_plan(24, 12)
    assert plan["patches of all training images"] >= 24 * 196 * (48 * 4 + 256)
    copied = make(standardisation="RobustScaler").memory_plan(24, 12)
    assert sum(copied.values()) - sum(plan.values()) == 24 * 196 * 48 * 4
