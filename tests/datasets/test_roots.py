"""Where a dataset lies."""

from pathlib import Path

import pytest

from densebench.cards import DatasetCard
from densebench.datasets.roots import (
    Layout,
    MissingDatasetError,
    base_folder,
    complete,
    find_layout,
)

LAYOUT = Layout(("toys", "Toys"), (("images", "masks"), ("photos", "labels")))


def make(root: Path, *folders: str) -> None:
    for folder in folders:
        (root / folder).mkdir(parents=True)


@pytest.mark.parametrize("folder", ["", "toys", "Toys"])
@pytest.mark.parametrize("needs", LAYOUT.needs)
def test_each_folder_and_each_way_it_is_shipped(
    folder: str, needs: tuple[str, ...], tmp_path: Path
) -> None:
    make(tmp_path / folder, *needs)
    assert find_layout("toys", LAYOUT, tmp_path) == tmp_path / folder


@pytest.mark.parametrize(
    ("present", "first"),
    [((), "toys"), (("toys/images",), "toys/masks"), (("Toys/labels",), "Toys/photos")],
)
def test_the_first_that_is_missing_of_what_comes_nearest(
    present: tuple[str, ...], first: str, tmp_path: Path
) -> None:
    make(tmp_path, *present)
    assert complete(tmp_path, LAYOUT) is None
    with pytest.raises(MissingDatasetError) as caught:
        find_layout("toys", LAYOUT, tmp_path)
    assert f"the first that is missing is {tmp_path / first};" in str(caught.value)
    assert "images + masks or photos + labels" in str(caught.value)


def test_a_compressed_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "toys.tar.gz").touch()
    with pytest.raises(MissingDatasetError, match=r"toys.tar.gz is compressed: unpack it"):
        find_layout("toys", LAYOUT, tmp_path)


def test_the_users_place_goes_before_the_cards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DENSEBENCH_DATA", str(tmp_path / "data"))
    card, file = DatasetCard(kind="voc", root="mine"), tmp_path / "cards" / "task.toml"
    assert base_folder(card, file, tmp_path / "given") == tmp_path / "given"
    assert base_folder(card, file, None) == tmp_path / "cards" / "mine"
    assert base_folder(DatasetCard(kind="voc"), file, None) == tmp_path / "data"
