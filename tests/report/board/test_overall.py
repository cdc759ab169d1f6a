"""Tables side by side: whose mean goes over what."""

from pathlib import Path

import pytest

from densebench.report.board.board import load_board

pytestmark = pytest.mark.usefixtures("own_places")


def test_a_mean_goes_over_tables_of_one_metric_alone(mixed: Path) -> None:
    accurate, erring = load_board(mixed).overall
    assert (accurate.metric.name, erring.metric.name) == ("miou", "rmse")
    assert [table.task for table in accurate.tables] == ["colours", "shapes"]
    assert [table.task for table in erring.tables] == ["depth", "far"]
    assert (accurate.title, erring.title) == ("reference, mIoU", "reference, RMSE")
    assert [row.label for row in accurate.rows] == ["sharp", "flat"]
    assert [row.label for row in erring.rows] == ["flat", "sharp"]
    assert erring.rows[0].mean == pytest.approx(0.4, abs=0.01)
