"""`densebench profile`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from densebench.records.store import load_profiles

pytestmark = pytest.mark.usefixtures("own_places")
Cli = Callable[..., Any]
SMALL = ("--size", 28, "--batch-size", 2, "--device", "cpu")


def test_measured_shown_and_kept(run: Cli, tmp_path: Path) -> None:
    done = run("profile", "--backbone", "rgb_s14", *SMALL, "--json", "--results", "kept")
    told = json.loads(done.out)
    assert (told["backbone"], told["size"], told["precision"]) == ("rgb_s14", 28, "fp32")
    assert told["images_per_second"] > 0
    ((_, kept),) = load_profiles(Path("kept"))
    assert kept.model_dump(mode="json") == told


def test_what_is_not_counted_is_said_to_be(run: Cli) -> None:
    """Colours are means: no product that torch counts."""
    done = run("profile", "--backbone", "rgb_s14", *SMALL, "--results", "kept")
    line = next(line for line in done.out.splitlines() if "operations of one image" in line)
    assert "not counted" in line and "GFLOPs" not in line
    ((_, kept),) = load_profiles(Path("kept"))
    assert kept.gflops is None


def test_random_weights_are_told(run: Cli, write_timm_card: Path) -> None:
    how = ("--size", 32, "--batch-size", 1, "--device", "cpu", "--json", "--results", "kept")
    done = run("profile", "--backbone", write_timm_card, "--random-weights", 2, *how)
    assert json.loads(done.out)["backbone"] == "small@random-2"
    assert "its weights are drawn at random (seed 2)" in done.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--precision", "tf32"), "--precision must be one of fp32, bf16, fp16"),
        (("--size", "30"), "30"),
        (("--task", "scenes_incontex"), "did you mean 'scenes_incontext'?"),
    ],
)
def test_refused(run: Cli, arguments: tuple[str, ...], told: str) -> None:
    assert told in run("profile", "--backbone", "rgb_s14", "--device", "cpu", *arguments).error
