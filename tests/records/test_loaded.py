"""Whose weights have been loaded, as records tell."""

import json
from pathlib import Path
from typing import Any

import pytest

from densebench.cards import find_backbone
from densebench.records.loaded import has_record
from densebench.records.schema import RunRecord
from densebench.records.store import save_record

CARD = find_backbone("dino_s16").card


def kept(record: RunRecord, folder: Path, **changes: Any) -> None:
    values = json.loads(record.model_dump_json())
    values["backbone"] |= {"name": "dino_s16", "card": CARD.model_dump(mode="json"), **changes}
    save_record(RunRecord.model_validate(values), folder)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, True),
        ({"name": "dino_s16, layers 2+5", "layers": [2, 5]}, True),
        ({"name": "dino_s16@mine", "weights": "mine.pth"}, False),
        ({"weights": "mine.pth"}, False),
        ({"card": {}}, False),
        ({"card": {**CARD.model_dump(mode="json"), "id": "another"}}, False),
    ],
)
def test_a_record_of_its_own_weights(
    tiny_record: RunRecord, tmp_path: Path, changes: dict[str, Any], found: bool
) -> None:
    kept(tiny_record, tmp_path / "results", **changes)
    assert has_record(CARD, [tmp_path / "none", tmp_path / "results"]) == found


def test_what_is_no_record(tmp_path: Path) -> None:
    folder = tmp_path / "dino_s16" / "task"
    folder.mkdir(parents=True)
    for number, text in enumerate(("", "[]", "{}", '{"backbone": 3}')):
        (folder / f"{number}.json").write_text(text)
    assert not has_record(CARD, [tmp_path])
