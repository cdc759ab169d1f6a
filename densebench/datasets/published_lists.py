"""The published lists of image names: fixed parts of the training images, by share and seed.

They are the ``file_sets`` of hbird (github.com/vpariza/open-hummingbird-eval). The table
``published_subsets.tsv`` beside this file has the path, length, number of names and SHA-256 of
each; ``densebench data prepare subsets`` fetches them into the cache.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from densebench.datasets.lists import listed_names
from densebench.host.errors import DensebenchError
from densebench.host.paths import cache_home

SUBSET_SEEDS = (42, 400, 783, 1293, 4019)
PREPARE = "densebench data prepare subsets"
_PART = re.compile(r"file_sets/(?P<kind>\w+)/1_div_(?P<n>\d+)/\w+_(?P=n)_(?P<seed>\d+)\.txt")


@dataclass(frozen=True)
class PublishedList:
    """One list: its path in the repository, size in bytes, number of names, and SHA-256."""

    path: str
    size: int
    count: int
    sha256: str

    @property
    def file(self) -> Path:
        """Where it is kept once it was fetched."""
        return cache_home() / self.path

    def is_of(self, names: Sequence[str]) -> bool:
        """Whether these are its names in its order; it has one in each of its lines."""
        content = "".join(f"{name}\n" for name in names)
        return hashlib.sha256(content.encode()).hexdigest() == self.sha256

    @property
    def is_here(self) -> bool:
        """Whether the file is there with the published content."""
        try:
            return hashlib.sha256(self.file.read_bytes()).hexdigest() == self.sha256
        except OSError:
            return False


@cache
def published_lists() -> tuple[PublishedList, ...]:
    """Every list of the table."""
    lines = Path(__file__).with_name("published_subsets.tsv").read_text("utf-8").splitlines()
    rows = (line.split("\t") for line in lines if line and not line.startswith("#"))
    return tuple(PublishedList(path, int(size), int(n), sha) for path, size, n, sha in rows)


def published_subset(kind: str, share: str, seed: int) -> PublishedList:
    """The list of a share ``1/N`` of a dataset's training images.

    Raises:
        DensebenchError: there is none for this kind of dataset, this share or this seed, or it was
            not fetched yet.
    """
    lists = published_shares().get(kind, {})
    shares = sorted({share for share, _ in lists}, key=lambda share: int(share[2:]))
    if not lists:
        raise DensebenchError(
            f"--subset {share}: no subsets of {kind} are published; own:{share} is a seeded share"
        )
    if share not in shares:
        raise DensebenchError(
            f"--subset {share}: of {kind} {', '.join(shares)} are published; "
            f"own:{share} is a seeded share of any size"
        )
    if (share, seed) not in lists:
        raise DensebenchError(
            f"--subset-seed {seed}: the published seeds are "
            f"{', '.join(map(str, SUBSET_SEEDS))}; own:{share} takes any seed"
        )
    found = lists[share, seed]
    if not found.is_here:
        raise DensebenchError(
            f"--subset {share}: its published list is not in {found.file.parent}; fetch it with "
            f"`{PREPARE}`, or take a seeded share of your own with own:{share}"
        )
    return found


def published_names(kind: str, share: str, seed: int) -> tuple[str, ...]:
    """The names of a published subset, in the order of its file.

    Raises:
        DensebenchError: as :func:`published_subset`.
    """
    return listed_names(published_subset(kind, share, seed).file)


def published_shares() -> dict[str, dict[tuple[str, int], PublishedList]]:
    """The lists that are shares of training images: by kind of dataset, then by share and seed."""
    found: dict[str, dict[tuple[str, int], PublishedList]] = {}
    for entry in published_lists():
        part = _PART.fullmatch(entry.path)
        if part is not None:
            place = f"1/{part['n']}", int(part["seed"])
            found.setdefault(part["kind"], {})[place] = entry
    return found
