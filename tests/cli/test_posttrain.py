"""`densebench posttrain`: what is refused before a step is taken."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image

from densebench.cli import app

pytestmark = pytest.mark.usefixtures("own_places")
Cli = Callable[..., Any]


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    folder = tmp_path / "photographs"
    folder.mkdir()
    for number in range(4):
        Image.new("RGB", (64, 48), (60 * number, 10, 90)).save(folder / f"{number}.png")
    return folder


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--recipe", "neco_dinov"), "did you mean 'neco_dino"),
        (("--set", "loss.steepnes=3"), "steepnes"),
        (("--set", "training.batch_size=-1"), "batch_size"),
        (("--device", "gpu"), "'gpu' is no device"),
        (("--then", "scenes_incontex"), "scenes_incontext"),
    ],
)
def test_refused(run: Cli, photographs: Path, arguments: tuple[str, ...], told: str) -> None:
    common = ("--backbone", "rgb_s14", "--name", "mine", "--data", photographs)
    assert told in run("posttrain", *common, *arguments).error
    assert not list(Path().rglob("mine*"))


def test_a_folder_without_photographs(run: Cli, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = run("posttrain", "--backbone", "rgb_s14", "--name", "mine", "--data", tmp_path / "empty")
    assert str(tmp_path / "empty") in done.error


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((), ["run --backbone rgb_s14,mine", "compare rgb_s14 mine"]),
        (
            ("--weights", "w.pth"),
            ["run --backbone rgb_s14 --weights w.pth", "run --backbone mine", "rgb_s14@w mine"],
        ),
    ],
)
def test_it_ends_with_what_to_do_next(
    run: Cli, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], told: list[str]
) -> None:
    """What is said to be typed is what the command line takes."""
    Path("w.pth").touch()
    Path("data").mkdir()
    monkeypatch.setattr("densebench.api.posttrain_run", lambda *_: Path("posttrained/mine.toml"))
    common = ("--backbone", "rgb_s14", "--name", "mine", "--data", "data", *options)
    done = run("posttrain", *common)
    assert done.out == "mine: posttrained/mine.toml\n"
    lines = [line.split() for line in done.err.splitlines() if line.startswith("  densebench ")]
    assert len(lines) == len(told)
    for words, begun in zip(lines, told, strict=True):
        assert begun in " ".join(words)
        command = typer.main.get_command(app).commands[words[1]]
        assert command.make_context(words[1], words[2:]).params["task"] == "scenes_incontext"
