"""Class names, ids and colours, from the table ``classes.toml`` beside this file."""

import colorsys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from densebench.cards import read_toml
from densebench.datasets.targets import Target, labels

Colour = tuple[int, int, int]
VOID = 255
GOLDEN_RATIO = 0.6180339887498949
COCO_OTHER = 183


@dataclass(frozen=True)
class Classes:
    """The classes of one dataset, by index."""

    names: tuple[str, ...]
    palette: tuple[Colour, ...]
    ignore_index: int = VOID

    @property
    def target(self) -> Target:
        """Maps of their indices."""
        return labels(self.names, self.ignore_index)


@dataclass(frozen=True)
class Category:
    """A COCO category as its annotation files describe it."""

    id: int
    name: str
    supercategory: str
    is_thing: bool


@cache
def _tables() -> dict[str, Any]:
    return read_toml(Path(__file__).with_name("classes.toml"))


def voc_classes() -> Classes:
    """VOC 2012: 20 objects and the background."""
    names = tuple(_tables()["voc"]["classes"])
    return Classes(names, voc_colours(len(names)))


def ade20k_classes() -> Classes:
    """ADE20K's 150 classes after class 0, ``other``, which is ignored."""
    return replace(_coloured("ade20k"), ignore_index=0)


def pascal_context_classes() -> Classes:
    """The 59 classes of PASCAL-Context; what none of them covers is void."""
    names = tuple(_tables()["pascal_context"]["classes"])
    return Classes(names, distinct_colours(len(names)))


def cityscapes_classes() -> Classes:
    """The 19 classes of Cityscapes that are scored, by train id."""
    return _coloured("cityscapes")


def camvid_classes() -> Classes:
    """The 11 classes of CamVid that SegNet's authors scored."""
    return _coloured("camvid")


def _coloured(section: str) -> Classes:
    table = _tables()[section]
    return Classes(tuple(table["classes"]), tuple((r, g, b) for r, g, b in table["colours"]))


def cityscapes_train_ids() -> tuple[dict[int, int], range]:
    """Train id by label id, and all the label ids that a file may hold."""
    table = _tables()["cityscapes"]
    train_ids = {label: index for index, label in enumerate(table["ids"])}
    return train_ids, range(table["last_id"] + 1)


def coco_things() -> tuple[Category, ...]:
    """The 80 things."""
    return tuple(_coco("things", is_thing=True))


def coco_stuff() -> tuple[Category, ...]:
    """The 91 classes of the stuff annotations, ids 92 to 182 (183 is what no class covers)."""
    return tuple(_coco("stuff", is_thing=False))


def coco_panoptic() -> tuple[Category, ...]:
    """The 133 categories of the panoptic annotations, which merge some of the stuff classes."""
    kept = set(_tables()["coco"]["panoptic"]["kept_stuff"])
    stuff = [category for category in coco_stuff() if category.id in kept]
    return (*coco_things(), *stuff, *_coco("merged_stuff", is_thing=False))


def _coco(section: str, is_thing: bool) -> Iterator[Category]:
    for supercategory, members in _tables()["coco"][section].items():
        for number, name in members:
            yield Category(number, name, supercategory, is_thing)


def supercategory_classes(categories: tuple[Category, ...]) -> Classes:
    """The sorted super-categories as classes, as NeCo's and hbird's readers define them."""
    names = tuple(sorted({category.supercategory for category in categories}))
    return Classes(names, distinct_colours(len(names)))


def supercategory_indices(categories: tuple[Category, ...]) -> dict[int, int]:
    """Index of the super-category's class by category id."""
    names = supercategory_classes(categories).names
    return {category.id: names.index(category.supercategory) for category in categories}


def voc_colours(n: int) -> tuple[Colour, ...]:
    """The colour map of the VOC development kit: bits of the index, spread over the channels."""
    return tuple(_voc_colour(index) for index in range(n))


def _voc_colour(index: int) -> Colour:
    red = green = blue = 0
    for bit in range(7, -1, -1):
        red |= (index & 1) << bit
        green |= (index >> 1 & 1) << bit
        blue |= (index >> 2 & 1) << bit
        index >>= 3
    return red, green, blue


def distinct_colours(n: int) -> tuple[Colour, ...]:
    """``n`` colours that differ: hues by the golden ratio, in steps of lightness and strength."""
    return tuple(_distinct_colour(index) for index in range(n))


def _distinct_colour(index: int) -> Colour:
    saturation = (0.85, 0.55, 0.7)[index % 3]
    value = (0.95, 0.75, 0.55)[index // 3 % 3]
    red, green, blue = colorsys.hsv_to_rgb(index * GOLDEN_RATIO % 1, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)
