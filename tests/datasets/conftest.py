"""Tiny datasets, written file by file in the layouts in which their owners ship them."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import io

VOC_PALETTE = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]


def save_photo(path: Path, size: tuple[int, int] = (6, 4), seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def save_mask(path: Path, ids: Any, palette: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(ids, dtype=np.uint8))
    if palette:
        image.putpalette(VOC_PALETTE + [0] * (768 - len(VOC_PALETTE)))
    image.save(path)


def save_sbd(path: Path, ids: Any) -> None:
    """A .mat file with the struct that SBD's have."""
    path.parent.mkdir(parents=True, exist_ok=True)
    struct = {
        "Boundaries": np.zeros((20, 1), dtype=object),
        "Segmentation": np.asarray(ids, dtype=np.uint8),
        "CategoriesPresent": np.array([[1]], dtype=np.uint8),
    }
    io.savemat(path, {"GTcls": struct}, do_compression=True)


def save_panoptic(path: Path, segments: Any) -> None:
    """Segment ids as colours: id = R + 256 G + 65536 B."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ids = np.asarray(segments)
    Image.fromarray(np.stack([ids % 256, ids // 256 % 256, ids // 65536], -1).astype("u1")).save(
        path
    )


def save_list(path: Path, names: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name}\n" for name in names))


def grid(value: int, size: tuple[int, int] = (6, 4)) -> np.ndarray:
    """A mask of one id with its first pixel 0."""
    ids = np.full((size[1], size[0]), value, dtype=np.int64)
    ids[0, 0] = 0
    return ids


@pytest.fixture
def write() -> SimpleNamespace:
    """The functions that write one file each."""
    return SimpleNamespace(
        photo=save_photo,
        mask=save_mask,
        sbd=save_sbd,
        panoptic=save_panoptic,
        list=save_list,
        grid=grid,
    )


@pytest.fixture(autouse=True)
def own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the user's: neither the cache nor the folder of datasets."""
    monkeypatch.setenv("DENSEBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DENSEBENCH_DATA", str(tmp_path / "nothing-here"))


@pytest.fixture
def voc_home(tmp_path: Path) -> Path:
    """A folder that holds VOCdevkit/VOC2012; aug_1 is labelled by SegmentationClassAug alone."""
    home = tmp_path / "data"
    root = home / "VOCdevkit" / "VOC2012"
    for seed, name in enumerate(["2007_000032", "2008_000002", "2007_000033"]):
        save_photo(root / "JPEGImages" / f"{name}.jpg", seed=seed)
    ids = grid(1)
    ids[0, 1] = 255
    save_mask(root / "SegmentationClass" / "2007_000032.png", ids, palette=True)
    save_mask(root / "SegmentationClass" / "2007_000033.png", grid(20), palette=True)
    save_mask(root / "SegmentationClassAug" / "2007_000032.png", grid(2))
    save_mask(root / "SegmentationClassAug" / "2008_000002.png", grid(3))
    lists = root / "ImageSets" / "Segmentation"
    save_list(lists / "train.txt", ["2007_000032"])
    save_list(lists / "trainaug.txt", ["2008_000002", "2007_000032"])
    save_list(lists / "val.txt", ["2007_000033"])
    return home


@pytest.fixture
def hbird_root(tmp_path: Path) -> Path:
    """VOC as hbird packs it."""
    root = tmp_path / "voc_data"
    for name in ("a", "b"):
        save_photo(root / "images" / f"{name}.jpg")
    save_mask(root / "SegmentationClassAug" / "a.png", grid(4))
    save_mask(root / "SegmentationClass" / "b.png", grid(5), palette=True)
    save_list(root / "sets" / "trainaug.txt", ["a"])
    save_list(root / "sets" / "val.txt", ["b"])
    return root


