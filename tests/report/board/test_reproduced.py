"""A published table and our runs of it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from densebench.records.schema import RunRecord
from densebench.report.board.published import PublishedNumber
from densebench.report.board.reproduced import Missing, ReproducedRow, Reproduction, why_apart


def number(**changes: Any) -> PublishedNumber:
    values = {
        "task": "tiny_retrieval",
        "variant": "reference",
        "backbone": "rgb_s14",
        "value": 50.0,
        "n_val": 2,
        "source": "A paper, table 1",
        "note": "no memory size is stated",
    }
    return PublishedNumber.model_validate({**values, **changes})


def shipped(record: RunRecord, **changes: Any) -> RunRecord:
    """The record as one of a task card that comes with the package."""
    protocol = record.protocol.model_copy(update={"as_shipped": True})
    return record.model_copy(update={"protocol": protocol, **changes})


class TestComparable:
    def test_like_with_like(self, tiny_record: RunRecord) -> None:
        record = shipped(tiny_record)
        row = ReproducedRow("t", "b", "t", "b", (number(),), found=(Path("x.json"), record))
        difference = row.difference(number())
        assert difference == pytest.approx(record.score.value - 0.5)
        assert row.remarks() == ["no memory size is stated"]

    @pytest.mark.parametrize(
        ("changes", "told"),
        [
            ({"as_shipped": False}, "parameters other than those of the task card"),
            ({"partial": True}, "a partial run"),
            ({"skipped": {"a": "broken"}}, "1 images could not be read"),
            ({"n_val": 3}, "3 validation images, published on 2"),
            ({"n_train": 9}, "9 training images, published on 4"),
            ({"variant": "clean"}, "another run than the published one"),
        ],
    )
    def test_no_difference_but_the_reason(
        self, tiny_record: RunRecord, changes: dict[str, Any], told: str
    ) -> None:
        values = shipped(tiny_record).model_dump()
        for key, value in changes.items():
            parts = (values, values["protocol"], values["dataset"])
            next(part for part in parts if key in part)[key] = value
        record = RunRecord.model_validate(values)
        row = ReproducedRow("t", "b", "t", "b", (number(n_train=4),), (Path("x"), record))
        assert row.difference(number(n_train=4)) is None
        assert told in row.remarks()[0]
        assert told in why_apart(number(n_train=4), record)


def test_a_row_without_a_published_number_says_so() -> None:
    row = ReproducedRow("t", "b", "t", "b")
    assert row.remarks() == ["no published number is known here"]
    assert replace(row, published=(number(note=""),)).remarks() == []


def test_where_a_row_stands() -> None:
    row = ReproducedRow("t", "b", "t", "b")
    lacks = Missing("data", "voc is missing", "densebench data prepare voc")
    assert (row.state, row.ready) == ("to run", True)
    assert (replace(row, missing=(lacks,)).state, replace(row, missing=(lacks,)).ready) == (
        "no data",
        False,
    )
    assert replace(row, failed="no memory").state == "failed"
    rows = (replace(row, missing=(lacks,)), replace(row, missing=(lacks,)), row)
    assert Reproduction("s", "d", "p", rows).missing() == {lacks: 2}
    assert str(lacks) == "voc is missing: densebench data prepare voc"
