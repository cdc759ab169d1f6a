"""What is known of each kind of dataset, from its own module alone."""

from pathlib import Path

import pytest

from densebench.cards import DATASETS, DatasetCard, find_task
from densebench.datasets.kind import KEYS, DatasetKind, dataset_kind
from densebench.datasets.roots import Layout, MissingDatasetError
from densebench.datasets.targets import Target

DEPTH = {"depth_folder", "nyuv2", "scenes_depth"}
OFFICIAL = sorted(set(DATASETS.names()) - {"folder", "scenes"} - DEPTH)


@pytest.mark.parametrize("name", OFFICIAL)
def test_an_official_one_has_labels_in_colours_and_a_layout(name: str) -> None:
    kind, card = dataset_kind(name), DatasetCard(kind=name)
    target = kind.target(card)
    assert target.is_labels and target.dtype == "uint8"
    assert len(kind.palette(card)) == len(target.classes) > 1
    assert kind.layout is not None and kind.layout.folders and kind.layout.needs
    assert kind.keys == KEYS


@pytest.mark.parametrize("name", sorted(DEPTH))
def test_depth_is_in_metres_and_has_no_classes(name: str) -> None:
    kind = dataset_kind(name)
    card = DatasetCard(kind=name) if name == "nyuv2" else kind.card.model_construct(kind=name)
    target = kind.target(card)
    assert (target.kind, target.dtype, target.void, target.unit) == ("depth", "float32", 0.0, "m")
    assert target.classes == () == kind.palette(card)


def test_which_are_grouped_share_images_or_take_long() -> None:
    kinds = {name: dataset_kind(name) for name in DATASETS.names()}
    grouped = {name: kind.group_name for name, kind in kinds.items() if kind.group_name}
    assert grouped == {"camvid": "sequences", "cityscapes": "cities"}
    coco = {"coco_stuff", "coco_things"}
    assert {name for name, kind in kinds.items() if kind.annotations} == coco
    assert {name for name, kind in kinds.items() if not kind.is_quick} == coco


def test_the_layout_is_looked_for_where_the_data_are(tmp_path: Path) -> None:
    kind = DatasetKind(
        target=lambda card: Target("depth", "float32", 0.0),
        read_split=lambda card, root, split, names: pytest.fail("nothing is read"),
        layout=Layout(("rooms",), (("rgb", "depth"),)),
    )
    card = DatasetCard(kind="voc")  # any
    with pytest.raises(MissingDatasetError, match=r"needs rgb \+ depth"):
        kind.find_root(card, None, tmp_path)
    for folder in ("rgb", "depth"):
        (tmp_path / "rooms" / folder).mkdir(parents=True)
    assert kind.find_root(card, None, tmp_path) == tmp_path / "rooms"
    assert kind.find_root(card, None, tmp_path / "rooms") == tmp_path / "rooms"


def test_a_kind_may_find_its_own_place() -> None:
    place = Path("here")
    kind = DatasetKind(
        target=lambda card: Target("depth", "float32", 0.0),
        read_split=lambda card, root, split, names: pytest.fail("nothing is read"),
        locate=lambda card, card_path, data_root: place,
    )
    assert kind.find_root(DatasetCard(kind="voc"), None, None) == place


def test_a_list_of_another_length_is_named_where_it_is_known() -> None:
    known = dataset_kind("voc").known_count
    assert known("train", 1464) == " (this is VOC's own train set, without SBD)"
    assert known("train", 1463) == known("val", 1464) == ""
    assert dataset_kind("camvid").known_count("train", 1464) == ""


def test_a_card_of_its_own_is_what_the_task_holds(tmp_path: Path) -> None:
    task = find_task("scenes_incontext").card
    assert type(task.dataset) is DatasetCard
    assert dataset_kind("folder").card is not DatasetCard
