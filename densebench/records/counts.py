"""Pixel counts of every validation image, kept beside a record.

They are what a comparison of two runs on the same images needs: a file ``<record>.counts.npz`` with
the true and false positives and false negatives of each image and class at the ranked resolution,
under the run's own matching. On disk they take a few bytes for each class that an image holds.
"""

import io
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt32

from densebench.files.atomic import write_atomically
from densebench.host.errors import DensebenchError
from densebench.measures.jackknife import Pixels, grouped
from densebench.measures.segmentation import Absent, class_counts
from densebench.records.schema import RunRecord

ABSENT: dict[str, Absent] = {"zero": "zero", "nan": "nan"}
MEND = "repeat the run with --overwrite"
UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class ImageCounts:
    """Counts of one run: repeats, images by name, then true/false positives, false negatives."""

    names: tuple[str, ...]  # sorted
    absent: Absent  # how a class that is nowhere counts in the ranked mIoU
    pixels: UInt32[np.ndarray, "r n 3 g"]
    groups: tuple[str, ...] | None = None  # what each image belongs to, where a dataset says so
    group_name: str = "groups"  # what these are: "sequences"

    @property
    def over(self) -> str:
        """What are independent draws: the images, or the groups that they belong to."""
        return "images" if self.groups is None else self.group_name

    @property
    def units(self) -> Pixels:
        """The counts of each independent draw."""
        return self.pixels if self.groups is None else grouped(self.pixels, self.groups)


def counts_file(record: Path) -> Path:
    """Where the counts of a record lie: beside it."""
    return record.with_suffix(".counts.npz")


def save_counts(record: Path, run_id: str, counts: ImageCounts) -> int:
    """Write the counts beside the record's path; returns the file's size in bytes."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        run_id=np.array(run_id),
        names=np.array(counts.names),
        absent=np.array(counts.absent),
        pixels=counts.pixels,
        **_grouping(counts),
    )
    content = buffer.getvalue()
    write_atomically(counts_file(record), content)
    return len(content)


def load_counts(path: Path, record: RunRecord) -> ImageCounts | None:
    """The counts beside a record; none where the run was made before they were kept.

    Raises:
        DensebenchError: the file cannot be read, or its counts do not sum to the record's.
    """
    file = counts_file(path)
    if not file.exists():
        return None
    try:
        with np.load(file, allow_pickle=False) as arrays:
            counts, run_id = _counts(arrays), str(arrays["run_id"])
    except UNREADABLE as error:
        raise DensebenchError(f"{file}: not the counts of a run: {error}; {MEND}") from error
    if run_id != record.run_id or not _sums_to(counts, record):
        raise DensebenchError(f"{file}: not the counts of the record beside it; {MEND}")
    return counts


def _grouping(counts: ImageCounts) -> dict[str, Any]:
    """The arrays that only counts of grouped images have."""
    if counts.groups is None:
        return {}
    return {"groups": np.array(counts.groups), "group_name": np.array(counts.group_name)}


def _counts(arrays: Mapping[str, Any]) -> ImageCounts:
    names, absent = tuple(arrays["names"].tolist()), str(arrays["absent"])
    pixels = arrays["pixels"]
    if pixels.dtype != np.uint32 or pixels.ndim != 4 or pixels.shape[1] != len(names):
        raise ValueError(f"the counts are {pixels.dtype} of the shape {pixels.shape}")
    if "groups" not in arrays:
        return ImageCounts(names, ABSENT[absent], pixels)
    groups = tuple(arrays["groups"].tolist())
    if len(groups) != len(names):
        raise ValueError(f"{len(groups)} groups are named for {len(names)} images")
    return ImageCounts(names, ABSENT[absent], pixels, groups, str(arrays["group_name"]))


def _sums_to(counts: ImageCounts, record: RunRecord) -> bool:
    wanted = [class_counts(np.array(confusion)) for confusion in record.score.confusion]
    return np.array_equal(counts.pixels.sum(axis=1, dtype=np.int64), wanted)
