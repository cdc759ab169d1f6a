"""The data of a task against its card: all that is wrong at once."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from densebench.cards import find_task
from densebench.datasets.targets import Target
from densebench.host.errors import DensebenchError
from densebench.prepare.task_check import verify_task

CARD = """
name = "mine"
protocol = "in_context"

[dataset]
kind = "folder"
root = "."
images = "images"
masks = "masks"
split = { val = 0.25 }
classes = ["sky", "ground"]
"""


@pytest.fixture
def card(tmp_path: Path) -> Path:
    (tmp_path / "mine.toml").write_text(CARD)
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for number in range(40):
        Image.new("RGB", (3, 2)).save(tmp_path / f"images/p{number:02d}.jpg")
        ids = np.array([[0, 1, 255], [0, 0, 1]], np.uint8)
        Image.fromarray(ids).save(tmp_path / f"masks/p{number:02d}.png")
    return tmp_path / "mine.toml"


def test_all_is_well(card: Path) -> None:
    report = verify_task(find_task(card))
    assert report.problems == []
    assert (report.splits["train"].checked, report.splits["val"].checked) == (30, 10)
    assert report.splits["val"].pixels == {"sky": 30, "ground": 20}
    assert report.splits["val"].ignored == 10


def test_ids_sizes_and_pairs_at_once_and_no_more_than_twenty(card: Path) -> None:
    folder = card.parent
    for number in range(25):
        Image.new("RGB", (3, 2)).save(folder / f"images/lone{number:02d}.jpg")
    Image.new("L", (3, 2)).save(folder / "masks/left.png")
    for number in range(40):
        Image.fromarray(np.full((2, 3), 9, np.uint8)).save(folder / f"masks/p{number:02d}.png")
    Image.new("L", (5, 5)).save(folder / "masks/p00.png")
    problems = verify_task(find_task(card)).problems
    assert sum("no mask lone" in problem for problem in problems) == 20
    assert problems[20] == "and 6 more files like these"
    assert sum("ids that are no class: 9" in problem for problem in problems) >= 20
    assert any("must be of one size" in problem for problem in problems)


def test_a_class_that_is_nowhere_and_an_image_in_both_splits(card: Path) -> None:
    folder = card.parent
    for number in range(40):
        Image.new("L", (3, 2)).save(folder / f"masks/p{number:02d}.png")
    (folder / "train.txt").write_text("p00\np01\n")
    (folder / "val.txt").write_text("p01\n")
    lists = 'train = "train.txt"\nval = "val.txt"'
    card.write_text(CARD.replace("split = { val = 0.25 }", lists))
    problems = verify_task(find_task(card)).problems
    assert problems == [
        "1 images are in both splits, the first is 'p01'",
        "train: no pixel of ground",
        "val: no pixel of ground",
    ]


def test_what_cannot_be_loaded_is_a_problem(card: Path) -> None:
    card.write_text(CARD.replace('"masks"', '"labels"'))
    (problem,) = verify_task(find_task(card)).problems
    assert "the first that is missing is" in problem


def test_a_sample_says_nothing_of_classes(card: Path) -> None:
    for file in (card.parent / "masks").iterdir():
        Image.new("L", (3, 2)).save(file)
    assert verify_task(find_task(card), quick=True).problems == []


def test_depth_has_no_classes_to_check(card: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    depth = SimpleNamespace(target=Target("depth", "float32", 0.0))
    monkeypatch.setattr("densebench.prepare.task_check.load_dataset", lambda *a, **how: depth)
    with pytest.raises(DensebenchError, match="hold depth, and labels are checked"):
        verify_task(find_task(card))
