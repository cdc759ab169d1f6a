from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from densebench import DensebenchError
from densebench.cards import DatasetCard, find_task
from densebench.datasets import Dataset, load_dataset


def load(card_path: Path, **options: object) -> Dataset:
    found = find_task(card_path)
    card, path = found.card, found.file
    return load_dataset(card.dataset, card_path=path, **options)


def test_root_is_relative_to_the_card(folder_card: Callable[..., Path]) -> None:
    dataset = load(folder_card())
    assert dataset.train.names == ("one", "two")
    assert dataset.classes == ("sky", "building")
    assert [dataset.train.image(i).size for i in range(2)] == [(6, 4)] * 2
    assert dataset.val.image(0).mode == "RGB"
    assert len(set(dataset.palette)) == 2


@pytest.mark.parametrize("part", ["", "camvid"])
def test_data_root_goes_first(folder_card: Callable[..., Path], tmp_path: Path, part: str) -> None:
    card = folder_card()
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    (tmp_path / "camvid").rename(moved / "camvid")
    assert load(card, data_root=moved / part).root == moved / "camvid"
    with pytest.raises(DensebenchError, match=rf"first that is missing is {tmp_path}/camvid;"):
        load(card)


def test_absolute_root(folder_card: Callable[..., Path], tmp_path: Path) -> None:
    card = folder_card(root=str(tmp_path / "camvid"))
    assert len(load_dataset(find_task(card).card.dataset).val) == 1


def test_missing_masks_folder_is_named(folder_card: Callable[..., Path]) -> None:
    with pytest.raises(DensebenchError, match=r"first that is missing is \S+/camvid/labels;"):
        load(folder_card(masks="labels"))


def test_ignore_index_of_the_card(
    folder_card: Callable[..., Path], tmp_path: Path, write: SimpleNamespace
) -> None:
    card = folder_card(ignore_index=11)
    write.mask(tmp_path / "camvid/masks/three.png", write.grid(11))
    dataset = load(card)
    assert dataset.ignore_index == 11
    assert set(np.unique(dataset.val.mask(0))) == {0, 11}
    write.mask(tmp_path / "camvid/masks/three.png", write.grid(255))
    with pytest.raises(DensebenchError, match="no class: 255; allowed are 0-1, 11"):
        dataset.val.mask(0)


def test_lists_of_its_own(folder_card: Callable[..., Path], write: SimpleNamespace) -> None:
    card = folder_card()
    write.list(card.parent / "camvid/sets/few.txt", ["two"])
    assert load(card, train_list="few").train.names == ("two",)


@pytest.mark.parametrize(
    ("file", "both"),
    [
        ("images/one.png", "images: one.jpg and one.png have one name"),
        ("images/two.jpg", "images: two.JPEG and two.jpg have one name"),
        ("masks/three.PNG", "masks: three.PNG and three.png have one name"),
    ],
)
def test_one_name_under_two_suffixes(
    folder_card: Callable[..., Path], write: SimpleNamespace, file: str, both: str
) -> None:
    card = folder_card()
    write.photo(card.parent / "camvid" / file, size=(9, 9))
    with pytest.raises(DensebenchError) as caught:
        load(card)
    assert both in str(caught.value)


def test_images_and_masks_in_one_folder(
    folder_card: Callable[..., Path], write: SimpleNamespace, tmp_path: Path
) -> None:
    card = folder_card(images="both", masks="both", val="sets/train.txt")
    for name in ("one", "two"):
        write.photo(tmp_path / f"camvid/both/{name}.jpg")
        write.mask(tmp_path / f"camvid/both/{name}.png", write.grid(1))
    train = load(card).train
    assert train.image_files[0].endswith("one.jpg") and train.mask_files[0].endswith("one.png")


def test_hidden_files_are_no_images(
    folder_card: Callable[..., Path], write: SimpleNamespace
) -> None:
    card = folder_card()
    (card.parent / "camvid/images/._one.jpg").write_bytes(b"\0")
    write.list(card.parent / "camvid/sets/train.txt", ["._one"])
    with pytest.raises(DensebenchError, match="1 of 1 listed images"):
        load(card)


