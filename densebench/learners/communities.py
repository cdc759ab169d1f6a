"""Communities of clusters that lie beside each other in images.

Source: Ziegler and Asano, arXiv 2204.13101, as computed by experiments/fully_unsup_seg of
vpariza/NeCo at 3932160.
"""

import importlib.util
import math
import warnings
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float, Int64

from densebench.host.errors import DensebenchError

MOST_LABELS = 256  # in a co-occurrence matrix of the published code
DISTANCES = 1, 2
CLEAN_ANGLES = tuple(math.pi * n / 4 for n in range(8))
# Published: 4/3 in the place of 5/4, which at the distance 2 is another pixel.
PUBLISHED_ANGLES = (*CLEAN_ANGLES[:5], 4 * math.pi / 3, *CLEAN_ANGLES[6:])
NO_INFOMAP = (
    "communities of clusters are found by Infomap, which is not installed: "
    "pip install 'densebench[communities]', or communities = false leaves them out"
)

Offset = tuple[int, int]
Edges = tuple[Int64[np.ndarray, "e 2"], Float[np.ndarray, " e"]]


def offsets(angles: Iterable[float]) -> list[Offset]:
    """Rows and columns to the neighbours of a pixel, rounded as scikit-image rounds them.

    A near diagonal is rounded to the same neighbour at both distances, and counts twice.
    """
    return [
        (round(math.sin(angle) * distance), round(math.cos(angle) * distance))
        for distance in DISTANCES
        for angle in angles
    ]


def co_occurrence(
    clusters: Int64[np.ndarray, "n h w"], n_labels: int, neighbours: Sequence[Offset]
) -> Float[np.ndarray, "k k"]:
    """How often a cluster's neighbours of another cluster are of each, as the mean over images.

    The row of an image sums to 1, and images in which a cluster has no other neighbour do not
    count in its mean; a row of which there is none is nan.
    """
    total, images = np.zeros((n_labels, n_labels)), np.zeros(n_labels)
    for labels in clusters:
        counts = _neighbours(labels, n_labels, neighbours)
        np.fill_diagonal(counts, 0)
        of_row = counts.sum(axis=1, keepdims=True)
        total += np.divide(counts, of_row, out=np.zeros_like(total), where=of_row > 0)
        images += of_row[:, 0] > 0
    with np.errstate(invalid="ignore"):
        return total / images[:, None]


def edges(adjacency: Float[np.ndarray, "k k"], threshold: float) -> Edges:
    """Pairs of clusters that are neighbours both ways, and the weaker way as their weight."""
    both = np.minimum(adjacency, adjacency.T)
    pairs = np.argwhere(np.triu(both >= threshold, k=1))  # nan is below every threshold
    return pairs, both[pairs[:, 0], pairs[:, 1]]


def communities(
    graph: Edges, n_labels: int, *, markov_time: float, preferred: int, seed: int
) -> Int64[np.ndarray, " k"]:
    """The module of each cluster, from 1 on; 0 for those without an edge.

    Args:
        graph: edges between clusters.
        n_labels: clusters that there are.
        markov_time: of Infomap's random walk; a longer one gives fewer modules.
        preferred: how many modules are wished for.
        seed: from 1 on, which Infomap demands.

    Raises:
        DensebenchError: Infomap is not installed.
    """
    require_infomap()
    modules = np.zeros(n_labels, dtype=np.int64)
    if not len(graph[0]):
        return modules
    import infomap

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what will be called otherwise in its version 3
        found = infomap.Infomap(
            directed=False,
            two_level=True,
            silent=True,
            seed=seed,
            markov_time=markov_time,
            preferred_number_of_modules=preferred,
        )
        for (first, second), weight in zip(*graph, strict=True):
            found.add_link(int(first), int(second), float(weight))
        found.run()
        for node in found.tree:
            if node.is_leaf:
                modules[node.node_id] = node.module_id
    return modules


def require_infomap() -> None:
    """Nothing, where Infomap can be imported.

    Raises:
        DensebenchError: it is not installed.
    """
    if importlib.util.find_spec("infomap") is None:
        raise DensebenchError(NO_INFOMAP)


def _neighbours(
    labels: Int64[np.ndarray, "h w"], n_labels: int, neighbours: Sequence[Offset]
) -> Int64[np.ndarray, "k k"]:
    """Ordered pairs of pixels inside the image, by their labels."""
    height, width = labels.shape
    counts = np.zeros(n_labels**2, dtype=np.int64)
    for down, right in neighbours:
        rows = slice(max(0, -down), height - max(0, down))
        columns = slice(max(0, -right), width - max(0, right))
        there = labels[max(0, down) : height + min(0, down), max(0, right) : width + min(0, right)]
        pairs = labels[rows, columns] * n_labels + there
        counts += np.bincount(pairs.ravel(), minlength=n_labels**2)
    return counts.reshape(n_labels, n_labels)
