"""The evidence of every validation image as a file beside a record: what its numbers follow from.

``<record>.evidence.npz`` holds the vectors of each repeat and image at the ranked resolution. Of
segmentation these are pixel counts of each class under the run's own matching, which take a few
bytes on disk for each class that an image holds. Records of schema 1 have ``<record>.counts.npz``,
with the same counts.
"""

import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from densebench.host.errors import DensebenchError
from densebench.measures.base import Evidence, sum_type
from densebench.measures.segmentation import class_counts
from densebench.records.schema import MetricScore, RunRecord

MEND = "repeat the run with --overwrite"
UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)
EXACT = 1e-9  # of a number that is computed again, on another machine


def packed(evidence: Evidence, run_id: str) -> bytes:
    """The content of the file."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        run_id=np.array(run_id),
        names=np.array(evidence.names),
        vectors=evidence.vectors,
        **_grouping(evidence),
    )
    return buffer.getvalue()


def read(file: Path, record: RunRecord) -> Evidence:
    """The evidence of a record.

    Raises:
        DensebenchError: the file cannot be read, is of another run, or the record's numbers do not
            follow from it.
    """
    evidence, run_id = opened(file)
    if run_id != record.run_id or not _sums_to(evidence, record):
        raise DensebenchError(f"{file}: not the evidence of the record beside it; {MEND}")
    for score in record.score.metrics:
        if not _follows(score, evidence):
            raise DensebenchError(
                f"{file}: the {score.title} of the record beside it does not follow from it; {MEND}"
            )
    return evidence


def opened(file: Path) -> tuple[Evidence, str]:
    """What a file of evidence holds, and the id of the run that it is of.

    Raises:
        DensebenchError: the file cannot be read.
    """
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return _evidence(arrays), str(arrays["run_id"])
    except UNREADABLE as error:
        raise DensebenchError(f"{file}: not the evidence of a run: {error}; {MEND}") from error


def _grouping(evidence: Evidence) -> dict[str, Any]:
    """The arrays that only evidence of grouped images has."""
    if evidence.groups is None:
        return {}
    return {"groups": np.array(evidence.groups), "group_name": np.array(evidence.group_name)}


def _evidence(arrays: Mapping[str, Any]) -> Evidence:
    names = tuple(arrays["names"].tolist())
    vectors = arrays["vectors"] if "vectors" in arrays else _counts_of_schema_1(arrays["pixels"])
    if vectors.dtype.kind not in "uif" or vectors.ndim != 3 or vectors.shape[1] != len(names):
        raise ValueError(f"the vectors are {vectors.dtype} of the shape {vectors.shape}")
    if "groups" not in arrays:
        return Evidence(names, vectors)
    groups = tuple(arrays["groups"].tolist())
    if len(groups) != len(names):
        raise ValueError(f"{len(groups)} groups are named for {len(names)} images")
    return Evidence(names, vectors, groups, str(arrays["group_name"]))


def _counts_of_schema_1(pixels: np.ndarray) -> np.ndarray:
    """Repeats, images, true and false positives and false negatives, classes: made flat."""
    if pixels.dtype != np.uint32 or pixels.ndim != 4 or pixels.shape[2] != 3:
        raise ValueError(f"the counts are {pixels.dtype} of the shape {pixels.shape}")
    return pixels.reshape(*pixels.shape[:2], -1)


def _sums_to(evidence: Evidence, record: RunRecord) -> bool:
    """Whether pixel counts are those of the record's confusion matrices, where it has some."""
    if not record.score.confusion:
        return True
    wanted = [class_counts(np.array(matrix)).ravel() for matrix in record.score.confusion]
    return np.array_equal(evidence.vectors.sum(axis=1, dtype=np.int64), wanted)


def _follows(score: MetricScore, evidence: Evidence) -> bool:
    """Whether a number is what its metric makes of the evidence; taken as it is without one."""
    metric = score.metric
    if metric is None:
        return True
    sums = evidence.vectors.sum(axis=1, dtype=sum_type(evidence.vectors))
    try:
        found = float(np.mean(metric.of(sums)))
    except (ValueError, IndexError):
        return False
    return bool(np.isclose(found, score.value, rtol=EXACT, atol=EXACT, equal_nan=True))