def test_camvid(real_data: Path) -> None:
    card = DatasetCard(
        kind="folder",
        root="camvid",
        images="images",
        masks="SegmentationClassAug",
        train="sets/train.txt",
        val="sets/val.txt",
        classes=tuple(f"class {i}" for i in range(11)),
    )
    dataset = load_dataset(card, card_path=real_data / "camvid_incontext.toml")
    assert (len(dataset.train), len(dataset.val)) == (367, 101)
    seen = np.unique(np.stack([dataset.val.mask(i) for i in range(20)]))
    assert seen.tolist() == [*range(11), 255]


def test_ids_of_masks_become_classes(
    folder_card: Callable[..., Path], tmp_path: Path, write: SimpleNamespace
) -> None:
    card = folder_card(ids={"7": "sky", "8": "building", "9": "building", "300": "void"})
    ids = np.tile(np.array([[7, 8, 9], [9, 8, 300]], np.uint16), (2, 2))
    Image.fromarray(ids).save(tmp_path / "camvid/masks/three.png")
    Image.fromarray(np.full((4, 6), 9, np.uint8)).save(tmp_path / "camvid/masks/one.png")
    dataset = load(card)
    assert dataset.val.mask(0)[:2, :3].tolist() == [[0, 1, 1], [1, 1, 255]]
    assert (dataset.train.mask(0) == 1).all()
    for wrong in (1, 301):
        Image.fromarray(np.full((4, 6), wrong, np.uint16)).save(tmp_path / "camvid/masks/three.png")
        with pytest.raises(DensebenchError, match=f"no class: {wrong}; allowed are 7-9, 300"):
            dataset.val.mask(0)


def test_sixteen_bits_within_the_range_need_no_map(
    folder_card: Callable[..., Path], tmp_path: Path
) -> None:
    dataset = load(folder_card())
    ids = np.tile(np.array([[0, 1, 255]], np.uint16), (4, 2))
    Image.fromarray(ids).save(tmp_path / "camvid/masks/three.png")
    assert dataset.val.mask(0).tolist() == ids.tolist()


def test_a_palette_of_one_s_own(folder_card: Callable[..., Path]) -> None:
    colours = [[1, 2, 3], [4, 5, 6]]
    card = folder_card(palette=colours)
    assert load(card).palette == ((1, 2, 3), (4, 5, 6))
    assert load(card).val.fingerprint() == load(folder_card()).val.fingerprint()
    with pytest.raises(DensebenchError, match="palette has 1 colours, but there are 2 classes"):
        load(folder_card(palette=colours[:1]))


def test_lists_may_be_left_out_where_a_share_is_drawn(folder_card: Callable[..., Path]) -> None:
    card = folder_card(train=None, val=None, split={"val": 0.3, "seed": 1})
    dataset, again = load(card), load(card)
    assert (len(dataset.train), len(dataset.val)) == (2, 1)
    assert not set(dataset.train.names) & set(dataset.val.names)
    assert (again.train.names, again.val.names) == (dataset.train.names, dataset.val.names)
    drawn = {
        load(folder_card(train=None, val=None, split={"val": 0.3, "seed": s})).val.names
        for s in range(8)
    }
    assert len(drawn) > 1
    whole = load(folder_card(train=None, val=None, split={"val": 0.99}))
    assert (len(whole.train), len(whole.val)) == (1, 2)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"train": None, "val": None}, "also needs train, val; or split = "),
        ({"ids": {"7": "sea"}}, "ids give 'sea', which is none of the classes nor 'void'"),
        ({"ids": {"70000": "sky"}}, "less than or equal to 65535"),
        (
            {"classes": [f"c{n}" for n in range(1000)], "ids": {"7": "c299"}},
            "ids give 'c299', class 299 from 0 on, and masks are kept in bytes",
        ),
        ({"split": {"val": 1.5}}, "less than 1"),
        ({"palette": [[1, 2, 300], [4, 5, 6]]}, "less than or equal to 255"),
    ],
)
def test_cards_that_mean_nothing(
    folder_card: Callable[..., Path], changed: dict[str, object], told: str
) -> None:
    with pytest.raises(DensebenchError, match=told):
        load(folder_card(**changed))
