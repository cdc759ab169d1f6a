import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from densebench import DensebenchError
from densebench.cards import DatasetCard
from densebench.datasets import load_dataset
from densebench.datasets.classes import coco_panoptic
from densebench.datasets.panoptic import read_panoptic

THINGS = DatasetCard(kind="coco_things")
STUFF = DatasetCard(kind="coco_stuff")
ANIMAL, GROUND = 1, 5


def test_things_from_panoptic_segments(coco_root: Path) -> None:
    dataset = load_dataset(THINGS, data_root=coco_root.parent)
    assert dataset.train.names == ("000000000009", "000000000025")
    assert dataset.classes[ANIMAL] == "animal"
    expected = np.full((4, 6), ANIMAL)
    expected[0, 0] = expected[1] = 255
    for i in range(2):
        np.testing.assert_array_equal(dataset.val.mask(i), expected)


def test_panoptic_annotations_in_a_folder_of_their_own(coco_root: Path) -> None:
    annotations = coco_root / "annotations"
    (annotations / "panoptic_annotations").mkdir()
    for path in annotations.glob("panoptic_*2017*"):
        path.rename(annotations / "panoptic_annotations" / path.name)
    assert load_dataset(THINGS, data_root=coco_root).val.mask(0)[3, 3] == ANIMAL


@pytest.mark.parametrize("folder", ["{}2017", "panoptic_annotations/semantic_segmenations_{}2017"])
def test_things_from_maps_of_category_ids(coco_root: Path, folder: str, write) -> None:
    panoptic = load_dataset(THINGS, data_root=coco_root)
    expected = panoptic.val.mask(0)
    for split in ("train", "val"):
        shutil.rmtree(coco_root / f"annotations/panoptic_{split}2017")
        (coco_root / f"annotations/panoptic_{split}2017.json").unlink()
        for name in panoptic.train.names:
            ids = write.grid(18)
            ids[1] = [149, 200, 184, 255, 92, 0]
            write.mask(coco_root / "annotations" / folder.format(split) / f"{name}.png", ids)
    maps = load_dataset(THINGS, data_root=coco_root)
    np.testing.assert_array_equal(maps.val.mask(0), expected)
    # COCO-Stuff's stuffthingmaps keep the category id less one: 96 is its bush, and no panoptic id.
    write.mask(coco_root / "annotations" / folder.format("val") / f"{name}.png", write.grid(96))
    with pytest.raises(DensebenchError, match=r"no class: 96; allowed are 0-11, 13-25"):
        maps.val.mask(1)


def test_official_panoptic_goes_before_maps(coco_root: Path, write) -> None:
    for name in ("000000000009", "000000000025"):
        write.mask(coco_root / "annotations/val2017" / f"{name}.png", write.grid(1))
    assert load_dataset(THINGS, data_root=coco_root).val.mask(0)[3, 3] == ANIMAL


def test_stuff_from_pixel_maps(coco_root: Path) -> None:
    dataset = load_dataset(STUFF, data_root=coco_root)
    assert (len(dataset.classes), dataset.classes[GROUND]) == (15, "ground")
    expected = np.full((4, 6), 255)
    expected[1] = GROUND
    np.testing.assert_array_equal(dataset.train.mask(0), expected)
    annotations = coco_root / "annotations"
    for path in (annotations / "stuff_annotations").iterdir():
        path.rename(annotations / path.name)
    np.testing.assert_array_equal(load_dataset(STUFF, data_root=coco_root).val.mask(1), expected)


def test_stuff_maps_hold_no_things(coco_root: Path, write) -> None:
    maps = coco_root / "annotations/stuff_annotations/stuff_val2017_pixelmaps"
    write.mask(maps / "000000000009.png", write.grid(18))
    with pytest.raises(DensebenchError, match=r"no class: 18; allowed are 0, 92-183"):
        load_dataset(STUFF, data_root=coco_root).val.mask(0)


def test_panoptic_will_not_do_for_stuff(coco_root: Path) -> None:
    shutil.rmtree(coco_root / "annotations/stuff_annotations")
    with pytest.raises(DensebenchError, match=r"needs the stuff pixel maps.*merge stuff classes"):
        load_dataset(STUFF, data_root=coco_root)


def test_no_masks_of_things_at_all(coco_root: Path) -> None:
    for path in (coco_root / "annotations").glob("panoptic_*2017"):
        shutil.rmtree(path)
    with pytest.raises(DensebenchError, match="no masks of things for train2017; looked for pan"):
        load_dataset(THINGS, data_root=coco_root)


