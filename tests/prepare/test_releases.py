"""Other releases, known by what they hold."""

from pathlib import Path

import pytest

from densebench.prepare.releases import release_problems


@pytest.mark.parametrize(
    ("classes", "known"), [(100, "ImageNet-100"), (200, "Tiny ImageNet"), (7, "part")]
)
def test_imagenets(classes: int, known: str, tmp_path: Path) -> None:
    for number in range(classes):
        (tmp_path / "train" / f"n{number:04d}").mkdir(parents=True)
    (problem,) = release_problems("imagenet", None, tmp_path.parent, tmp_path)
    assert f"has {classes} class folders" in problem
    assert f"is it {known}?" in problem


def test_the_right_one_or_none(tmp_path: Path) -> None:
    assert release_problems("imagenet", None, tmp_path, tmp_path) == []
    assert release_problems("mine", None, tmp_path, tmp_path) == []
    assert release_problems("voc", "voc", tmp_path, tmp_path) == []


def test_an_older_coco(tmp_path: Path) -> None:
    (tmp_path / "coco" / "train2014").mkdir(parents=True)
    (tmp_path / "coco" / "train2014" / "COCO_train2014_000000000009.jpg").touch()
    found = release_problems("coco_things", "coco_things", tmp_path, tmp_path / "coco")
    assert any("2014" in problem for problem in found)
