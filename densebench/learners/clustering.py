"""Standardise, reduce and cluster more patch features than fit into memory.

Source: ``normalize_and_transform`` and ``cluster`` of vpariza/NeCo at 3932160, which hold all
features at once; here they stream by twice, once for the moments and once to be projected.
"""

from collections.abc import Callable, Iterable
from typing import Literal

import faiss
import numpy as np
import torch
from jaxtyping import Float, Int64
from sklearn.preprocessing import StandardScaler

from densebench.host.errors import DensebenchError
from densebench.learners.moments import Moments

Stream = Callable[[], Iterable[Float[np.ndarray, "n d"]]]

CPU = torch.device("cpu")
CONSTANT = 1e-15  # of its square, up to which a dimension's variance is rounding
FAISS_PCA_SEED = 1234  # of the rows that faiss's own PCA would take when there are too many


class StreamedPCA:
    """Standardisation per dimension, then PCA, of a stream that is read once to fit.

    The principal axes are those of faiss's PCA matrix on at most ``rows_per_dim`` rows per input
    dimension, the very rows that faiss would take; 0 takes the covariance of all rows, whose
    moments are summed on ``device``.
    """

    def __init__(
        self, width: int, out_width: int, rows_per_dim: int, device: torch.device = CPU
    ) -> None:
        if out_width > width:
            raise DensebenchError(f"pca_dim {out_width} exceeds the {width} feature dimensions")
        self._width, self._out_width = width, out_width
        self._rows_per_dim, self._device = rows_per_dim, device
        self.scaler = StandardScaler()

    def fit(self, stream: Iterable[Float[np.ndarray, "n d"]], n_rows: int) -> None:
        """One pass over all ``n_rows`` rows.

        Raises:
            DensebenchError: there are fewer rows than dimensions to keep.
        """
        self._require(n_rows)
        if self._rows_per_dim:
            self._fit_sample(stream, n_rows)
        else:
            self._fit_all(stream)

    def transform(self, rows: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n k"]:
        """Standardised and projected rows, float32."""
        scaled = self.scaler.transform(rows).astype(np.float32)
        return scaled @ self._axes.T + self._bias

    def _require(self, n_rows: int) -> None:
        if n_rows < self._out_width:
            raise DensebenchError(f"PCA to {self._out_width} needs as many patches, not {n_rows}")

    def _fit_sample(self, stream: Iterable[Float[np.ndarray, "n d"]], n_rows: int) -> None:
        wanted = pca_rows(n_rows, self._rows_per_dim * self._width)
        place = np.full(n_rows, -1, dtype=np.int64)
        place[wanted] = np.arange(len(wanted))
        sample = np.empty((len(wanted), self._width), dtype=np.float32)
        start = 0
        for rows in stream:
            self.scaler.partial_fit(rows)
            target = place[start : start + len(rows)]
            sample[target[target >= 0]] = rows[target >= 0]
            start += len(rows)
        self._require(start)
        sample = sample[wanted < start]  # skipped images give fewer rows than were announced
        pca = faiss.PCAMatrix(self._width, self._out_width)
        pca.train(self.scaler.transform(sample).astype(np.float32))
        self._axes = faiss.vector_to_array(pca.A).reshape(-1, self._width)[: self._out_width].copy()
        self._bias = faiss.vector_to_array(pca.b)[: self._out_width].copy()

    def _fit_all(self, stream: Iterable[Float[np.ndarray, "n d"]]) -> None:
        moments = Moments(self._width, self._device)
        for rows in stream:
            moments.add(torch.from_numpy(rows))
        self._require(moments.count)
        covariance = moments.covariance.numpy()
        variance = covariance.diagonal().copy()
        constant = variance <= CONSTANT * (variance + moments.mean.numpy() ** 2)
        scale = np.sqrt(np.where(constant, 1.0, variance))
        self.scaler.mean_, self.scaler.var_, self.scaler.scale_ = (
            moments.mean.numpy(),
            variance,
            scale,
        )
        self.scaler.n_samples_seen_, self.scaler.n_features_in_ = moments.count, self._width
        _, vectors = np.linalg.eigh(covariance / np.outer(scale, scale))
        self._axes = vectors[:, ::-1][:, : self._out_width].T.astype(np.float32)
        self._bias = np.zeros(self._out_width, dtype=np.float32)


def pca_rows(n_rows: int, at_most: int) -> Int64[np.ndarray, " m"]:
    """The rows, in their order, on which faiss trains a PCA of ``n_rows`` rows."""
    return fitting_rows(n_rows, at_most, FAISS_PCA_SEED)


def cluster(
    features: Float[np.ndarray, "n d"],
    n_clusters: int,
    *,
    seed: int,
    niter: int,
    nredo: int,
    points_per_centroid: int,
    device: torch.device = CPU,
    spherical: bool = False,
    fitted_on: Int64[np.ndarray, " m"] | None = None,
) -> Int64[np.ndarray, " n"]:
    """The k-means cluster of every row, fitted on at most ``points_per_centroid`` per cluster.

    ``spherical`` normalises centroids, not rows, and takes the largest inner product. ``fitted_on``
    are the rows to fit on, each as often as it is named; all of them if not given.

    Raises:
        DensebenchError: there are fewer rows than clusters.
    """
    wanted = fitting_rows(
        len(features) if fitted_on is None else len(fitted_on),
        n_clusters * points_per_centroid,
        seed,
    )
    if len(wanted) < n_clusters:
        raise DensebenchError(f"K is {n_clusters}, but there are only {len(wanted)} patches")
    kmeans = faiss.Kmeans(
        features.shape[1],
        n_clusters,
        niter=niter,
        nredo=nredo,
        seed=seed,
        spherical=spherical,
        max_points_per_centroid=points_per_centroid,
        min_points_per_centroid=1,
    )
    if device.type == "cuda":
        kmeans.index = _on_gpu(kmeans.index, device)
    kmeans.train(np.ascontiguousarray(features[wanted if fitted_on is None else fitted_on[wanted]]))
    return kmeans.index.search(features, 1)[1][:, 0]


def fitting_rows(n_rows: int, at_most: int, seed: int) -> Int64[np.ndarray, " m"]:
    """The rows, in their order, on which faiss fits a k-means of ``n_rows`` rows."""
    if n_rows <= at_most:
        return np.arange(n_rows)
    order = np.empty(n_rows, dtype=np.int32)
    faiss.rand_perm(faiss.swig_ptr(order), n_rows, seed)  # type: ignore[attr-defined]
    return order[:at_most].astype(np.int64)


def kmeans_device(where: Literal["cpu", "gpu"], device: torch.device) -> torch.device:
    """Where k-means of a run on some device is done.

    Raises:
        DensebenchError: that is to be a GPU, and the run is on none, or faiss does not see it.
    """
    if where == "cpu":
        return CPU
    seen = faiss.get_num_gpus() if hasattr(faiss, "StandardGpuResources") else 0
    if device.type != "cuda" or _number(device) >= seen:
        raise DensebenchError(
            "kmeans = 'gpu' needs a run on a GPU that faiss can use; take kmeans = 'cpu'"
        )
    return device


def _on_gpu(index: faiss.Index, device: torch.device) -> faiss.Index:
    """On this GPU alone: faiss's own option takes all that it sees."""
    return faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), _number(device), index)


def _number(device: torch.device) -> int:
    return torch.cuda.current_device() if device.index is None else device.index
