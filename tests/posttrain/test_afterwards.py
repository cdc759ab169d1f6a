"""Base and new backbone on the same tasks, and what the model card says of it."""

from dataclasses import replace
from pathlib import Path

import pytest

from densebench.host.errors import DensebenchError
from densebench.host.watcher import Watcher
from densebench.posttrain import afterwards
from densebench.posttrain.session import PosttrainOptions, posttrain

pytestmark = pytest.mark.usefixtures("workplace")
BASE = PosttrainOptions("net.py:make", (Path("photos"),), "mine", recipe="tiny.toml", device="cpu")


@pytest.mark.slow
def test_where_nothing_can_be_compared_the_card_says_why(
    tiny_task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = replace(BASE, overrides={"training.steps": 1})
    posttrain(options)

    def refuse(*_: object) -> None:
        raise DensebenchError("no comparison: one image alone")

    monkeypatch.setattr(afterwards, "compare_backbones", refuse)
    card = Path("posttrained/mine/README.md")
    table = afterwards.compared(options, [str(tiny_task)], None, None, 2, Watcher())
    assert table.row_count == 2
    rows = card.read_text().partition("## Results\n")[2].strip().splitlines()
    assert len(rows) == 5
    assert rows[2].startswith("| tiny")
    assert " (2 images of each split) |" in rows[2]
    assert rows[2].endswith("| no comparison: one image alone |  |")
    assert rows[4].startswith("A difference is the new one's less the base's")
