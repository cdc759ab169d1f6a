"""Published and seeded shares of the training images, and the order of a list."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from densebench.cards import DatasetCard
from densebench.datasets import Dataset, load_dataset, subset
from densebench.datasets import published_lists as known
from densebench.datasets.base import list_order
from densebench.datasets.published_lists import SUBSET_SEEDS, PublishedList, published_lists
from densebench.datasets.subset import check_share, chosen_subset, limited, share_of
from densebench.host.errors import DensebenchError
from densebench.run.execute import evaluate
from densebench.run.options import RunOptions

Publish = Callable[[str, str], None]
VOC_128 = "file_sets/voc/1_div_128/trainaug_128_400.txt"


@pytest.fixture
def voc(voc_home: Path, write: Any) -> Dataset:
    """Six training images in an order of their own."""
    root = voc_home / "VOCdevkit/VOC2012"
    names = ["f", "a", "e", "b", "d", "c"]
    for name in names:
        write.photo(root / "JPEGImages" / f"{name}.jpg")
        write.mask(root / "SegmentationClassAug" / f"{name}.png", write.grid(1))
    write.list(root / "ImageSets/Segmentation/trainaug.txt", names)
    return load_dataset(DatasetCard(kind="voc"), data_root=voc_home)


@pytest.fixture
def publish(monkeypatch: pytest.MonkeyPatch) -> Publish:
    """Puts a list in the place of a published one, in the table and in the cache."""

    def put(path: str, text: str) -> None:
        sha256 = hashlib.sha256(text.encode()).hexdigest()
        entry = PublishedList(path, len(text), text.count("\n"), sha256)
        others = [e for e in known.published_lists() if e.path != path]
        monkeypatch.setattr(known, "published_lists", lambda: (entry, *others))
        entry.file.parent.mkdir(parents=True, exist_ok=True)
        entry.file.write_text(text)

    return put


def test_the_table_of_published_lists() -> None:
    counts = {}
    for entry in published_lists():
        assert len(bytes.fromhex(entry.sha256)) == 32
        counts.setdefault(str(Path(entry.path).parent), []).append(entry.count)
    assert counts == {
        **{f"file_sets/voc/1_div_{n}": [c] * 5 for n, c in ((128, 80), (64, 160), (8, 1320))},
        **{f"file_sets/ade20k/1_div_{n}": [c] * 5 for n, c in ((128, 150), (64, 300), (8, 2550))},
        "file_sets/voc/full": [10582],
        "file_sets/voc": [1449],
    }
    found = known.published_shares()
    assert {seed for kind in found.values() for _, seed in kind} == set(SUBSET_SEEDS)
    assert found["voc"]["1/128", 400].path == VOC_128


def test_a_plain_share_is_the_published_list_in_its_own_order(
    voc: Dataset, publish: Publish
) -> None:
    publish(VOC_128, "e\nb\nd\n")
    assert chosen_subset(voc, "1/128", 400) == ["e", "b", "d"]
    part = share_of(voc, "1/128", 400)
    assert part.train.names == ("b", "d", "e")
    assert part.train.listed == ["e", "b", "d"]
    assert part.val == voc.val


def test_an_own_share_is_another_subset_in_the_order_of_the_whole_list(
    voc: Dataset, publish: Publish
) -> None:
    publish(VOC_128, "e\nb\nd\n")
    own = chosen_subset(voc, "own:1/2", 400)
    assert len(own) == 3 and own == sorted(own)
    assert own != chosen_subset(voc, "own:1/2", 42)
    train = share_of(voc, "own:1/2", 400).train
    assert train.listed == [n for n in "faebdc" if n in own]


def test_without_the_lists_the_command_that_fetches_them_is_named() -> None:
    with pytest.raises(DensebenchError, match="`densebench data prepare subsets`"):
        check_share("voc", "1/128", 400)


def test_a_list_with_another_content_is_not_used(voc: Dataset, publish: Publish) -> None:
    publish(VOC_128, "e\nb\nd\n")
    known.published_subset("voc", "1/128", 400).file.write_text("e\nb\nc\n")
    with pytest.raises(DensebenchError, match="`densebench data prepare subsets`"):
        chosen_subset(voc, "1/128", 400)


@pytest.mark.parametrize(
    ("kind", "share", "seed", "told"),
    [
        ("scenes", "1/8", 42, "no subsets of scenes are published; own:1/8"),
        ("voc", "1/16", 42, "of voc 1/8, 1/64, 1/128 are published; own:1/16"),
        ("ade20k", "1/8", 7, "the published seeds are 42, 400, 783, 1293, 4019; own:1/8"),
        ("voc", "2/8", 42, "wants a share such as 1/8 or own:1/8, not '2/8'"),
        ("voc", "own:1/0", 42, "not 'own:1/0'"),
        ("voc", "mine:1/8", 42, "not 'mine:1/8'"),
    ],
)
def test_shares_that_are_not(kind: str, share: str, seed: int, told: str) -> None:
    with pytest.raises(DensebenchError) as caught:
        check_share(kind, share, seed)
    assert told in str(caught.value)


def test_a_published_list_of_other_images_is_refused(voc: Dataset, publish: Publish) -> None:
    publish(VOC_128, "e\nz\n")
    with pytest.raises(DensebenchError, match="1 of the 2 published names are not among"):
        chosen_subset(voc, "1/128", 400)


def test_the_order_of_a_list_is_kept_and_is_in_the_fingerprint(
    voc: Dataset, tmp_path: Path
) -> None:
    train = voc.train
    assert train.names == tuple("abcdef")
    assert train.listed == list("faebdc")
    first = limited(voc, 4).train
    assert first.listed == list("abdc")
    assert train.fingerprint() != replace(train, order=None).fingerprint()
    (tmp_path / "own.txt").write_text("d\na\n")
    own = load_dataset(
        DatasetCard(kind="voc"), data_root=voc.root, train_list=tmp_path / "own.txt"
    ).train
    assert own.names == ("a", "d") and own.order == (1, 0) and own.listed == ["d", "a"]


def test_runs_on_published_subsets_are_on_one_dataset(
    voc: Dataset, publish: Publish, tmp_path: Path
) -> None:
    publish(VOC_128, "e\nb\nd\n")
    publish(VOC_128.replace("_400", "_42"), "a\nf\n")
    small = {"input_size": 28, "memory_size": "unbounded", "augmentation_epochs": 1}
    whole = RunOptions(
        "rgb_s14",
        "voc_incontext",
        params={**small, "n_neighbours": 4},
        data_root=voc.root,
        results=tmp_path / "results",
        cache="off",
    )
    parts = [replace(whole, subset="1/128", subset_seed=seed) for seed in (400, 42)]
    records = [evaluate(options)[0] for options in (whole, *parts)]
    assert [r.dataset.subset for r in records] == [None, "1/128", "1/128"]
    assert [r.dataset.subset_seed for r in records[1:]] == [400, 42]
    assert [r.dataset.train_names for r in records] == [None, ["e", "b", "d"], ["a", "f"]]
    assert len({r.dataset.fingerprint for r in records}) == 1
    assert len({r.run_id for r in records}) == 3


@given(st.lists(st.text("abc", min_size=1), min_size=1, unique=True))
def test_an_order_gives_the_list_back(listed: list[str]) -> None:
    order = list_order(listed)
    assert [sorted(listed)[i] for i in order or range(len(listed))] == listed
    assert (order is None) == (listed == sorted(listed))


def test_of_many_files_it_says_so_and_counts_them(
    voc: Dataset, ear: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []
    named: list[tuple[str, int | None, str]] = []

    @contextmanager
    def phase(name: str, total: int | None, unit: str = "images", done: int = 0) -> Iterator[Any]:
        named.append((name, total, unit))
        yield counted.append

    monkeypatch.setattr(ear, "phase", phase)
    files = len({*voc.train.files, *voc.val.files})
    first = subset.data_fingerprint(voc, ear)
    assert (named, sum(counted), ear.lines) == ([("hashes", files, "files")], files, [])
    monkeypatch.setattr(subset, "MANY_FILES", files)
    assert subset.data_fingerprint(voc, ear) == first == subset.data_fingerprint(voc)
    assert ear.lines == [f"comparing {files} images and masks with what is known of them"]
