"""`densebench list` and `densebench show`."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from densebench.backbones.weights import hub, ledger
from densebench.cards import card_names, find_backbone
from densebench.records.called import DEFAULT_RESULTS
from densebench.records.schema import RunRecord
from densebench.records.store import save_record

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


def line_of(run: Cli, name: str) -> str:
    return next(line for line in run("list", "backbones").out.splitlines() if f" {name} " in line)


def test_weights_that_nobody_here_has_loaded_are_marked(run: Cli, tiny_record: RunRecord) -> None:
    mark = "[never loaded here]"
    card = find_backbone("swin_t32").card
    assert line_of(run, "swin_t32").endswith(mark)
    assert mark not in line_of(run, "hog_s14")
    values = json.loads(tiny_record.model_dump_json())
    values["backbone"] |= {"name": card.name, "card": card.model_dump(mode="json")}
    save_record(RunRecord.model_validate(values), DEFAULT_RESULTS)
    assert mark not in line_of(run, "swin_t32")
    assert line_of(run, "swin_s32").endswith(mark)
    source = find_backbone("swin_s32").card.weights
    assert source is not None
    ledger.record(hub.place(source), "0" * 64, 1, None)
    assert mark not in line_of(run, "swin_s32")
    ledger.ledger_path().write_text("{")
    assert line_of(run, "swin_s32").endswith(mark)
