"""CAPI's k nearest neighbours against the arrays that the published code computed."""

import numpy as np
import pytest
import torch

from densebench.datasets.targets import labels
from densebench.host.errors import DensebenchError
from densebench.learners.choosing import HeldOut
from densebench.learners.patch_labels import VOID
from densebench.measures.scoring import Scorer
from densebench.protocols.base import Setting
from densebench.protocols.knn import Knn, KnnParams

from .conftest import StoredMaps, scored

ONE = (1.0, 1.0, 1.0)
CLASSES = tuple("abcdefghijk")


def make(arrays, variant="reference", ignore_index=255, **params):
    width, patch = arrays["train"].shape[-1], arrays["train_mask"].shape[1] // 14
    setting = Setting(labels(CLASSES, ignore_index), patch, width, ONE, ONE, variant)
    return Knn(KnnParams(**params), setting)


def fitted(arrays, images, variant="reference", ignore_index=255, **params):
    protocol = make(arrays, variant, ignore_index, **params)
    protocol.fit(*images)
    return protocol


def maps(protocol, images):
    found = torch.cat([p.labels for p in protocol.predict(images[1])])
    return found.masked_fill(found == len(CLASSES), VOID).numpy()


def grid(arrays):
    return list(zip(arrays["grid_k"].tolist(), arrays["grid_distance"].tolist(), strict=True))


@pytest.mark.parametrize(("ignore", "prefix"), [(255, ""), (0, "ign0/")])
def test_chooses_as_the_published_code(golden, capi_images, monkeypatch, ignore, prefix):
    arrays, features = golden("capi_knn"), golden("capi_features")
    seen = []
    confusion = HeldOut.confusion

    def watched(held, truth, found):
        seen.append(found.unflatten(1, (16, 16)).unflatten(0, (14, 14)))
        return confusion(held, truth, found)

    monkeypatch.setattr(HeldOut, "confusion", watched)
    protocol = fitted(features, capi_images, ignore_index=ignore)
    assert [tuple(value.values()) for value in protocol._grid] == grid(arrays)
    np.testing.assert_allclose(protocol._scores, arrays[f"{prefix}miou_val"], rtol=0, atol=1e-15)
    assert protocol._best == arrays[f"{prefix}best"]
    if not prefix:
        # By distance, then image, then k.
        found = torch.stack(seen).reshape(2, 2, 4, 14, 14, 16, 16).permute(2, 0, 1, 3, 5, 4, 6)
        assert np.array_equal(found.reshape(8, 2, 224, 224).numpy(), arrays["pred_val"])
        result = float(arrays["result_miou"]), float(arrays["result_acc"])
        assert scored(protocol, capi_images[1]) == pytest.approx(result, abs=1e-15)


@pytest.mark.parametrize("place", range(8))
def test_predicts_as_the_published_code(golden, capi_images, place):
    arrays, features = golden("capi_knn"), golden("capi_features")
    k, distance = grid(arrays)[place]
    protocol = fitted(features, capi_images, ks=[k], distances=[distance])
    assert np.array_equal(maps(protocol, capi_images), arrays["pred_test"][place])
    miou, accuracy = scored(protocol, capi_images[1])
    assert miou == pytest.approx(arrays["miou_test"][place], abs=1e-15)
    assert accuracy == pytest.approx(arrays["acc_test"][place], abs=1e-15)
    # In half of its bits, for information: what that is worth is told on the protocol's page.
    assert abs(miou - arrays["bf16/miou_test"][place]) < 0.0021
    assert abs(accuracy - arrays["bf16/acc_test"][place]) < 0.0025


@pytest.mark.parametrize("place", [0, 1])
def test_an_ignored_class_is_dropped_as_in_the_published_code(golden, capi_images, place):
    arrays, features = golden("capi_knn"), golden("capi_features")
    value = arrays["ign0/pred_index"][place]
    k, distance = grid(arrays)[value]
    protocol = fitted(features, capi_images, ignore_index=0, ks=[k], distances=[distance])
    assert np.array_equal(maps(protocol, capi_images), arrays["ign0/pred_test"][place])
    wanted = arrays["ign0/miou_test"][value], arrays["ign0/acc_test"][value]
    # The protocol's own classes have no 255 beside an ignored 0; void is the twelfth here too.
    masks = np.where(features["test_mask"] == 255, 0, features["test_mask"])
    test = StoredMaps(features["test"], masks)
    assert scored(protocol, test) == pytest.approx(wanted, abs=1e-15)


