"""Overclustering against the published code."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from densebench.datasets.targets import labels
from densebench.datasets.transforms import resize_labels
from densebench.features.source import PatchBatch
from densebench.host.distributed import World
from densebench.measures.segmentation import (
    class_counts,
    confusion_matrix,
    fold,
    iou_per_class,
    match,
    mean_iou,
)
from densebench.protocols.base import Setting
from densebench.protocols.overclustering import Overclustering, OverclusteringParams

ONE = (1.0, 1.0, 1.0)


class StoredPatches:
    """Validation patches that were extracted before."""

    def __init__(self, arrays, masks):
        self.patches = torch.from_numpy(arrays["query_feat"]).unflatten(1, (14, 14))
        self.masks = torch.from_numpy(masks["val_mask"])
        self.split = SimpleNamespace(order=None, names=[str(i) for i in range(len(self))])
        self.unreadable = {}
        self.world = World()

    def __len__(self):
        return len(self.masks)

    def batches(self, transform, seed=0, epoch=0, order=None, keep=True, reach="all"):
        for start in range(0, len(self), 5):
            indices = torch.arange(start, min(start + 5, len(self)))
            yield PatchBatch(indices, self.patches[indices], self.masks[indices])


def _protocol(variant="reference", **params):
    setting = Setting(labels(tuple("abcdefghijk"), 255), 16, 64, ONE, ONE, variant)
    return Overclustering(OverclusteringParams(input_size=224, **params), setting)


def _miou(clusters, masks, n_clusters, matching):
    truth = resize_labels(torch.from_numpy(masks["val_mask"]), 100).numpy()
    grid = torch.from_numpy(clusters).float()[:, None]
    labels = torch.nn.functional.interpolate(grid, size=(100, 100), mode="nearest")[:, 0]
    confusion = confusion_matrix(truth, labels.long().numpy(), 11, n_clusters, 255)
    mapping = match(confusion, matching)
    counts = class_counts(fold(confusion, mapping))
    return counts, float(mean_iou(iou_per_class(counts), "zero")), float((mapping == 0).mean())


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("n_clusters", "matching"), [(11, "hungarian"), (33, "precision")])
def test_matching_equals_the_published_code(golden, n_clusters, matching, seed):
    arrays, masks = golden("overcluster"), golden("hbird_masks")
    case = f"K{n_clusters}_seed{seed}"
    counts, miou, background = _miou(arrays[f"{case}/clusters"], masks, n_clusters, matching)
    np.testing.assert_array_equal(counts, arrays[f"{case}/tpfpfn"])
    assert background == pytest.approx(float(arrays[f"{case}/matched_bg"]), abs=1e-9)
    assert miou == pytest.approx(float(arrays[f"{case}/miou"]), abs=1e-9)
    assert _protocol(K=n_clusters).scoring.matching == matching


def test_the_whole_protocol_gives_the_published_clusters(golden):
    """faiss draws alike for one seed, so that even the clusters are those of the published code."""
    arrays, masks = golden("overcluster"), golden("hbird_masks")
    source = StoredPatches(golden("hbird_efflite16_d64"), masks)
    protocol = _protocol(K=33, seeds=2)
    protocol.fit(source, source)
    predictions = list(protocol.predict(source))
    assert [p.repeat for p in predictions] == [0, 1]
    for seed, prediction in enumerate(predictions):
        _, miou, _ = _miou(prediction.labels.numpy(), masks, 33, "precision")
        published = arrays[f"K33_seed{seed}/clusters"]
        _, expected, _ = _miou(published, masks, 33, "precision")
        same = (prediction.labels.numpy() == published).mean()
        # Rounding in the PCA may move a few patches between clusters.
        assert same > 0.97
        assert miou == pytest.approx(expected, abs=0.01)


def test_published_loader_drops_the_last_incomplete_batch(golden):
    source = StoredPatches(golden("hbird_efflite16_d64"), golden("hbird_masks"))
    how = {"K": "classes", "seeds": 1, "nredo": 1, "batch_size": 8, "drop_last_val": True}
    assert len(next(_protocol(**how).predict(source)).indices) == 8
    assert len(next(_protocol("clean", **how).predict(source)).indices) == 12
