"""Tables side by side: whose mean goes over what."""

from collections.abc import Callable
from pathlib import Path

import pytest

from densebench.report.board.board import load_board
from densebench.report.formats.markdown import markdown_page

pytestmark = pytest.mark.usefixtures("own_places")

Keep = Callable[..., Path]


def test_a_mean_goes_over_tables_of_one_metric_alone(mixed: Path) -> None:
    accurate, erring = load_board(mixed).overall
    assert (accurate.metric.name, erring.metric.name) == ("miou", "rmse")
    assert [table.task for table in accurate.tables] == ["colours", "shapes"]
    assert [table.task for table in erring.tables] == ["depth", "far"]
    assert (accurate.title, erring.title) == ("reference, mIoU", "reference, RMSE")
    assert [row.label for row in accurate.rows] == ["sharp", "flat"]
    assert [row.label for row in erring.rows] == ["flat", "sharp"]
    assert erring.rows[0].mean == pytest.approx(0.4, abs=0.01)


class TestOverall:
    def test_the_mean_is_blank_where_a_task_is_missing(self, keep: Keep, results: Path) -> None:
        for task, a, b in (("t1", 0.4, 0.9), ("t2", 0.6, None)):
            keep(a, task=task, backbone={"name": "a"})
            if b is not None:
                keep(b, task=task, backbone={"name": "b"})
        (overall,) = load_board(results).overall
        assert [(row.label, row.mean) for row in overall.rows] == [("a", 0.5), ("b", None)]
        assert overall.headings == ("t1", "t2")
        last = markdown_page(load_board(results), results).split("\n\n")[5].splitlines()[-1]
        assert last.startswith("| b | [**90.00**](")
        assert last.endswith(") |  |  |")

    def test_other_protocols_have_columns_of_their_own(self, keep: Keep, results: Path) -> None:
        keep(0.4, backbone={"name": "a"})
        keep(0.6, backbone={"name": "a"}, protocol={"hash": "f" * 64})
        keep(0.8, backbone={"name": "b"}, protocol={"hash": "f" * 64})
        (overall,) = load_board(results).overall
        assert len(set(overall.headings)) == 2
        assert all(heading.startswith("tiny_retrieval (protocol ") for heading in overall.headings)
        assert {row.label: row.mean for row in overall.rows} == {"a": 0.5, "b": None}

    def test_variants_never_mix(self, keep: Keep, results: Path) -> None:
        keep(0.4)
        keep(0.6, protocol={"variant": "clean"})
        assert load_board(results).overall == ()

    def test_shares_of_the_training_images_stay_out(self, keep: Keep, results: Path) -> None:
        keep(0.4)
        keep(0.4, task="t2")
        keep(0.1, dataset={"subset": "1/2", "n_train": 2})
        (overall,) = load_board(results).overall
        assert overall.rows[0].mean == pytest.approx(0.4)
