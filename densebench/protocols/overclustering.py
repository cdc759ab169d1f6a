"""Overclustering: k-means on the validation patches alone, clusters matched to classes.

Source: vpariza/NeCo at 3932160, experiments/overcluster.
"""

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float, Int64
from pydantic import Field, PositiveInt
from torch import Tensor

from densebench.backbones.base import PositionsOf
from densebench.datasets.transforms import Squash
from densebench.features.source import PatchSource
from densebench.learners.clustering import StreamedPCA, cluster, kmeans_device
from densebench.learners.projection import Projection
from densebench.measures.labels import LabelScoring
from densebench.measures.scoring import Prediction, Resolution
from densebench.measures.segmentation import Absent
from densebench.protocols.base import InputSize, Needs, Protocol, ProtocolParams


class OverclusteringParams(ProtocolParams):
    """Parameters of the clustering.

    ``points_per_centroid`` and ``pca_rows_per_dim`` are how many patches faiss fits on; 0 of the
    latter takes all. ``batch_size`` decides only how many images ``drop_last_val`` drops.
    """

    input_size: InputSize = 448
    mask_size: Resolution = 100
    K: PositiveInt | Literal["classes"] = 500
    pca_dim: int = Field(default=50, gt=0)
    seeds: int = Field(default=5, gt=0, le=1000)
    niter: int = Field(default=100, gt=0, le=100_000)
    nredo: int = Field(default=5, gt=0, le=1000)
    points_per_centroid: int = Field(default=256, gt=0)
    pca_rows_per_dim: int = Field(default=1000, ge=0)
    kmeans: Literal["cpu", "gpu"] = "cpu"
    batch_size: int = Field(default=32, gt=0)
    drop_last_val: bool = False


class Overclustering(Protocol):
    """Clusters of the validation set; nothing is learnt from the training images."""

    published_positions: ClassVar[PositionsOf] = "neco"
    Params: ClassVar[type[ProtocolParams]] = OverclusteringParams
    version: ClassVar[int] = 2
    predicts_own: ClassVar[bool] = True
    params: OverclusteringParams

    @property
    def scoring(self) -> LabelScoring:
        """One-to-one matching for K = classes, best precision otherwise."""
        matching: Literal["hungarian", "precision"] = (
            "hungarian" if self._n_clusters == self.setting.n_classes else "precision"
        )
        setting = self.setting
        absent: Absent = "nan" if setting.variant == "clean" else "zero"
        classes = self._n_clusters, setting.classes, setting.ignore_index
        return LabelScoring((self.params.mask_size,), matching, absent, *classes)

    @property
    def needs(self) -> Needs:
        """No training images; of the others a pass for the moments, one for the projection."""
        return Needs(train_passes=0, val_passes=2)

    def memory_plan(self, n_train: int, n_val: int) -> dict[str, int]:
        """The projected patches, the rows that PCA is fitted on, and all masks."""
        patches, width = n_val * self.grid**2, self.setting.embed_dim
        fitted = min(patches, self.params.pca_rows_per_dim * width)
        return {
            "projected patches": patches * self.params.pca_dim * 4 * 2,
            "patches that PCA is fitted on": fitted * width * 4 * 2,
            "masks": n_val * self.input_size**2,
        }

    def fit(self, train: PatchSource, val: PatchSource) -> None:
        """Nothing: there is no training split."""

    def predict(self, val: PatchSource) -> Iterator[Prediction]:
        """The cluster of every validation patch, once for each k-means seed.

        Of several processes each takes some of the seeds, and predicts its own images by all. The
        published VOC loader drops the last incomplete batch, counted in images that can be read and
        in the list's own order.
        """
        params, setting = self.params, self.setting
        kmeans_device(params.kmeans, setting.device)  # refused before the work
        setting.watcher.status("standardise and PCA")
        view = Squash(self.input_size, setting.mean, setting.std, centred_mask=True)
        projection = Projection(val, view, params.batch_size if self._drops else None)
        widths = setting.embed_dim, params.pca_dim
        reduction = StreamedPCA(*widths, params.pca_rows_per_dim, setting.device)
        reduction = projection.fitted(reduction, self._scored_images(len(val)) * self.grid**2)
        own = projection.own(reduction)
        patches, places = projection.everywhere(own, (self.grid**2, params.pca_dim))
        labels = self._labels(patches)
        for repeat in range(params.seeds if len(places) else 0):
            grid = labels[repeat][places].unflatten(1, (self.grid, self.grid))
            yield Prediction(own.indices, own.masks, labels=grid, repeat=repeat)

    @property
    def _n_clusters(self) -> int:
        return self.setting.n_classes if self.params.K == "classes" else self.params.K

    def _labels(self, patches: Float[Tensor, "n p k"]) -> Int64[Tensor, "r n p"]:
        """The cluster of each patch for each seed, in all processes."""
        world, params = self.setting.world, self.params
        rows = patches.flatten(0, 1).numpy()
        labels = torch.zeros(params.seeds, *patches.shape[:2], dtype=torch.int64)
        for repeat in range(world.rank, params.seeds, world.size):
            self.setting.watcher.status(f"k-means {repeat + 1}/{params.seeds}")
            found = self._cluster(rows, self.setting.seed * params.seeds + repeat)
            labels[repeat] = torch.from_numpy(found).reshape(patches.shape[:2])
        return world.sum(labels)

    @property
    def _drops(self) -> bool:
        return self.setting.variant == "reference" and self.params.drop_last_val

    def _scored_images(self, n_val: int) -> int:
        """How many there are at most."""
        size = self.params.batch_size
        return n_val // size * size if self._drops and n_val >= size else n_val

    def _cluster(self, projected: Float[np.ndarray, "n k"], seed: int) -> Int64[np.ndarray, " n"]:
        return cluster(
            projected,
            self._n_clusters,
            seed=seed,
            niter=self.params.niter,
            nredo=self.params.nredo,
            points_per_centroid=self.params.points_per_centroid,
            device=kmeans_device(self.params.kmeans, self.setting.device),
        )

    def details(self) -> dict[str, Any]:
        """How many clusters there were."""
        return {"clusters": self._n_clusters}


PROTOCOL = Overclustering
