"""`densebench list` and `densebench show`."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from densebench.cards import card_names

pytestmark = pytest.mark.usefixtures("own_places")

COMMAND = (sys.executable, "-m", "densebench.cli")
SCRIPT = Path(sys.executable).with_name("densebench")
Cli = Callable[..., Any]


def test_list_names_every_card(run: Cli) -> None:
    shown = run("list").out
    listed = [line.split()[0] for line in shown.splitlines() if line.startswith("  ")]
    kinds = ("backbones", "tasks", "suites", "ladders", "recipes")
    assert listed == [name for kind in kinds for name in card_names(kind)]
    for kind in kinds:
        assert run("list", kind).out.splitlines()[0] == kind


def test_show(run: Cli, tiny_task: Path) -> None:
    for name in ("rgb_s14", "voc_linear", "neco_dinov2", tiny_task):
        head, _, body = run("show", name).out.partition("\n")
        assert Path(head.removeprefix("# ")).is_file()
        assert json.loads(body)["name"] == (name if isinstance(name, str) else "tiny_retrieval")


@pytest.mark.parametrize(
    ("name", "near"),
    [("rgb_s15", "rgb_s14"), ("voc_incontex", "voc_incontext"), ("nec_dino", "neco_dino")],
)
def test_show_suggests_from_every_kind(run: Cli, name: str, near: str) -> None:
    assert f"did you mean '{near}'?" in run("show", name).error
