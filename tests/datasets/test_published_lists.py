"""The published lists of names."""

import hashlib
from collections import Counter
from pathlib import Path

import pytest

from densebench.datasets import published_lists
from densebench.datasets.published_lists import (
    SUBSET_SEEDS,
    PublishedList,
    published_names,
    published_subset,
)
from densebench.host.errors import DensebenchError

SHARES = {"voc": {"1/128": 80, "1/64": 160, "1/8": 1320}}
SHARES["ade20k"] = {"1/128": 150, "1/64": 300, "1/8": 2550}


def test_the_table_has_five_lists_of_each_share_with_the_published_counts() -> None:
    lists = published_lists.published_shares()
    for kind, shares in SHARES.items():
        assert {share: lists[kind][share, 42].count for share in shares} == shares
        for share in shares:
            assert {seed for other, seed in lists[kind] if other == share} == set(SUBSET_SEEDS)
    counted = Counter(entry.path for entry in published_lists.published_lists())
    assert set(counted.values()) == {1}


@pytest.mark.parametrize(
    ("kind", "share", "seed", "told"),
    [
        ("camvid", "1/8", 42, "no subsets of camvid are published; own:1/8"),
        ("voc", "1/2", 42, "of voc 1/8, 1/64, 1/128 are published"),
        ("voc", "1/8", 7, "the published seeds are 42, 400"),
        ("voc", "1/8", 42, "densebench data prepare subsets"),
    ],
)
def test_what_is_not_here(kind: str, share: str, seed: int, told: str) -> None:
    with pytest.raises(DensebenchError, match=told):
        published_subset(kind, share, seed)


def test_another_content_is_not_the_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DENSEBENCH_CACHE", str(tmp_path))
    content = b"b\na\n"
    entry = PublishedList("lists/x.txt", 4, 2, hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(published_lists, "published_shares", lambda: {"voc": {("1/8", 42): entry}})
    entry.file.parent.mkdir()
    entry.file.write_bytes(b"c\na\n")
    assert not entry.is_here
    with pytest.raises(DensebenchError, match="not in"):
        published_names("voc", "1/8", 42)
    entry.file.write_bytes(content)
    assert published_names("voc", "1/8", 42) == ("b", "a")
