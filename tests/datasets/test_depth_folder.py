"""A folder of images and depth that a card describes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from densebench.cards import find_task
from densebench.datasets.load import load_dataset
from densebench.host.errors import DensebenchError

CARD = """
name = "mine"
protocol = "depth_linear"

[dataset]
kind = "depth_folder"
root = "data"
images = "images"
masks = "depth"
train = "train.txt"
val = "val.txt"
scale = 0.0002
"""


@pytest.fixture
def card(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for folder in ("images", "depth"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    for name in ("a", "b"):
        pixels = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"data/images/{name}.jpg")
        steps = rng.integers(0, 2**16, (12, 16)).astype(np.uint16)
        Image.fromarray(steps).save(tmp_path / f"data/depth/{name}.png")
    (tmp_path / "data/train.txt").write_text("a\n")
    (tmp_path / "data/val.txt").write_text("b\n")
    file = tmp_path / "mine.toml"
    file.write_text(CARD)
    return file


def test_it_is_read_at_the_card_s_scale(card: Path) -> None:
    found = find_task(card)
    dataset = load_dataset(found.card.dataset, card_path=found.file)
    steps = np.asarray(Image.open(card.parent / "data/depth/b.png"))
    np.testing.assert_allclose(dataset.val.mask(0), steps * 0.0002, rtol=1e-6)
    assert dataset.target.unit == "m"


BAD = [
    ("scale = 0.0002", "scale = 0", "dataset.scale"),
    ("scale = 0.0002", "scale = inf", "dataset.scale"),
    ("scale = 0.0002", 'classes = ["a"]', "'dataset.classes' has no meaning"),
    ('masks = "depth"', "", "also needs masks"),
    ("scale =", "scales =", "did you mean 'scale'"),
]


@pytest.mark.parametrize(("old", "new", "told"), BAD)
def test_a_card_that_is_wrong_is_told(card: Path, old: str, new: str, told: str) -> None:
    card.write_text(CARD.replace(old, new))
    with pytest.raises(DensebenchError, match=told) as caught:
        load_dataset(find_task(card).card.dataset, card_path=card)
    assert "\n" not in str(caught.value)


def test_a_depth_of_another_size_than_its_image_is_told(card: Path) -> None:
    Image.fromarray(np.ones((6, 8), np.uint16)).save(card.parent / "data/depth/b.png")
    dataset = load_dataset(find_task(card).card.dataset, card_path=card)
    with pytest.raises(DensebenchError, match="they must be of one size"):
        dataset.val.mask(0)
