"""The Semantic Boundaries Dataset."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from densebench.datasets.sbd import FOLDERS, find_sbd, read_sbd_mask, sbd_masks, sbd_names
from densebench.host.errors import DensebenchError


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("above", ["", "..", "../.."])
def test_it_lies_in_vocs_folder_or_above(folder: str, above: str, tmp_path: Path) -> None:
    voc = tmp_path / "VOCdevkit" / "VOC2012"
    (voc / above / folder / "cls").resolve().mkdir(parents=True)
    voc.mkdir(parents=True, exist_ok=True)
    found = find_sbd(voc)
    assert found is not None
    assert found.resolve() == (voc / above / folder).resolve()


def test_nowhere(tmp_path: Path) -> None:
    assert find_sbd(tmp_path) is None


def test_both_lists_count(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("b\na\n")
    (tmp_path / "val.txt").write_text("c\n")
    assert sbd_names(tmp_path) == ("a", "b", "c")


def save(file: Path, mask: Any) -> None:
    savemat(file, {"GTcls": {"Segmentation": mask, "Boundaries": 0}})


def test_the_field_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "cls").mkdir()
    mask = np.arange(6, dtype=np.uint8).reshape(2, 3)
    save(tmp_path / "cls" / "a.mat", mask)
    listing = sbd_masks(tmp_path)
    assert list(listing.files) == ["a"]
    np.testing.assert_array_equal(read_sbd_mask(Path(listing.files["a"])), mask)


@pytest.mark.parametrize(
    ("mask", "told"),
    [(np.zeros((2, 3)), "8-bit matrix, not float64"), (np.zeros((1, 2, 2), np.uint8), "3 axes")],
)
def test_another_matrix(mask: Any, told: str, tmp_path: Path) -> None:
    save(tmp_path / "a.mat", mask)
    with pytest.raises(DensebenchError, match=told):
        read_sbd_mask(tmp_path / "a.mat")


def test_no_such_field(tmp_path: Path) -> None:
    savemat(tmp_path / "a.mat", {"other": 1})
    (tmp_path / "b.mat").write_bytes(b"no mat")
    for name in "ab":
        with pytest.raises(DensebenchError, match=f"{name}.mat: not a readable SBD mask"):
            read_sbd_mask(tmp_path / f"{name}.mat")