def test_image_that_the_json_does_not_describe(coco_root: Path, tmp_path: Path) -> None:
    path = coco_root / "annotations/panoptic_val2017.json"
    content = json.loads(path.read_text())
    content["annotations"].pop()
    path.write_text(json.dumps(content))
    with pytest.raises(DensebenchError, match="1 of 2 images of the val split are without a mask"):
        load_dataset(THINGS, data_root=coco_root)
    listed = tmp_path / "described.txt"
    listed.write_text("000000000009.jpg\n")
    assert len(load_dataset(THINGS, data_root=coco_root, val_list=listed).val) == 1


def test_segment_that_the_json_does_not_describe(coco_root: Path, write) -> None:
    png = coco_root / "annotations/panoptic_val2017/000000000009.png"
    write.panoptic(png, write.grid(77))
    with pytest.raises(DensebenchError, match=rf"{png}: .* no class: 77; allowed are 0 and"):
        load_dataset(THINGS, data_root=coco_root).val.mask(0)


def test_panoptic_png_must_be_rgb(coco_root: Path, write) -> None:
    write.mask(coco_root / "annotations/panoptic_val2017/000000000009.png", write.grid(18))
    with pytest.raises(DensebenchError, match=r"must be 8-bit RGB .* not mode L"):
        load_dataset(THINGS, data_root=coco_root).val.mask(0)


def test_json_errors(coco_root: Path) -> None:
    path = coco_root / "annotations/panoptic_val2017.json"
    content = json.loads(path.read_text())
    content["categories"][0]["supercategory"] = "pet"
    path.write_text(json.dumps(content))
    with pytest.raises(
        DensebenchError, match=r"category 18 is \('dog', 'pet', True\), but in COCO"
    ):
        read_panoptic(path)
    path.write_text('{"images": []}')
    with pytest.raises(DensebenchError, match="not a COCO panoptic JSON"):
        read_panoptic(path)
    path.write_text("{")
    with pytest.raises(DensebenchError, match="not a COCO panoptic JSON"):
        read_panoptic(path)
    path.unlink()
    with pytest.raises(DensebenchError, match=r"panoptic_val2017\.json: cannot be read"):
        load_dataset(THINGS, data_root=coco_root)


def test_fingerprint_covers_the_classes_of_segments(coco_root: Path) -> None:
    before = load_dataset(THINGS, data_root=coco_root).val.fingerprint()
    path = coco_root / "annotations/panoptic_val2017.json"
    text = path.read_text()
    path.write_text(text.replace('"category_id": 18', '"category_id": 1'))
    assert load_dataset(THINGS, data_root=coco_root).val.fingerprint() != before
    path.write_text(text)
    assert load_dataset(THINGS, data_root=coco_root).val.fingerprint() == before


def test_panoptic_split_goes_to_loader_workers(coco_root: Path) -> None:
    split = load_dataset(THINGS, data_root=coco_root).val
    copy = pickle.loads(pickle.dumps(split))
    np.testing.assert_array_equal(copy.mask(1), split.mask(1))


def test_table_equals_the_official_json(real_data: Path) -> None:
    content = json.loads((real_data / "coco/annotations/panoptic_val2017.json").read_text())
    official = {
        (c["id"], c["name"], c["supercategory"], bool(c["isthing"])) for c in content["categories"]
    }
    assert official == {(c.id, c.name, c.supercategory, c.is_thing) for c in coco_panoptic()}


def test_real_things_against_a_plain_reading(real_data: Path) -> None:
    dataset = load_dataset(THINGS, data_root=real_data)
    assert (len(dataset.train), len(dataset.val)) == (20, 60)
    folder = real_data / "coco" / "annotations"
    content = json.loads((folder / "panoptic_val2017.json").read_text())
    categories = {c["id"]: c for c in content["categories"]}
    names = sorted({c["supercategory"] for c in content["categories"] if c["isthing"]})
    for annotation in content["annotations"][:10]:
        colours = np.asarray(Image.open(folder / "panoptic_val2017" / annotation["file_name"]))
        ids = colours.astype(int) @ [1, 256, 65536]
        expected = np.full(ids.shape, 255)
        for segment in annotation["segments_info"]:
            category = categories[segment["category_id"]]
            if category["isthing"]:
                expected[ids == segment["id"]] = names.index(category["supercategory"])
        i = dataset.val.names.index(Path(annotation["file_name"]).stem)
        np.testing.assert_array_equal(dataset.val.mask(i), expected)
