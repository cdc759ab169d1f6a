"""The clusterings of fully unsupervised segmentation: of all patches, and of the foreground."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from pydantic import Field, PositiveInt

from densebench.datasets.transforms import resize_labels
from densebench.host.watcher import Watcher
from densebench.learners.attended import Attended
from densebench.learners.cluster_foreground import Clustered, Effort, cluster_foreground
from densebench.learners.clustering import cluster
from densebench.learners.communities import (
    CLEAN_ANGLES,
    MOST_LABELS,
    PUBLISHED_ANGLES,
    co_occurrence,
    communities,
    edges,
    offsets,
)
from densebench.measures.foregrounds import Foreground
from densebench.protocols.base import InputSize, ProtocolParams

Labels = Int64[np.ndarray, "n s s"]
Share = Annotated[float, Field(ge=0, le=1)]
SomeClusters = Annotated[int, Field(gt=0, lt=MOST_LABELS)]


class CbfeParams(ProtocolParams):
    """Parameters of the clusterings.

    ``mass`` is the share of the attention that its mask holds. ``threshold`` is the share of a
    foreground cluster's pixels that lie in it, or more; ``train`` looks for it with the masks of
    the training images. ``background`` names the classes that are no foreground, ``K`` how many
    clusters all patches are put into, ``K_objects`` and ``K_communities`` those of the foreground.
    """

    input_size: InputSize = 448
    mask_size: PositiveInt = 100
    mass: float = Field(default=0.65, gt=0, lt=1)
    background: tuple[str, ...] = Field(default=("background",), min_length=1)
    K: int = Field(default=200, ge=3)
    threshold: Share | Literal["auto", "train"] = "auto"
    pca_dim: int = Field(default=50, gt=0)
    pca_rows_per_dim: int = Field(default=1000, ge=0)
    niter: int = Field(default=100, gt=0, le=100_000)
    nredo: int = Field(default=5, gt=0, le=1000)
    points_per_centroid: int = Field(default=256, gt=0)
    K_objects: SomeClusters | Literal["classes"] = "classes"
    object_seeds: int = Field(default=5, gt=0, le=1000)
    communities: bool = True
    K_communities: int = Field(default=189, gt=1, lt=MOST_LABELS)
    weight_threshold: float = Field(default=0.07, gt=0, le=1)
    markov_time: float = Field(default=1.2, gt=0, le=1000)
    community_seeds: int = Field(default=10, gt=0, le=1000)
    upper_bound: bool = False


@dataclass(frozen=True)
class Found:
    """What clusterings found: labels of the validation images, and what is told of them.

    Attributes:
        labels: the foreground, and the label of each clustering.
        told: for the record.
    """

    labels: UInt8[np.ndarray, "n c s s"]
    told: dict[str, Any]


class Clusterer:
    """Clusters the patches of both splits, and the foreground alone.

    Args:
        params: of the protocol.
        foreground: of true masks.
        n_objects: clusters of the foreground, as many as there are classes of objects.
        n_classes: modules beyond these are one label.
        seed: of the run.
        watcher: is told what is done.
    """

    def __init__(
        self,
        params: CbfeParams,
        foreground: Foreground,
        n_objects: int,
        n_classes: int,
        seed: int,
        watcher: Watcher,
    ) -> None:
        self._params, self._foreground = params, foreground
        self._published = foreground.void_counts  # in published code alone
        self._n_objects, self._n_classes = n_objects, n_classes
        self._seed, self._watcher = seed, watcher
        self._effort = Effort(params.niter, params.nredo, params.points_per_centroid)
        self._told: dict[str, Any] = {}

    def found(self, train: Attended, val: Attended) -> Found:
        """All that is predicted of the validation images.

        Raises:
            DensebenchError: there are fewer patches than clusters, or no cluster is foreground.
        """
        size, n_train = self._params.mask_size, len(train.indices)
        grid = torch.arange(train.attended[0].numel()).reshape(1, *train.attended.shape[1:])
        self._places = resize_labels(grid.float(), size)[0].long().numpy()
        patches = np.concatenate([train.patches, val.patches])
        shown = self._extracted(patches, train, val)
        labels = [shown]
        for repeat in range(self._params.object_seeds):
            self._watcher.status(f"object clusters {repeat + 1}/{self._params.object_seeds}")
            seed = self._seed * self._params.object_seeds + repeat
            labels.append(self._clustered(patches, shown, self._n_objects, seed))
        if self._params.communities:
            fine = self._clustered(patches, shown, self._params.K_communities, self._seed)
            labels += self._communities(fine)
            labels += [fine] if self._params.upper_bound else []
        kept = [of_all[n_train:].astype(np.uint8) for of_all in labels]
        return Found(np.stack(kept, axis=1), self._told)

    def _extracted(
        self, patches: Float[np.ndarray, "n p k"], train: Attended, val: Attended
    ) -> Bool[np.ndarray, "n s s"]:
        """The foreground of all images: what the chosen clusters cover."""
        params, size, n_train = self._params, self._params.mask_size, len(train.indices)
        self._watcher.status(f"k-means of all patches, K = {params.K}")
        rows, seed = patches.reshape(-1, params.pca_dim), self._seed
        found = cluster(rows, params.K, seed=seed, spherical=True, **self._effort.each)
        found = found.reshape(len(patches), -1)[:, self._places.ravel()]
        clusters = found.reshape(len(patches), *self._places.shape)
        shown = [resize_labels(part.attended.byte(), size).numpy() > 0 for part in (train, val)]
        learnt = Clustered(clusters[:n_train], shown[0], params.K)
        scored = Clustered(clusters[n_train:], shown[1], params.K)
        threshold = params.threshold
        if isinstance(threshold, str):
            masks = resize_labels(train.masks, size).numpy()
            true = np.stack([self._foreground.of(mask)[0] for mask in masks])
            threshold = learnt.sweep(true).threshold
        # Published code chooses anew by the precisions of the validation images.
        chosen = (
            learnt.above(threshold),
            (scored if self._published else learnt).above(threshold),
        )
        self._told = {
            "threshold": round(threshold, 10),
            "foreground_clusters": {"train": chosen[0].sum(), "val": chosen[1].sum()},
        }
        return np.concatenate([chosen[0][learnt.clusters], chosen[1][scored.clusters]])

    def _clustered(
        self,
        patches: Float[np.ndarray, "n p k"],
        shown: Bool[np.ndarray, "n s s"],
        n_clusters: int,
        seed: int,
    ) -> Labels:
        return cluster_foreground(patches, self._places, shown, n_clusters, seed, self._effort)

    def _communities(self, fine: Labels) -> list[Labels]:
        """The module of every pixel for each seed; those beyond the classes are one."""
        params, n_labels = self._params, self._params.K_communities + 1
        angles = PUBLISHED_ANGLES if self._published else CLEAN_ANGLES
        graph = edges(co_occurrence(fine, n_labels, offsets(angles)), params.weight_threshold)
        labels, counts = [], []
        for repeat in range(params.community_seeds):
            modules = communities(
                graph,
                n_labels,
                markov_time=params.markov_time,
                preferred=self._n_objects,
                seed=self._seed * params.community_seeds + repeat + 1,
            )
            counts.append(int(modules.max()))
            labels.append(np.minimum(modules, self._n_classes)[fine])
        self._told |= {"edges": len(graph[0]), "communities": counts}
        return labels
