"""The images of a run: what is used, what they were chosen from, and what was left out."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import densebench
from densebench.cards import find_task
from densebench.host.errors import DensebenchError
from densebench.run.images import images_at_once, load_images, share_asked
from densebench.run.options import RunOptions


def test_a_limit_is_told_only_where_it_leaves_any_out(colour_task: Path) -> None:
    task = find_task(colour_task)
    found = [
        load_images(task, RunOptions("rgb_s14", str(colour_task), limit=limit))
        for limit in (None, 6, 2)
    ]
    assert [images.limit for images in found] == [None, None, 2]
    assert [len(images.dataset.train) for images in found] == [6, 6, 2]
    assert [len(images.dataset.val) for images in found] == [4, 4, 2]
    assert found[0].fingerprint == found[1].fingerprint != found[2].fingerprint


def test_a_share_is_of_the_training_images_and_leaves_the_fingerprint(colour_task: Path) -> None:
    task = find_task(colour_task)
    whole, half = (
        load_images(task, RunOptions("rgb_s14", str(colour_task), subset=subset))
        for subset in (None, "own:1/2")
    )
    assert (len(half.dataset.train), len(half.dataset.val)) == (3, 4)
    assert half.fingerprint == whole.fingerprint
    assert half.limit is None


def test_the_command_s_share_goes_before_the_task_s(colour_task: Path) -> None:
    task = find_task(colour_task).card
    shared = task.model_copy(
        update={"dataset": task.dataset.model_copy(update={"subset": "own:1/3"})}
    )
    assert share_asked(task, RunOptions("rgb_s14", "any")) is None
    assert share_asked(shared, RunOptions("rgb_s14", "any")) == "own:1/3"
    assert share_asked(shared, RunOptions("rgb_s14", "any", subset="own:1/2")) == "own:1/2"


def test_an_empty_share_is_none_that_was_left_out(colour_task: Path) -> None:
    with pytest.raises(DensebenchError, match="wants a share such as 1/8"):
        load_images(find_task(colour_task), RunOptions("rgb_s14", str(colour_task), subset=""))


def test_a_list_that_is_not_there(colour_task: Path) -> None:
    options = RunOptions("rgb_s14", str(colour_task), val_list=Path("gone/val.txt"))
    with pytest.raises(DensebenchError, match="no such list of images"):
        load_images(find_task(colour_task), options)


def test_what_is_wrong_with_them_is_left_to_the_plan(colour_task: Path) -> None:
    assert images_at_once(RunOptions("rgb_s14", str(colour_task))) is not None
    assert images_at_once(RunOptions("rgb_s14", "nowhere")) is None
    assert images_at_once(RunOptions("rgb_s14", str(colour_task), limit=-1)) is None


@pytest.mark.slow
def test_many_small_files_are_found_and_compared_in_seconds(
    own_places: Path, colour_task: Path, settled: None
) -> None:
    """A task of 50,000 images, which is 100,000 files, in 6 s at first and in 3.75 s later."""
    n_images = 4000
    for folder in ("images", "masks"):
        (own_places / folder).mkdir()
        for number in range(n_images):
            (own_places / folder / f"p{number:06d}.png").write_bytes(b"%d" % number * 60)
    names = [f"p{number:06d}" for number in range(n_images)]
    (own_places / "train.txt").write_text("\n".join(names[100:]))
    (own_places / "val.txt").write_text("\n".join(names[:100]))
    (own_places / "many.toml").write_text(colour_task.read_text())
    task, options, seconds = find_task(own_places / "many.toml"), RunOptions("rgb_s14", "any"), []
    for _ in range(2):
        began = time.process_time()
        load_images(task, options)
        seconds.append(time.process_time() - began)
    assert seconds[0] < 60e-6 * 2 * n_images
    assert seconds[1] < 37.5e-6 * 2 * n_images


ORDER = """
import importlib.abc
import sys

from densebench import cli
from densebench.datasets import subset

subset.MANY_FILES = 1

class Notice(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "torch":
            print("torch is imported", file=sys.stderr)

sys.meta_path.insert(0, Notice())
cli.main()
"""


def test_many_are_told_of_before_torch_is_imported_and_compared_once(
    own_places: Path, write_dataset: Callable[..., Path], settled: None
) -> None:
    """The import alone takes seconds, in which nothing was to be seen."""
    task = write_dataset(own_places / "data")
    places = {"DENSEBENCH_CACHE": str(own_places / "cache"), "DENSEBENCH_HOME": os.devnull}
    package = str(Path(densebench.__file__).parents[1])
    asked = ["run", "--backbone", "rgb_s14", "--task", str(task), "--device", "cpu"]
    done = subprocess.run(
        [sys.executable, "-c", ORDER, *asked, "--results", "results", "--cache", "off"],
        env={**os.environ, **places, "PYTHONPATH": package},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stderr.splitlines() if "torch is" in line or "comparing" in line]
    assert told == [
        "comparing 12 images and masks with what is known of them",
        "torch is imported",
    ]


def test_a_matrix_says_a_word_before_torch_is_imported(own_places: Path) -> None:
    asked = [
        "run",
        "--backbone",
        "rgb_s14,hog_s14,absent.py:make",
        "--task",
        "scenes_linear,camvid_knn",
    ]
    done = subprocess.run(
        [sys.executable, "-c", ORDER, *asked, "--seeds", "2"],
        env={**os.environ, "PYTHONPATH": str(Path(densebench.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    told = [line for line in done.stderr.splitlines() if "torch is" in line or "runs" in line]
    assert told == ["12 runs; their names are looked up first", "torch is imported"]