@pytest.mark.parametrize("distance", ["cosine", "L2"])
def test_finds_the_published_neighbours(golden, capi_images, distance):
    arrays, features = golden("capi_knn"), golden("capi_features")
    protocol = fitted(features, capi_images, ks=[30], distances=[distance])
    table = protocol._table
    per_image = {int(image): place for place, image in enumerate(published_order(features))}
    places = torch.tensor([per_image[int(i)] for i in table.images[: protocol._n_rows]])
    assert np.array_equal(places * 196 + table.patches[: protocol._n_rows], arrays["rows"])
    queries = protocol._steps.transform(capi_images[1].maps.flatten(0, 2))
    found, rows = protocol._classifier.nearest.find(queries, 30)
    theirs = arrays[f"{distance}/idx"]
    assert np.array_equal(np.sort(rows, axis=1), np.sort(theirs, axis=1))
    assert (rows.numpy() == theirs).mean() > 0.9999
    tolerance = {"cosine": 4e-7, "L2": 5e-6}[distance]
    np.testing.assert_allclose(found, arrays[f"{distance}/dist"], rtol=0, atol=tolerance)


def published_order(features):
    """The images of concat(fit, val)."""
    held = int(features["n_val"])
    return [*features["perm"][held:], *features["perm"][:held]]


def test_half_precision_chooses_the_same_here(golden):
    arrays = golden("capi_knn")
    assert arrays["bf16/best"] == arrays["best"]
    assert np.abs(arrays["bf16/miou_val"] - arrays["miou_val"]).max() < 0.01


def test_what_the_class_void_is_worth(golden, capi_images):
    """As the protocol's page says."""
    protocol = fitted(golden("capi_features"), capi_images)
    scorer = Scorer(protocol.scoring, capi_images[1].split)
    for prediction in protocol.predict(capi_images[1]):
        scorer.add(prediction)
    result = scorer.results()[0]
    others = [v for name, v in result.detail.classes.items() if name != "void" and v is not None]
    assert round(100 * result.measured[0].value, 2) == 27.77
    assert round(100 * float(np.mean(others)), 2) == 30.29


def test_clean_never_predicts_void_and_reference_does(golden, capi_images):
    features = golden("capi_features")
    reference = fitted(features, capi_images, ks=[30], distances=["cosine"])
    assert (maps(reference, capi_images) == VOID).any()
    assert reference.scoring.classes[-1] == "void"
    clean = fitted(features, capi_images, "clean", ks=[30], distances=["cosine"])
    found = maps(clean, capi_images)
    assert not (found == VOID).any()
    assert clean.scoring.classes == CLASSES
    assert scored(clean, capi_images[1])[0] > scored(reference, capi_images[1])[0]


def test_clean_never_predicts_an_ignored_class(golden, capi_images):
    features = golden("capi_features")
    protocol = fitted(features, capi_images, "clean", 0, ks=[10], distances=["L2"])
    assert not np.isin(maps(protocol, capi_images), [0, VOID]).any()


def test_too_few_images_to_hold_any_out(golden):
    features = golden("capi_features")
    few = StoredMaps(features["train"][:9], features["train_mask"][:9])
    with pytest.raises(DensebenchError, match="one training image in ten is held out"):
        fitted(features, (few, None))
    protocol = fitted(features, (few, None), ks=[3], distances=["L2"])
    assert protocol.details()["chosen"] == {"k": 3, "distance": "L2"}


def test_more_neighbours_than_patches(golden):
    features = golden("capi_features")
    few = StoredMaps(features["train"][:1, :14], features["train_mask"][:1])
    with pytest.raises(
        DensebenchError, match=r"500 neighbours are asked for, and 1.. training patches have"
    ):
        fitted(features, (few, None), ks=[500], distances=["L2"])


@pytest.mark.parametrize("bad", [{"ks": []}, {"ks": [0]}, {"ks": [3, 3]}, {"distances": ["l2"]}])
def test_refuses_a_senseless_grid(bad):
    with pytest.raises(ValueError, match=r"at least 1|greater than 0|given once|Input should be"):
        KnnParams(**bad)


def test_explains_by_the_very_patches(golden, capi_images):
    features = golden("capi_features")
    protocol = fitted(features, capi_images, ks=[30], distances=["cosine"])
    query = capi_images[0].maps[4, 2:3, 5]
    nearest = protocol.explain(query, 3)
    assert (nearest.image[0, 0], nearest.patch[0, 0]) == (4, 2 * 14 + 5)
    assert nearest.similarity[0, 0] == pytest.approx(1, abs=1e-9)
