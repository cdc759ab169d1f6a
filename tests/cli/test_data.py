"""`densebench data`: what is refused before anything is fetched."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.usefixtures("own_places")
Cli = Callable[..., Any]


def test_a_folder_of_one_s_own(run: Cli) -> None:
    """From a folder to a card, its check, and a run on it."""
    for name in ("images", "masks"):
        Path("mine", name).mkdir(parents=True)
    for number in range(6):
        Image.new("RGB", (28, 28), (40 * number, 90, 10)).save(f"mine/images/{number}.png")
        ids = np.full((28, 28), 7, np.uint8)
        ids[:14] = 3
        Image.fromarray(ids).save(f"mine/masks/{number}.png")
    done = run("data", "init", "mine")
    assert "6 images in mine/images with masks in mine/masks" in done.out
    card = Path("mine/mine.toml")
    card.write_text(card.read_text().replace("class_7", "road"))
    assert "road" in run("data", "verify", card).out
    size = ("--set", "input_size=28")
    made = run("run", "--backbone", "rgb_s14", "--task", str(card), "--results", "results", *size)
    assert "mIoU" in made.out
    assert "there already" in run("data", "init", "mine").error
    Path("mine/masks/5.png").unlink()
    assert "no mask 5.png" in run("data", "verify", card).err
    Path("mine/val.txt").write_text("\x1b[31m5\n")
    card.write_text(card.read_text().replace("[dataset]", '[dataset]\nval = "val.txt"'))
    assert "\x1b" not in run("data", "verify", card).err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("prepare", "vok"), "did you mean 'voc'?"),
        (("prepare", "voc", "--root", "data"), "--accept-license"),
        (("verify", "vok"), "no dataset named 'vok'"),
        (("verify", "all", "--root", "data"), "no dataset in data"),
        (("verify", "voc", "--root", "data"), "not as released"),
        (("verify", "mine.toml"), "mine.toml"),
        (("init", "nowhere"), "nowhere: no such folder"),
        (("init", ".", "--val", "2", "--name", "a"), "a share between 0 and 1"),
    ],
)
def test_refused(run: Cli, arguments: tuple[str, ...], told: str) -> None:
    assert told in run("data", *arguments).error
    assert not Path("data").exists() or not list(Path("data").rglob("*.tar*"))
