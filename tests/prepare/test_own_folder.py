"""A task card for a folder of one's own: what is found in it, and that the card can be used."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from densebench.cards import find_task
from densebench.datasets import load_dataset
from densebench.host.errors import DensebenchError
from densebench.prepare.own_folder import Wanted, find_pairs, write_card

IDS = np.array([[7, 9], [9, 255]], np.uint8)


@pytest.fixture
def own(tmp_path: Path) -> Callable[..., Path]:
    """Ten photographs with masks in folders of their own."""

    def make(ids: np.ndarray = IDS, palette: bool = False, n: int = 10, **names: str) -> Path:
        folder = tmp_path / "photos"
        images, masks = (folder / names.get(what, what) for what in ("images", "masks"))
        images.mkdir(parents=True, exist_ok=True)
        masks.mkdir(parents=True, exist_ok=True)
        for number in range(n):
            colours = np.full((*ids.shape, 3), 20 * number, np.uint8)
            Image.fromarray(colours).save(images / f"p{number}.{names.get('ending', 'jpg')}")
            mask = Image.fromarray(ids)
            if palette:
                mask = mask.convert("P")
                mask.putpalette(
                    [shade for index in range(256) for shade in (index, 0, 255 - index)]
                )
            mask.save(masks / f"p{number}.png")
        return folder

    return make


def load(card: Path) -> Any:
    found = find_task(card)
    return load_dataset(found.card.dataset, card_path=found.file)


def test_pairs_ids_and_a_seeded_split(own: Callable[..., Path]) -> None:
    folder = own()
    card, told = write_card(folder, find_pairs(folder), Wanted("mine", val=0.3, seed=2))
    assert card == folder / "mine.toml"
    assert told[0].startswith("10 images in")
    assert told[1:] == [
        "  id 7: 25.00% of the pixels",
        "  id 9: 50.00% of the pixels",
        "  id 255: 25.00% of the pixels, taken for void",
    ]
    dataset = load(card)
    assert dataset.classes == ("class_7", "class_9")
    assert (len(dataset.train), len(dataset.val)) == (7, 3)
    assert dataset.val.mask(0).tolist() == [[0, 1], [1, 255]]


def test_ids_that_are_indices_need_no_map_and_the_palette_is_kept(own: Callable[..., Path]) -> None:
    folder = own(np.array([[0, 1], [1, 255]], np.uint8), palette=True)
    card, told = write_card(folder, find_pairs(folder), Wanted("mine"))
    assert told[-1] == "the masks' palette is kept"
    assert "ids" not in card.read_text()
    assert load(card).palette == ((0, 0, 255), (1, 0, 254))


def test_masks_of_sixteen_bits(own: Callable[..., Path]) -> None:
    folder = own(np.array([[300, 1000]], np.uint16))
    card, _ = write_card(folder, find_pairs(folder), Wanted("mine"))
    assert load(card).classes == ("class_300", "class_1000")
    assert load(card).train.mask(0).tolist() == [[0, 1]]


def test_lists_of_its_own_are_kept(own: Callable[..., Path]) -> None:
    folder = own()
    (folder / "sets").mkdir()
    (folder / "sets/train.txt").write_text("p0\np1\n")
    (folder / "sets/val.txt").write_text("p2\n")
    card, _ = write_card(folder, find_pairs(folder), Wanted("mine"))
    dataset = load(card)
    assert (dataset.train.names, dataset.val.names) == (("p0", "p1"), ("p2",))


@pytest.mark.parametrize(
    "names",
    [
        {"images": "rgb", "masks": "ids", "ending": "png"},
        {"images": "a/b/rgb", "masks": "a/b/ids"},
        {"images": "both", "masks": "both"},
    ],
)
def test_wherever_they_lie(own: Callable[..., Path], names: dict[str, str]) -> None:
    folder = own(**names)
    pairs = find_pairs(folder)
    assert (pairs.images, pairs.masks) == (folder / names["images"], folder / names["masks"])
    assert len(load(write_card(folder, pairs, Wanted("mine"))[0]).train) == 8


def test_what_is_named_is_taken(own: Callable[..., Path]) -> None:
    folder = own()
    own(n=12, images="other", masks="others")
    assert find_pairs(folder).images.name == "other"
    assert find_pairs(folder, "images", "masks").images.name == "images"
    with pytest.raises(DensebenchError, match="must lie below"):
        find_pairs(folder, "../elsewhere")


def test_nothing_to_be_found(own: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(DensebenchError, match="no such folder"):
        find_pairs(tmp_path / "nowhere")
    folder = own()
    for mask in (folder / "masks").iterdir():
        mask.write_bytes(b"no png")
    with pytest.raises(DensebenchError, match="found no images with masks"):
        find_pairs(folder)


def test_a_damaged_mask_is_named_and_its_folder_not_passed_over(own: Callable[..., Path]) -> None:
    folder = own()
    own(masks="other", n=3)
    (folder / "masks/p0.png").write_bytes(b"no png")
    pairs = find_pairs(folder)
    assert pairs.masks.name == "masks"
    with pytest.raises(DensebenchError, match=r"masks/p0\.png: not a readable mask"):
        write_card(folder, pairs, Wanted("mine"))


def test_a_card_is_not_overwritten_unasked(own: Callable[..., Path]) -> None:
    folder = own()
    pairs = find_pairs(folder)
    write_card(folder, pairs, Wanted("mine"))
    with pytest.raises(DensebenchError, match="there already"):
        write_card(folder, pairs, Wanted("mine"))
    write_card(folder, pairs, Wanted("mine", seed=1, overwrite=True))
    assert find_task(folder / "mine.toml").card.dataset.split.seed == 1


def test_photographs_are_no_masks(own: Callable[..., Path]) -> None:
    folder = own(np.arange(1000, dtype=np.uint16).reshape(20, 50))
    with pytest.raises(DensebenchError, match="its masks hold 999 ids beside 255"):
        write_card(folder, find_pairs(folder), Wanted("mine"))
    assert not (folder / "mine.toml").exists()


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"name": "a b"}, "is no name of a task"),
        ({"name": "a\n"}, "is no name of a task"),
        ({"name": "a", "val": 1.0}, "a share between 0 and 1"),
        ({"name": "a", "seed": -1}, "a whole number from 0 on"),
    ],
)
def test_wishes_that_cannot_be(wanted: dict[str, Any], told: str) -> None:
    with pytest.raises(DensebenchError, match=told):
        Wanted(**wanted)
