import hashlib
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from densebench.cards import find_task
from densebench.datasets import scenes
from densebench.datasets.load import load_dataset
from densebench.datasets.scenes import CLASSES, COUNTS, PALETTE, render_scene, scenes_root
from densebench.datasets.scenes.render import _filled
from densebench.datasets.scenes.shapes import OBJECTS, box, ellipse
from densebench.datasets.scenes.textures import PAINTS
from densebench.files.locks import held
from densebench.host.errors import DensebenchError

VOID = 255


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """A dataset of five scenes, so that writing it takes no time."""
    counts = {"trainaug": 3, "val": 2}
    for split, count in counts.items():
        monkeypatch.setitem(COUNTS, split, count)
    return counts


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def siblings(root: Path) -> list[str]:
    return sorted(path.name for path in root.parent.iterdir())


def test_a_scene_depends_on_its_split_and_index_only() -> None:
    image, mask = render_scene("val", 3)
    again, mask_again = render_scene("val", 3)
    assert image.shape == (224, 224, 3) and mask.shape == (224, 224)
    assert image.dtype == mask.dtype == np.uint8
    assert np.array_equal(image, again) and np.array_equal(mask, mask_again)
    for other in (("val", 4), ("trainaug", 3)):
        assert not np.array_equal(mask, render_scene(*other)[1])


def test_the_content_is_that_of_its_version() -> None:
    """A generator that draws anything else needs another version, or old caches are kept."""
    digest = hashlib.sha256()
    for split in COUNTS:
        for index in range(6):
            for array in render_scene(split, index):
                digest.update(array.tobytes())
    assert (scenes._VERSION, digest.hexdigest()) == (
        "1",
        "0b476c2663423c5e3ed1abb3d834e967770a7819e867ee2b0673055b29ca0cce",
    )


@pytest.mark.parametrize("split", list(COUNTS))
def test_every_class_is_common_enough(split: str) -> None:
    masks = np.stack([render_scene(split, index)[1] for index in range(24)])
    images_with = [(masks == index).any(axis=(1, 2)).sum() for index in range(len(CLASSES))]
    shares = [(masks == index).mean() for index in range(len(CLASSES))]
    assert min(images_with) >= 6
    assert min(shares) > 0.01
    assert (masks == VOID).mean() < 0.1
    assert set(np.unique(masks)) == {*range(len(CLASSES)), VOID}


@pytest.mark.parametrize("index", range(5))
def test_void_lies_between_any_two_classes(index: int) -> None:
    mask = render_scene("trainaug", index)[1].astype(int)
    for first, second in ((mask[1:], mask[:-1]), (mask[:, 1:], mask[:, :-1])):
        meet = first != second
        assert meet.any()
        assert ((first == VOID) | (second == VOID))[meet].all()


def test_the_classes_are_what_is_drawn() -> None:
    assert CLASSES[2:] == tuple(OBJECTS)


@pytest.mark.parametrize("name", list(OBJECTS))
def test_objects_stand_on_their_foot_and_use_the_colours_given(name: str) -> None:
    rng = np.random.default_rng(0)
    parts = OBJECTS[name].build(rng, PAINTS[0], PAINTS[5])
    points = np.concatenate([part.outline for part in parts])
    assert -1.35 < points[:, 1].min() < -0.8
    assert abs(points[:, 1].max()) < 0.1
    assert any(PAINTS[0] in part.colours for part in parts)


def test_filling_follows_the_pixel_centres() -> None:
    square = _filled(box(1.5, 2.0, 4.5, 5.0), 7, 8)
    expected = np.zeros((7, 8), bool)
    expected[2:5, 1:4] = True
    assert np.array_equal(square, expected)
    disc = _filled(ellipse(30, 25, 20, 10), 50, 60)
    assert disc.sum() == pytest.approx(np.pi * 200, rel=0.01)
    cut = _filled(ellipse(0, 25, 20, 10), 50, 60)
    assert np.array_equal(cut[:, :20], disc[:, 30:50])


def test_the_layout_is_that_of_voc(tmp_path: Path, few: dict[str, int]) -> None:
    root = scenes_root(tmp_path / "scenes")
    for split, count in few.items():
        names = (root / "ImageSets" / "Segmentation" / f"{split}.txt").read_text().split()
        assert len(set(names)) == count
        for index, name in enumerate(names):
            image, mask = render_scene(split, index)
            stored = root / "SegmentationClass" / f"{name}.png"
            assert np.array_equal(read(stored), mask)
            augmented = root / "SegmentationClassAug" / f"{name}.png"
            assert augmented.read_bytes() == stored.read_bytes()
            decoded = read(root / "JPEGImages" / f"{name}.jpg").astype(float)
            assert np.abs(decoded - image).mean() < 8
    with Image.open(stored) as coloured:
        assert coloured.mode == "P"
        palette = np.asarray(coloured.getpalette()).reshape(-1, 3)
    assert np.array_equal(palette[: len(CLASSES)], PALETTE)
    assert tuple(palette[VOID]) == (224, 224, 192)


