"""The clusterings of fully unsupervised segmentation: of all patches, and of the foreground."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8

from densebench.datasets.transforms import resize_labels
from densebench.host.watcher import Watcher
from densebench.learners.attended import Attended
from densebench.learners.cluster_foreground import Clustered, Effort, cluster_foreground
from densebench.learners.clustering import cluster
from densebench.learners.communities import (
    CLEAN_ANGLES,
    PUBLISHED_ANGLES,
    co_occurrence,
    communities,
    edges,
    offsets,
)
from densebench.measures.foregrounds import Foreground

Labels = Int64[np.ndarray, "n s s"]


@dataclass(frozen=True)
class Graph:
    """How finer clusters of the foreground become communities.

    Attributes:
        n_clusters: of the foreground.
        weight_threshold: of an edge between two of them.
        markov_time: of Infomap's walk.
        seeds: how often it is run.
        upper_bound: whether the clusters themselves are kept as well.
    """

    n_clusters: int
    weight_threshold: float
    markov_time: float
    seeds: int
    upper_bound: bool


@dataclass(frozen=True)
class Plan:
    """Which clusterings are made.

    Attributes:
        size: of the label maps.
        n_clusters: of all patches.
        threshold: of a foreground cluster's precision; ``train`` looks for it with true masks.
        n_objects: clusters of the foreground, as many as there are classes of objects.
        object_seeds: how often these are made.
        graph: of communities, if there are to be any.
        n_classes: modules beyond these are one label.
        effort: of every k-means.
        seed: of the run.
    """

    size: int
    n_clusters: int
    threshold: float | Literal["train"]
    n_objects: int
    object_seeds: int
    graph: Graph | None
    n_classes: int
    effort: Effort
    seed: int


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
        plan: which clusterings.
        foreground: of true masks.
        watcher: is told what is done.
    """

    def __init__(self, plan: Plan, foreground: Foreground, watcher: Watcher) -> None:
        self._plan, self._foreground, self._watcher = plan, foreground, watcher
        self._published = foreground.void_counts  # in published code alone
        self._told: dict[str, Any] = {}

    def found(self, train: Attended, val: Attended) -> Found:
        """All that is predicted of the validation images.

        Raises:
            DensebenchError: there are fewer patches than clusters, or no cluster is foreground.
        """
        size, n_train = self._plan.size, len(train.indices)
        grid = torch.arange(train.attended[0].numel()).reshape(1, *train.attended.shape[1:])
        self._places = resize_labels(grid.float(), size)[0].long().numpy()
        patches = np.concatenate([train.patches, val.patches])
        shown = self._extracted(patches, train, val)
        labels = [shown]
        for repeat in range(self._plan.object_seeds):
            self._watcher.status(f"object clusters {repeat + 1}/{self._plan.object_seeds}")
            seed = self._plan.seed * self._plan.object_seeds + repeat
            labels.append(self._clustered(patches, shown, self._plan.n_objects, seed))
        if (graph := self._plan.graph) is not None:
            fine = self._clustered(patches, shown, graph.n_clusters, self._plan.seed)
            labels += self._communities(fine, graph)
            labels += [fine] if graph.upper_bound else []
        kept = [of_all[n_train:].astype(np.uint8) for of_all in labels]
        return Found(np.stack(kept, axis=1), self._told)

    def _extracted(
        self, patches: Float[np.ndarray, "n p k"], train: Attended, val: Attended
    ) -> Bool[np.ndarray, "n s s"]:
        """The foreground of all images: what the chosen clusters cover."""
        plan, size, n_train = self._plan, self._plan.size, len(train.indices)
        self._watcher.status(f"k-means of all patches, K = {plan.n_clusters}")
        rows, k = patches.reshape(-1, patches.shape[-1]), plan.n_clusters
        found = cluster(rows, k, seed=plan.seed, spherical=True, **plan.effort.each)
        found = found.reshape(len(patches), -1)[:, self._places.ravel()]
        clusters = found.reshape(len(patches), *self._places.shape)
        shown = [resize_labels(part.attended.byte(), size).numpy() > 0 for part in (train, val)]
        learnt = Clustered(clusters[:n_train], shown[0], plan.n_clusters)
        scored = Clustered(clusters[n_train:], shown[1], plan.n_clusters)
        threshold = plan.threshold
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
        return cluster_foreground(patches, self._places, shown, n_clusters, seed, self._plan.effort)

    def _communities(self, fine: Labels, graph: Graph) -> list[Labels]:
        """The module of every pixel for each seed; those beyond the classes are one."""
        n_labels = graph.n_clusters + 1
        angles = PUBLISHED_ANGLES if self._published else CLEAN_ANGLES
        beside = co_occurrence(fine, n_labels, offsets(angles))
        found = edges(beside, graph.weight_threshold)
        labels, counts = [], []
        for repeat in range(graph.seeds):
            modules = communities(
                found,
                n_labels,
                markov_time=graph.markov_time,
                preferred=self._plan.n_objects,
                seed=self._plan.seed * graph.seeds + repeat + 1,
            )
            counts.append(int(modules.max()))
            labels.append(np.minimum(modules, self._plan.n_classes)[fine])
        self._told |= {"edges": len(found[0]), "communities": counts}
        return labels