@pytest.fixture
def ade_root(tmp_path: Path) -> Path:
    root = tmp_path / "ADEChallengeData2016"
    for split, folder in (("train", "training"), ("val", "validation")):
        for number in (1, 2):
            name = f"ADE_{split}_{number:08d}"
            save_photo(root / "images" / folder / f"{name}.jpg")
            save_mask(root / "annotations" / folder / f"{name}.png", grid(149 + number - 1))
    return root


@pytest.fixture
def coco_root(tmp_path: Path) -> Path:
    """Two images a split with panoptic and stuff annotations: a dog (18) on a road (149)."""
    root = tmp_path / "coco"
    for split in ("train", "val"):
        annotations = []
        for number, segment in ((9, 8345037), (25, 300)):
            name = f"{number:012d}"
            save_photo(root / "images" / f"{split}2017" / f"{name}.jpg")
            ids = grid(segment)
            ids[1] = segment + 1
            save_panoptic(root / "annotations" / f"panoptic_{split}2017" / f"{name}.png", ids)
            segments = [{"id": segment + 1, "category_id": 149}, {"id": segment, "category_id": 18}]
            annotations.append({"file_name": f"{name}.png", "segments_info": segments})
            stuff = grid(0)
            stuff[1], stuff[2] = 149, 183
            maps = root / "annotations" / "stuff_annotations" / f"stuff_{split}2017_pixelmaps"
            save_mask(maps / f"{name}.png", stuff, palette=True)
        write_panoptic_json(root, split, annotations)
    return root


COCO_CATEGORIES = [
    {"id": 18, "name": "dog", "supercategory": "animal", "isthing": 1},
    {"id": 149, "name": "road", "supercategory": "ground", "isthing": 0},
]


def write_panoptic_json(root: Path, split: str, annotations: list[dict[str, Any]]) -> None:
    content = {"annotations": annotations, "categories": COCO_CATEGORIES}
    (root / "annotations" / f"panoptic_{split}2017.json").write_text(json.dumps(content))


@pytest.fixture
def cityscapes_root(tmp_path: Path) -> Path:
    root = tmp_path / "cityscapes"
    for split, city in (("train", "aachen"), ("train", "bremen"), ("val", "frankfurt")):
        name = f"{city}_000000_000019"
        save_photo(root / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png")
        ids = grid(7)
        ids[1], ids[2, 0] = 33, 9
        save_mask(root / "gtFine" / split / city / f"{name}_gtFine_labelIds.png", ids)
        save_photo(root / "gtFine" / split / city / f"{name}_gtFine_color.png")
        save_mask(root / "gtFine" / split / city / f"{name}_gtFine_instanceIds.png", grid(1))
    return root


def toml(value: Any) -> str:
    if not isinstance(value, dict):
        return json.dumps(value)
    return f"{{ {', '.join(f'{key} = {toml(inner)}' for key, inner in value.items())} }}"


@pytest.fixture
def folder_card(tmp_path: Path) -> Callable[..., Path]:
    """Writes a dataset of any folder with its card, whose further keys may be given."""

    def make(**keys: Any) -> Path:
        root = tmp_path / "camvid"
        for name, ending in (("one", "jpg"), ("two", "JPEG"), ("three", "png")):
            save_photo(root / "images" / f"{name}.{ending}")
            save_mask(root / "masks" / f"{name}.png", grid(1))
        save_list(root / "sets" / "train.txt", ["one", "two"])
        save_list(root / "sets" / "val.txt", ["three"])
        table = {
            "kind": "folder",
            "root": "camvid",
            "images": "images",
            "masks": "masks",
            "train": "sets/train.txt",
            "val": "sets/val.txt",
            "classes": ["sky", "building"],
            **keys,
        }
        lines = [f"{key} = {toml(value)}" for key, value in table.items() if value is not None]
        card = tmp_path / "tiny.toml"
        card.write_text(
            "\n".join(['name = "tiny"', 'protocol = "in_context"', "[dataset]", *lines, ""])
        )
        return card

    return make
