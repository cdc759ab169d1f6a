"""Parts of a dataset: published and seeded shares of its training images, and the first few.

``1/128`` is a published list of names; ``own:1/128`` a seeded share, which is another subset.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from densebench.datasets.base import Dataset, list_order
from densebench.datasets.published_lists import published_names, published_subset
from densebench.files.hashes import content_hash, content_hashes
from densebench.host.errors import DensebenchError
from densebench.host.watcher import Watcher

OWN = "own:"
MANY_FILES = 10_000  # of which it takes seconds to see that they are as they were


def check_share(kind: str, share: str, seed: int) -> None:
    """Nothing, if a dataset of this kind has the share; reads no image.

    Raises:
        DensebenchError: the share has not the form 1/N or own:1/N, or no such list is published,
            or it was not fetched yet.
    """
    _divisor(share)
    if not share.startswith(OWN):
        published_subset(kind, share, seed)


def chosen_subset(dataset: Dataset, share: str, seed: int) -> list[str]:
    """The names of a share of the training images, in the order of the list that names them.

    Args:
        dataset: the whole one.
        share: ``1/N`` for the published list, ``own:1/N`` for a seeded share.
        seed: which list, or which share.

    Raises:
        DensebenchError: as :func:`check_share`, or the published list has other images than the
            dataset's training split.
    """
    check_share(dataset.kind, share, seed)
    if share.startswith(OWN):
        return subset_names(dataset.train.names, share, seed)
    names = list(published_names(dataset.kind, share, seed))
    missing = sorted(set(names).difference(dataset.train.names))
    if missing:
        raise DensebenchError(
            f"--subset {share}: {len(missing)} of the {len(names)} published names are not among "
            f"the training images, the first is '{missing[0]}'; use the full training list, or "
            f"a seeded share of this one with own:{share}"
        )
    return names


def share_of(dataset: Dataset, share: str, seed: int) -> Dataset:
    """The dataset with a share of its training images; arguments as :func:`chosen_subset`."""
    names = chosen_subset(dataset, share, seed)
    train = dataset.train.subset(names)
    if not share.startswith(OWN):
        train = replace(train, order=list_order(names))
    return replace(dataset, train=train)


def subset_names(names: Sequence[str], share: str, seed: int) -> list[str]:
    """A seeded share of sorted names; with one seed, smaller shares lie in larger ones.

    Raises:
        DensebenchError: the share is not of the form 1/N or own:1/N.
    """
    order = np.random.default_rng(seed).permutation(len(names))
    kept = max(1, round(len(names) / _divisor(share)))
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


def data_fingerprint(dataset: Dataset, watcher: Watcher | None = None) -> str:
    """One fingerprint of both splits: their names, files, classes and void label.

    The watcher is told of the phase "hashes", in files; of many also in a line.
    """
    files = dict.fromkeys([*dataset.train.files, *dataset.val.files])
    told = watcher or Watcher()
    if len(files) >= MANY_FILES:
        told.say(f"comparing {len(files):,} images and masks with what is known of them")
    with told.phase("hashes", len(files), "files") as advance:
        hashes = content_hashes(files, advance=advance)
    return content_hash([split.fingerprint(hashes) for split in (dataset.train, dataset.val)])


def _divisor(share: str) -> int:
    top, slash, bottom = share.removeprefix(OWN).partition("/")
    if top != "1" or not slash or not bottom.isdecimal() or not bottom.isascii() or int(bottom) < 1:
        raise DensebenchError(f"--subset wants a share such as 1/8 or own:1/8, not '{share}'")
    return int(bottom)
