"""What must be said beside a row."""

from pathlib import Path
from typing import Any

import pytest

from densebench.records.remarks import NONDETERMINISTIC, TF32, remarks, with_marks


def of(record: Any, **changes: Any) -> tuple[Any, ...]:
    return remarks([(Path("a.json"), record.model_copy(update=changes))])


def test_nothing_to_say(tiny_record: Any) -> None:
    assert of(tiny_record) == ()
    assert with_marks("12.3", ()) == "12.3"


@pytest.mark.parametrize(
    ("change", "remark"), [("nondeterministic", NONDETERMINISTIC), ("tf32", TF32)]
)
def test_of_any_of_its_runs(change: str, remark: Any, tiny_record: Any) -> None:
    assert of(tiny_record, **{change: True}) == (remark,)
    both = [(Path("a.json"), tiny_record)]
    both.append((Path("b.json"), tiny_record.model_copy(update={change: True})))
    assert remarks(both) == (remark,)
    assert with_marks("12.3", (remark,)) == f"12.3 {remark.mark}"


def test_random_weights(tiny_record: Any) -> None:
    backbone = tiny_record.backbone.model_copy(update={"random_weights": 0})
    (said,) = of(tiny_record, backbone=backbone)
    assert said.word == "random weights"
    assert "drawn at random (seed 0), not learnt" in said.sentence


def test_what_a_card_says_itself(tiny_record: Any) -> None:
    card = {**tiny_record.backbone.card, "notice": "weights are drawn at random."}
    backbone = tiny_record.backbone.model_copy(update={"card": card})
    (said,) = of(tiny_record, backbone=backbone)
    assert (said.word, said.sentence) == ("notice", "weights are drawn at random")
