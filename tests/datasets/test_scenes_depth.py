"""The depth of the scenes: true of what is drawn, and added without touching anything else."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from densebench.cards import DatasetCard
from densebench.datasets import scenes
from densebench.datasets.load import load_dataset
from densebench.datasets.scenes import COUNTS, depth_root, render_depth, render_scene, scenes_root

SKY, GROUND, VOID = 0, 1, 255


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, int]:
    """A dataset of five scenes in a cache of its own."""
    counts = {"trainaug": 3, "val": 2}
    for split, count in counts.items():
        monkeypatch.setitem(COUNTS, split, count)
    monkeypatch.setenv("DENSEBENCH_CACHE", str(tmp_path))
    return counts


@pytest.mark.parametrize("index", range(4))
def test_it_is_that_of_what_is_drawn(index: int) -> None:
    depth, mask = render_depth("val", index), render_scene("val", index)[1]
    assert depth.dtype == np.uint16 and depth.shape == mask.shape
    assert not depth[(mask == SKY) | (mask == VOID)].any()
    seen = depth[(mask != SKY) & (mask != VOID)]
    assert 1500 < seen.min() < seen.max() < 9500  # millimetres
    ground = np.where(mask == GROUND, depth, 0)
    rows = [set(row[row > 0].tolist()) for row in ground]
    assert all(len(values) <= 1 for values in rows)  # the ground is level
    nearer = [next(iter(values)) for values in rows if values]
    assert nearer == sorted(nearer, reverse=True)  # and comes nearer row by row


def test_objects_are_upright_and_stand_where_the_ground_is_as_far() -> None:
    for index in range(6):
        depth, mask = render_depth("val", index), render_scene("val", index)[1]
        for label in set(np.unique(mask)) - {SKY, GROUND, VOID}:
            assert len(np.unique(depth[mask == label])) == 1
            lowest = np.argwhere(mask == label)[:, 0].max()
            below = depth[lowest + 2 :][mask[lowest + 2 :] == GROUND]
            if len(below):  # what is drawn before it is nearer
                assert below.min() <= depth[mask == label][0] + 1000


def test_the_content_is_that_of_its_version() -> None:
    digest = hashlib.sha256()
    for split in COUNTS:
        for index in range(3):
            digest.update(render_depth(split, index).tobytes())
    assert (scenes._VERSION, digest.hexdigest()) == (
        "1",
        "95864d8bcfe61c63971a296ac40eb585cda79b61748ecab7a7226ff1a7ef7b4c",
    )


def test_it_is_added_to_scenes_that_are_there_and_changes_none_of_them(few) -> None:
    root = scenes_root()
    before = {file: file.read_bytes() for file in root.rglob("*") if file.is_file()}
    assert depth_root() == root
    after = {file: file.read_bytes() for file in root.rglob("*") if file.is_file()}
    added = after.keys() - before.keys()
    assert {file: after[file] for file in before} == before
    assert {file.parent.name for file in added} == {"Depth"}
    assert len(added) == sum(few.values())
    assert [place.name for place in root.parent.iterdir()] == [root.name]


def test_an_interruption_leaves_no_depth_and_the_next_goes_on(few, monkeypatch) -> None:
    def interrupted(split: str, index: int) -> np.ndarray:
        if split == "val":
            raise KeyboardInterrupt
        return render_depth(split, index)

    with monkeypatch.context() as patch:
        patch.setattr(scenes, "render_depth", interrupted)
        with pytest.raises(KeyboardInterrupt):
            depth_root()
    assert not (scenes_root() / "Depth").exists()
    made = []
    with monkeypatch.context() as patch:
        patch.setattr(
            scenes, "render_depth", lambda *scene: made.append(scene[0]) or render_depth(*scene)
        )
        depth_root()
    assert set(made) == {"val"}


def test_the_kind_gives_metres_beside_the_same_images(few) -> None:
    depth = load_dataset(DatasetCard(kind="scenes_depth"))
    labels = load_dataset(DatasetCard(kind="scenes"))
    assert depth.val.names == labels.val.names and depth.val.image_files == labels.val.image_files
    assert (len(depth.train), len(depth.val)) == (3, 2)
    np.testing.assert_allclose(depth.val.mask(1), render_depth("val", 1) / 1000, rtol=1e-6)
