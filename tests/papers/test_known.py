"""Which records answer a row of a suite."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from densebench.papers.planned import plan_reproduction
from densebench.records.schema import RunRecord
from densebench.records.store import save_record
from densebench.report.board.reproduced import ReproducedRow
from densebench.run.options import RunOptions

pytestmark = pytest.mark.usefixtures("own_places")


class TestWhatCountsAsDone:
    @pytest.fixture
    def base(self) -> RunOptions:
        return RunOptions("", "", results=Path("kept"))

    def planned(self, card: Path, base: RunOptions) -> ReproducedRow:
        return plan_reproduction(str(card), base).rows[0]

    def test_a_whole_run_by_the_cards_rules(
        self, suite: Callable[..., Path], tiny_record: RunRecord, base: RunOptions
    ) -> None:
        path = save_record(tiny_record, base.results)
        assert self.planned(suite(), base).found == (path, tiny_record)

    @pytest.mark.parametrize(
        ("part", "changes"),
        [
            ("", {"partial": True}),
            ("", {"seed": 1}),
            ("", {"precision": "bf16"}),
            ("", {"task": "another"}),
            ("protocol", {"variant": "clean"}),
            ("protocol", {"version": 1}),
            ("dataset", {"skipped": {"a": "b"}}),
            ("dataset", {"train_names": ["a"]}),
            ("backbone", {"name": "rgb_s14@mine"}),
        ],
    )
    def test_another_run_does_not(
        self,
        suite: Callable[..., Path],
        tiny_record: RunRecord,
        base: RunOptions,
        part: str,
        changes: dict[str, Any],
    ) -> None:
        values = tiny_record.model_dump()
        (values[part] if part else values).update(changes)
        save_record(RunRecord.model_validate(values), base.results)
        row = self.planned(suite(), base)
        assert row.found is None
        assert row.ready

    def test_nor_one_with_other_parameters_or_another_card(
        self, suite: Callable[..., Path], tiny_record: RunRecord, base: RunOptions
    ) -> None:
        values = tiny_record.model_dump()
        values["protocol"]["params"]["beta"] = 0.5
        save_record(RunRecord.model_validate(values), base.results)
        values = tiny_record.model_dump() | {"run_id": "000000000001"}
        values["backbone"]["card"]["patch_size"] = 7
        save_record(RunRecord.model_validate(values), base.results)
        assert self.planned(suite(), base).found is None
