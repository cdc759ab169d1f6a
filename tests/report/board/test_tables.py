"""One table, of any metric: its order, its tests, its bases."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from densebench.host.errors import DensebenchError
from densebench.records import store
from densebench.report.board import board, ranking
from densebench.report.board.board import Board, load_board
from densebench.report.board.pairs import compare_backbones

pytestmark = pytest.mark.usefixtures("own_places")

Keep = Callable[..., Path]


def orders(found: Board) -> dict[str, list[str]]:
    return {table.task: [row.label for row in table.rows] for table in found.tables}


class TestDirection:
    def test_the_best_is_first_whichever_way_is_better(self, mixed: Path) -> None:
        assert orders(load_board(mixed)) == {
            "colours": ["sharp", "flat"],
            "shapes": ["sharp", "flat"],
            "depth": ["flat", "sharp"],
            "far": ["flat", "sharp"],
        }

    def test_better_and_worse_go_with_it(self, mixed: Path) -> None:
        for table in load_board(mixed).tables:
            first, last = table.rows
            assert first.standing and first.standing.better_than == (1,)
            assert last.standing and last.standing.worse_than == (0,)

    def test_a_difference_to_the_base_keeps_its_sign(self, mixed: Path) -> None:
        by_task = {table.task: table for table in load_board(mixed).tables}
        for task, difference in (("colours", 0.3), ("depth", 0.2)):
            (row,) = [row for row in by_task[task].rows if row.label == "sharp"]
            assert row.base and row.base.difference == pytest.approx(difference, abs=0.1)
            assert row.base.comparison and row.base.comparison.low > 0

    def test_two_alone(self, mixed: Path) -> None:
        pair = compare_backbones("flat", "sharp", "depth", "reference", mixed)
        assert pair.comparison.difference < 0 and pair.classes == []
        told = pair.to_json()
        assert told["metric"]["higher"] is False
        assert told["first"]["rmse"] == pytest.approx(0.4, abs=0.01)

    def test_the_same_measure_under_another_rule_is_not_another(self, mixed: Path) -> None:
        by_task = {table.task: table for table in load_board(mixed).tables}
        assert [metric.name for metric in by_task["colours"].others] == ["pixel_accuracy"]
        assert [metric.name for metric in by_task["depth"].others] == ["near"]


class TestNumbers:
    def put(self, path: Path, change: Callable[[dict[str, Any]], None]) -> None:
        """Another number in a record's file, with the checksum that goes with it."""
        values = json.loads(path.read_text("utf-8"))
        change(values["scores"][0])
        values["checksum"] = store.checksum_of(values)
        path.write_text(json.dumps(values), "utf-8")

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_a_record_without_one_is_named(self, keep: Keep, results: Path, value: float) -> None:
        path = keep(0.5)
        self.put(path, lambda score: score["metrics"][0].update(value=value))
        with pytest.raises(DensebenchError, match=f"{path.name}: its mIoU is {value}"):
            load_board(results)

    def test_another_number_that_is_none_is_left_blank(self, keep: Keep, results: Path) -> None:
        nan = float("nan")

        def change(score: dict[str, Any]) -> None:
            score["metrics"][-1]["value"] = nan
            score["classes"] = {"red": nan, "green": 0.1, "blue": None}

        self.put(keep(0.5), change)
        ((row,),) = (table.rows for table in load_board(results).tables)
        assert (row.of("pixel_accuracy"), row.class_value("red")) == (None, None)
        assert (row.of("miou"), row.class_value("green")) == (0.5, 0.1)


class TestManyRows:
    def test_no_pairs_but_bases_and_it_is_said(
        self, keep: Keep, results: Path, pictures: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for module in (ranking, board):
            monkeypatch.setattr(module, "MOST_ROWS", 3)
        for number in range(4):
            card = {"adapted_from": "b0"} if number else {}
            images = pictures(0.4 + 0.1 * number)
            keep(backbone={"name": f"b{number}", "card": card}, images=images)
        told: list[str] = []
        monkeypatch.setattr(board, "MANY_ROWS", 2)
        (table,) = load_board(results, say=told.append).tables
        assert told == ["tiny_retrieval, reference: comparing 4 backbones, of more than 3 no pairs"]
        assert table.untested == (
            "the test of all pairs is made for at most 3 rows, and these are 4; `densebench "
            "compare` tests two alone"
        )
        assert [row.standing for row in table.rows] == [None] * 4
        assert [row.base.comparison is not None for row in table.rows if row.base] == [True] * 3

    @pytest.mark.slow
    def test_thousands_are_there_in_seconds(self, keep: Keep, results: Path) -> None:
        import time

        for number in range(1000):
            keep(0.5, backbone={"name": f"b{number}"})
        start = time.process_time()
        (table,) = load_board(results).tables
        assert len(table.rows) == 1000
        assert time.process_time() - start < 20
