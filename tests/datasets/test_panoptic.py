"""COCO's panoptic annotations."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from densebench.datasets.classes import coco_panoptic, coco_things, supercategory_classes
from densebench.datasets.panoptic import check_categories, read_panoptic
from densebench.host.errors import DensebenchError

CATEGORIES = [
    {"id": c.id, "name": c.name, "supercategory": c.supercategory, "isthing": int(c.is_thing)}
    for c in coco_panoptic()
]


def write(folder: Path, segments: dict[int, int], categories: Any = CATEGORIES) -> Path:
    """A JSON with one image, ``a.png``: category by segment id."""
    found = [{"id": segment, "category_id": c} for segment, c in segments.items()]
    annotations = [{"file_name": "a.png", "segments_info": found}]
    file = folder / "panoptic.json"
    file.write_text(json.dumps({"categories": categories, "annotations": annotations}))
    return file


def paint(folder: Path, ids: list[list[int]]) -> Path:
    values = np.array(ids)
    colours = np.stack([values % 256, values // 256 % 256, values // 65536], axis=-1)
    Image.fromarray(colours.astype(np.uint8)).save(folder / "a.png")
    return folder / "a.png"


def category(name: str) -> int:
    return next(c.id for c in coco_panoptic() if c.name == name)


def test_colours_are_segments_and_segments_classes(tmp_path: Path) -> None:
    file = write(
        tmp_path, {70_000: category("cat"), 300: category("car"), 5: category("grass-merged")}
    )
    mask = read_panoptic(file).read(paint(tmp_path, [[70_000, 300], [5, 0]]))
    names = supercategory_classes(coco_things()).names
    assert [names[index] for index in mask[0]] == ["animal", "vehicle"]
    assert mask[1].tolist() == [255, 255]


def test_a_segment_that_the_json_does_not_describe(tmp_path: Path) -> None:
    reader = read_panoptic(write(tmp_path, {7: category("cat")}))
    with pytest.raises(DensebenchError, match="no class: 8; allowed are 0 and the segments"):
        reader.read(paint(tmp_path, [[7, 8]]))


def test_rules_are_those_of_the_image(tmp_path: Path) -> None:
    image = paint(tmp_path, [[7]])
    cat, car = (
        read_panoptic(write(tmp_path, {7: category(n)})).rules(image) for n in ("cat", "car")
    )
    assert cat != car


def test_other_categories_are_another_dataset() -> None:
    other = [{**CATEGORIES[0], "name": "people"}]
    with pytest.raises(DensebenchError, match=r"category 1 is .*people.* but in COCO 2017 it is"):
        check_categories(other, Path("x.json"))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"categories": 3}', '{"categories": []}'])
def test_what_is_no_panoptic_json(content: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(DensebenchError, match="not a COCO panoptic JSON"):
        read_panoptic(tmp_path / "x.json")
    with pytest.raises(DensebenchError, match="cannot be read"):
        read_panoptic(tmp_path / "nowhere.json")
