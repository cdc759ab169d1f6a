"""The endless stream of crops: exact counts, orders, draws, and what cannot be read."""

import numpy as np
import pytest
import torch
from PIL import Image

from densebench.backbones import load_backbone
from densebench.datasets.base import Split
from densebench.datasets.masks import LookupReader
from densebench.datasets.targets import labels
from densebench.datasets.transforms import FlippedCrop
from densebench.features.source import PatchSource
from densebench.host.errors import DensebenchError
from densebench.learners.crops import CropStream, reordered

VIEW = FlippedCrop(14, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.fixture
def train(tmp_path):
    """Five pictures, each of one shade."""
    files = [tmp_path / f"{number}.png" for number in range(5)]
    for number, file in enumerate(files):
        shades = np.full((28, 28, 3), 40 * number, dtype=np.uint8)
        Image.fromarray(shades).save(file)
        Image.fromarray(np.full((28, 28), number, dtype=np.uint8)).save(file.with_suffix(".m.png"))
    names = tuple(file.stem for file in files)
    masks = tuple(str(file.with_suffix(".m.png")) for file in files)
    reader = LookupReader(tuple(range(256)))
    target = labels(tuple("abcde"), 255)
    split = Split("train", names, tuple(map(str, files)), masks, reader, target)
    return PatchSource(split, load_backbone("rgb_s14"), batch_size=2, skip_bad=True)


def shown(batches) -> list[int]:
    """Which picture each crop is of."""
    return [int(mask[0, 0]) for batch in batches for mask in batch.masks]


@pytest.mark.parametrize("repeats", [True, False])
def test_every_pass_shows_all_in_an_order_of_its_own(train, repeats):
    stream = CropStream(train, VIEW, 0, repeats)
    batches = list(stream.batches(5, 3))
    assert [len(batch.masks) for batch in batches] == [3] * 5
    taken = shown(batches)
    passes = [taken[:5], taken[5:10], taken[10:]]
    assert all(sorted(part) == [0, 1, 2, 3, 4] for part in passes)
    assert passes[0] != passes[1]
    assert stream.position == 15


@pytest.mark.parametrize("repeats", [True, False])
def test_what_is_taken_up_goes_on_where_it_was_left(train, repeats):
    whole = CropStream(train, VIEW, 0, repeats)
    first, rest = list(whole.batches(2, 3)), list(whole.batches(3, 3))
    again = CropStream(train, VIEW, 0, repeats)
    again.position = sum(len(batch.masks) for batch in first)
    for ours, theirs in zip(again.batches(3, 3), rest, strict=True):
        assert torch.equal(ours.masks, theirs.masks)
        assert torch.equal(ours.patches, theirs.patches)


def draws_of(train, repeats):
    """The seed with which each crop is made, pass by pass."""
    seeds = []

    class Told(FlippedCrop):
        def _view(self, image, mask, seed):
            seeds.append(seed)
            return super()._view(image, mask, seed)

    view = Told(14, VIEW.mean, VIEW.std)
    list(CropStream(train, view, 0, repeats).batches(5, 3))
    return seeds[:5], seeds[5:10], seeds[10:15]


def test_draws_are_those_of_the_place_or_new_ones(train):
    first, second, third = draws_of(train, repeats=True)
    assert first == second == third
    first, second, third = draws_of(train, repeats=False)
    assert len({*first, *second, *third}) == 15


def test_what_cannot_be_read_is_passed_over(train, tmp_path):
    (tmp_path / "3.png").write_bytes(b"no image")
    stream = CropStream(train, VIEW, 0)
    batches = list(stream.batches(4, 2))
    assert [len(batch.masks) for batch in batches] == [2] * 4
    assert set(shown(batches)) == {0, 1, 2, 4}
    assert stream.position in (9, 10)  # the last place may be of the one that cannot be read
    assert list(train.unreadable) == ["3"]


def test_of_no_readable_image_there_is_no_stream(train, tmp_path):
    for number in range(5):
        (tmp_path / f"{number}.png").write_bytes(b"no image")
    with pytest.raises(DensebenchError, match="none of the 5 training images can be read"):
        list(CropStream(train, VIEW, 0).batches(1, 2))


def test_a_split_in_another_order_has_the_same_images(train):
    moved = reordered(train.split, [4, 0, 3, 1, 2])
    assert moved.names == ("4", "0", "3", "1", "2")
    assert [int(moved.mask(i)[0, 0]) for i in range(5)] == [4, 0, 3, 1, 2]
