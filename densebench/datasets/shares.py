"""Parts of a dataset: seeded shares of its training images, the first few, and its fingerprint."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from densebench.datasets.base import Dataset
from densebench.errors import DensebenchError
from densebench.results import content_hash


def subset_names(names: Sequence[str], share: str, seed: int) -> list[str]:
    """A seeded share ``1/N`` of sorted names; with one seed, smaller shares lie in larger ones.

    Raises:
        DensebenchError: the share is not of the form 1/N.
    """
    top, slash, bottom = share.partition("/")
    if top != "1" or not slash or not bottom.isdecimal() or int(bottom) < 1:
        raise DensebenchError(f"--subset wants a share such as 1/8, not '{share}'")
    order = np.random.default_rng(seed).permutation(len(names))
    kept = max(1, round(len(names) / int(bottom)))
    return sorted(sorted(names)[i] for i in order[:kept])


def limited(dataset: Dataset, limit: int) -> Dataset:
    """The first ``limit`` images of each split, by name."""
    if limit < 1:
        raise DensebenchError(f"--limit must be at least 1, not {limit}")
    return replace(
        dataset,
        train=dataset.train.subset(dataset.train.names[:limit]),
        val=dataset.val.subset(dataset.val.names[:limit]),
    )


def data_fingerprint(dataset: Dataset) -> str:
    """One fingerprint of both splits: their names, files, classes and void label."""
    return content_hash([dataset.train.fingerprint(), dataset.val.fingerprint()])