def test_the_task_card_reads_them_from_the_cache(
    tmp_path: Path, few: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DENSEBENCH_CACHE", str(tmp_path))
    found = find_task("scenes_incontext")
    card, path = found.card, found.file
    dataset = load_dataset(card.dataset, card_path=path)
    assert dataset.root == tmp_path / "scenes-v1"
    assert dataset.classes == CLASSES
    assert card.protocol == "in_context"


def test_they_are_made_once(
    tmp_path: Path, few: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = scenes_root(tmp_path / "scenes")
    monkeypatch.setattr(scenes, "_generate", lambda _: pytest.fail("made again"))
    assert scenes_root(tmp_path / "scenes") == root
    assert siblings(root) == ["scenes"]


def test_an_interruption_leaves_no_dataset_and_the_next_goes_on(
    tmp_path: Path, few: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(split: str, index: int) -> tuple[np.ndarray, np.ndarray]:
        if split == "val":
            raise KeyboardInterrupt
        return render_scene(split, index)

    with monkeypatch.context() as patch:
        patch.setattr(scenes, "render_scene", interrupted)
        with pytest.raises(KeyboardInterrupt):
            scenes_root(tmp_path / "scenes")
    assert not (tmp_path / "scenes").exists()
    made: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(
            scenes, "render_scene", lambda *scene: made.append(scene[0]) or render_scene(*scene)
        )
        root = scenes_root(tmp_path / "scenes")
    assert set(made) == {"val"}
    assert (root / "JPEGImages" / "val_000001.jpg").is_file()
    assert siblings(root) == ["scenes"]
    assert len(list((root / "JPEGImages").iterdir())) == sum(few.values())


def test_an_unfinished_generation_of_another_process_is_left_to_it(
    tmp_path: Path, few: dict[str, int]
) -> None:
    theirs = tmp_path / f".scenes.{scenes._VERSION}.0"
    theirs.mkdir()
    with held(theirs / "lock", taken=lambda: None):
        scenes_root(tmp_path / "scenes")
    assert siblings(tmp_path / "scenes") == [theirs.name, "scenes"]


@pytest.mark.parametrize("whole_before", [False, True])
def test_what_killed_processes_left_is_removed_by_the_next_one(
    tmp_path: Path, few: dict[str, int], whole_before: bool
) -> None:
    """Of eight that were killed, one is gone on with; of older versions, none."""
    root = tmp_path / "scenes"
    if whole_before:
        scenes_root(root)
    for number in range(8):
        folder = tmp_path / f".scenes.{scenes._VERSION if number % 2 else 0}.{number}"
        (folder / "JPEGImages").mkdir(parents=True)
        (folder / "JPEGImages/train_000000.jpg").write_text("half")
        if number % 3:
            (folder / "lock").touch()
    (tmp_path / ".scenes.old.0").mkdir()
    (tmp_path / ".another.0").mkdir()
    scenes_root(root)
    assert siblings(root) == [".another.0", "scenes"]
    assert len(list((root / "JPEGImages").iterdir())) == sum(few.values())


def test_two_at_once_both_get_a_whole_dataset(
    tmp_path: Path, few: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    both_built, generate = threading.Barrier(2), scenes._generate
    roots: list[Path] = []

    def in_step(building: Path) -> None:
        generate(building)
        both_built.wait(timeout=60)

    monkeypatch.setattr(scenes, "_generate", in_step)
    racers = [
        threading.Thread(target=lambda: roots.append(scenes_root(tmp_path / "scenes")))
        for _ in range(2)
    ]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert roots == [tmp_path / "scenes"] * 2
    assert siblings(roots[0]) == ["scenes"]
    assert len(list((roots[0] / "JPEGImages").iterdir())) == sum(few.values())


def test_another_version_is_replaced(tmp_path: Path, few: dict[str, int]) -> None:
    root = scenes_root(tmp_path / "scenes")
    (root / scenes._MARKER).write_text("0\n")
    (root / "JPEGImages" / "old.jpg").touch()
    scenes_root(root)
    assert not (root / "JPEGImages" / "old.jpg").exists()
    assert siblings(root) == ["scenes"]


def test_an_empty_folder_is_filled(tmp_path: Path, few: dict[str, int]) -> None:
    assert (scenes_root(tmp_path) / "JPEGImages").is_dir()


def test_what_is_not_ours_is_left_alone(tmp_path: Path, few: dict[str, int]) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(DensebenchError, match="does not hold the scenes"):
        scenes_root(tmp_path)
    with pytest.raises(DensebenchError, match="does not hold the scenes"):
        scenes_root(tmp_path / "mine.txt")
    assert (tmp_path / "mine.txt").read_text() == "keep"


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, few: dict[str, int]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DensebenchError, match=r"cannot write the scenes to .*DENSEBENCH_CACHE"):
        scenes_root(tmp_path / "file" / "scenes")
