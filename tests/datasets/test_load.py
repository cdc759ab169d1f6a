"""Each thing that can be wrong with files, lists and places, told in one line."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from densebench import DensebenchError
from densebench.cards import DatasetCard
from densebench.datasets import load_dataset
from densebench.datasets.lists import read_names
from densebench.datasets.masks import ranges

VOC = DatasetCard(kind="voc")


@pytest.fixture
def voc(voc_home: Path) -> Path:
    return voc_home / "VOCdevkit" / "VOC2012"


def failure(root: Path, **options: object) -> str:
    with pytest.raises(DensebenchError) as caught:
        load_dataset(VOC, data_root=root, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def mask_failure(voc: Path) -> str:
    with pytest.raises(DensebenchError) as caught:
        load_dataset(VOC, data_root=voc).val.mask(0)
    message = str(caught.value)
    assert "\n" not in message
    assert "2007_000033" in message
    return message


def test_no_dataset(tmp_path: Path) -> None:
    message = failure(tmp_path / "absent")
    assert f"the first that is missing is {tmp_path / 'absent'};" in message
    assert "JPEGImages + ImageSets/Segmentation or images + sets" in message
    assert "--data-root DIR or DENSEBENCH_DATA" in message
    assert f"is missing is {tmp_path / 'VOCdevkit/VOC2012'};" in failure(tmp_path)


def test_part_of_a_dataset(tmp_path: Path) -> None:
    (tmp_path / "VOC2012" / "JPEGImages").mkdir(parents=True)
    missing = tmp_path / "VOC2012/ImageSets/Segmentation"
    assert f"the first that is missing is {missing};" in failure(tmp_path)


def test_home_of_datasets(voc_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DENSEBENCH_DATA", str(voc_home))
    assert len(load_dataset(VOC).train) == 2
    with pytest.raises(DensebenchError, match="no voc dataset in other"):
        load_dataset(DatasetCard(kind="voc", root="other"))


def test_list_missing_empty_or_twice(voc: Path, tmp_path: Path) -> None:
    assert "names.txt: no such list" in failure(voc, val_list=tmp_path / "names.txt")
    (tmp_path / "names.txt").write_text(" \n\n")
    assert "names.txt: the list is empty" in failure(voc, val_list=tmp_path / "names.txt")
    (tmp_path / "names.txt").write_text("a\nb.jpg\nimages/b.png\nb\n")
    message = failure(voc, val_list=tmp_path / "names.txt")
    assert "1 names are there more than once, the first is 'b'" in message
    (tmp_path / "names.txt").write_bytes(b"\xff\xfe\x00")
    assert "not a readable list" in failure(voc, val_list=tmp_path / "names.txt")
    (tmp_path / "folder.txt").mkdir()
    assert "folder.txt: not a readable list" in failure(voc, val_list=tmp_path / "folder.txt")


def test_bare_word_that_is_no_list(voc: Path, ade_root: Path) -> None:
    message = failure(voc, train_list=Path("trainag"))
    assert "(did you mean 'trainaug'?); there are train, trainaug, val" in message
    with pytest.raises(DensebenchError, match="keeps no lists of its own"):
        load_dataset(DatasetCard(kind="ade20k"), data_root=ade_root, train_list=Path("few"))


def test_lists_in_the_card(voc: Path) -> None:
    card = DatasetCard(kind="voc", train="train", val="ImageSets/Segmentation/trainaug.txt")
    with pytest.raises(DensebenchError, match="1 of 2 images of the val split are without a mask"):
        load_dataset(card, data_root=voc)
    dataset = load_dataset(card, data_root=voc, val_list=Path("val"))
    assert (dataset.train.names, dataset.val.names) == (("2007_000032",), ("2007_000033",))


def test_names_are_read_with_tolerance(tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_bytes(
        b"\xef\xbb\xbf2007_000032.jpg  \r\n\r\nimages/2007_000039.png\n"
        b"SegmentationClassAug\\2007_000063.png\n/abs/2008_a.b.JPEG\n"
    )
    assert read_names(listed) == ("2007_000032", "2007_000039", "2007_000063", "2008_a.b")


def test_listed_image_missing(voc: Path, write: SimpleNamespace) -> None:
    write.list(voc / "ImageSets/Segmentation/val.txt", ["2007_000033", "x", "w"])
    message = failure(voc)
    assert message.startswith(f"{voc / 'JPEGImages'}: 2 of 3 listed images of the val split")
    assert message.endswith("the first is 'w'")


def test_image_without_a_mask(voc: Path) -> None:
    (voc / "SegmentationClass/2007_000033.png").unlink()
    message = failure(voc)
    assert (
        "1 of 1 images of the val split are without a mask, the first is '2007_000033'" in message
    )


def test_folder_without_images(ade_root: Path) -> None:
    for path in (ade_root / "images/validation").iterdir():
        path.unlink()
    with pytest.raises(DensebenchError, match="no images, so that the val split is empty"):
        load_dataset(DatasetCard(kind="ade20k"), data_root=ade_root)


@pytest.mark.parametrize("damage", ["cut", "other", "empty"])
def test_broken_image_and_mask(voc: Path, damage: str) -> None:
    def spoil(path: Path) -> None:
        content = path.read_bytes()
        path.write_bytes(
            {"cut": content[: len(content) // 2], "other": b"not an image", "empty": b""}[damage]
        )

    split = load_dataset(VOC, data_root=voc).val
    spoil(voc / "SegmentationClass/2007_000033.png")
    assert "not a readable mask" in mask_failure(voc)
    spoil(voc / "JPEGImages/2007_000033.jpg")
    with pytest.raises(DensebenchError, match=r"2007_000033\.jpg: not a readable image"):
        split.image(0)


def test_files_that_went_away(voc: Path) -> None:
    split = load_dataset(VOC, data_root=voc).val
    (voc / "JPEGImages/2007_000033.jpg").unlink()
    for read in (split.image, split.mask):
        with pytest.raises(DensebenchError, match=r"jpg: not a readable image \(No such file"):
            read(0)


def test_ids_that_are_no_class(voc: Path, write: SimpleNamespace) -> None:
    ids = write.grid(21)
    ids[2] = 254
    write.mask(voc / "SegmentationClass/2007_000033.png", ids)
    message = mask_failure(voc)
    assert "ids that are no class: 21, 254; allowed are 0-20, 255" in message
    write.mask(voc / "SegmentationClass/2007_000033.png", np.arange(30, 54).reshape(4, 6))
    assert "30, 31, 32, 33, 34, 35, 36, 37 and more; allowed" in mask_failure(voc)


def test_sizes_differ(voc: Path, write: SimpleNamespace) -> None:
    write.mask(voc / "SegmentationClass/2007_000033.png", write.grid(1, size=(4, 6)))
    message = mask_failure(voc)
    assert "the mask is 4x6 pixels and its image" in message
    assert "is 6x4" in message


@pytest.mark.parametrize(
    ("pixels", "mode"),
    [
        (np.zeros((4, 6, 3), np.uint8), "RGB"),
        (np.zeros((4, 6), np.uint16), "I;16"),
        (np.zeros((4, 6), bool), "1"),
        (np.zeros((4, 6, 2), np.uint8), "LA"),
    ],
)
def test_mask_of_another_depth(voc: Path, pixels: np.ndarray, mode: str) -> None:
    Image.fromarray(pixels).save(voc / "SegmentationClass/2007_000033.png")
    assert f"must be 8-bit with one channel (greyscale or palette PNG), not mode {mode}" in (
        mask_failure(voc)
    )


def test_keys_without_a_meaning(voc: Path) -> None:
    for key, value in (("images", "x"), ("classes", ("a", "b")), ("ignore_index", 0)):
        card = DatasetCard.model_validate({"kind": "voc", key: value})
        with pytest.raises(DensebenchError, match=f"key 'dataset.{key}' has no meaning for kind"):
            load_dataset(card, data_root=voc)
    assert load_dataset(DatasetCard(kind="voc", ignore_index=255), data_root=voc).kind == "voc"


def test_subset(voc: Path) -> None:
    train = load_dataset(VOC, data_root=voc).train
    part = train.subset(["2008_000002"])
    assert (len(part), part.names, part.name) == (1, ("2008_000002",), "train")
    np.testing.assert_array_equal(part.mask(0), train.mask(1))
    assert part.image(0).tobytes() == train.image(1).tobytes()
    assert train.subset(reversed(train.names)) == train
    with pytest.raises(DensebenchError, match="train split has no image named 'zebra'"):
        train.subset(["zebra"])
    with pytest.raises(DensebenchError, match="at least one name"):
        train.subset([])


def test_ranges() -> None:
    assert ranges([255, 3, 1, 2, 0, 7]) == "0-3, 7, 255"
