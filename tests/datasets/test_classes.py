import subprocess
import sys

import pytest

from densebench.datasets import classes as tables

# The ids of each super-category in the official stuff_val2017.json.
STUFF_IDS = {
    "building": [95, 96, 128, 151, 158, 166],
    "ceiling": [102, 103],
    "floor": [101, 114, 115, 116, 117, 118],
    "food-stuff": [121, 122, 153, 170],
    "furniture-stuff": [98, 107, 108, 110, 112, 123, 130, 133, 156, 161, 165],
    "ground": [111, 125, 126, 136, 140, 144, 145, 147, 149, 154, 159],
    "plant": [94, 97, 119, 124, 129, 134, 142, 163, 169],
    "raw-material": [100, 132, 139, 143],
    "sky": [106, 157],
    "solid": [127, 135, 150, 160, 162, 182],
    "structural": [99, 113, 138, 146, 164],
    "textile": [92, 93, 104, 105, 109, 131, 137, 141, 152, 167, 168],
    "wall": [171, 172, 173, 174, 175, 176, 177],
    "water": [120, 148, 155, 178, 179],
    "window": [180, 181],
}
THINGS = [
    "accessory", "animal", "appliance", "electronic", "food", "furniture", "indoor", "kitchen",
    "outdoor", "person", "sports", "vehicle",
]  # fmt: skip


def test_stuff_supercategories() -> None:
    expected = {i: name for name, ids in STUFF_IDS.items() for i in ids}
    assert sorted(expected) == list(range(92, 183))
    assert {c.id: c.supercategory for c in tables.coco_stuff()} == expected
    index = tables.supercategory_indices(tables.coco_stuff())
    assert [index[i] for i in (95, 149, 181)] == [0, 5, 14]


def test_coco_classes_are_the_sorted_supercategories() -> None:
    things = tables.supercategory_classes(tables.coco_things()).names
    stuff = tables.supercategory_classes(tables.coco_stuff()).names
    assert things == tuple(THINGS)
    assert stuff == tuple(STUFF_IDS)
    indices = tables.supercategory_indices(tables.coco_things())
    assert (indices[1], indices[18], indices[3]) == (9, 1, 11)
    assert len(indices) == 80


def test_panoptic_has_133_categories() -> None:
    categories = tables.coco_panoptic()
    assert len({category.id for category in categories}) == 133
    assert sum(category.is_thing for category in categories) == 80


def test_ade20k_names() -> None:
    names = tables.ade20k_classes().names
    assert len(set(names)) == 151
    # Idx and first name in the official objectInfo150.txt.
    official = {1: "wall", 13: "person", 45: "chest of drawers", 57: "pool table", 90: "television"}
    official |= {
        106: "conveyer belt",
        128: "bicycle",
        139: "ashcan",
        142: "crt screen",
        150: "flag",
    }
    assert {i: names[i] for i in official} == official


def test_ade20k_colours() -> None:
    classes = tables.ade20k_classes()
    assert (len(classes.palette), classes.ignore_index) == (151, 0)
    # As its owners paint wall, person and flag; 0 is no class.
    found = [classes.palette[i] for i in (0, 1, 13, 150)]
    assert found == [(0, 0, 0), (120, 120, 120), (150, 5, 61), (92, 0, 255)]


def test_voc_colours() -> None:
    classes = tables.voc_classes()
    assert classes.palette[:4] == ((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0))
    assert classes.palette[20] == (0, 64, 128)
    assert tables.voc_colours(256)[255] == (224, 224, 192)
    assert (classes.names[0], classes.names[15]) == ("background", "person")


@pytest.mark.parametrize("n", [1, 12, 151, 256])
def test_colours_differ(n: int) -> None:
    colours = tables.distinct_colours(n)
    assert len(set(colours)) == n
    assert all(0 <= value <= 255 for colour in colours for value in colour)


def test_import_needs_neither_torch_nor_scipy() -> None:
    script = "import sys, densebench.datasets; print({'torch', 'scipy'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert found.stdout.decode().strip() == "set()"
