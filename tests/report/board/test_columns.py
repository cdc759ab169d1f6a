"""How the values of one metric print, and which of them is the best."""

import pytest

from densebench.records.schema import IntervalRecord, MetricScore
from densebench.report.board.columns import (
    bracket,
    class_title,
    described,
    gain,
    heading,
    marks,
    signed,
)

PER_CENT = {"unit": "%", "higher": True, "scale": 100, "decimals": 2, "value": 0.5, "repeats": []}
MIOU = MetricScore(name="miou", title="mIoU", **PER_CENT)
ACCURACY = MetricScore(name="pixel_accuracy", title="pixel accuracy", **PER_CENT)
RMSE = MetricScore(
    name="rmse", title="RMSE", unit="m", higher=False, scale=1, decimals=3, value=0.5, repeats=[]
)


class TestMarks:
    def test_equal_prints_are_marked_alike(self) -> None:
        values = [0.50001, 0.5, 0.4, None, 0.3, 0.40004]
        assert marks(MIOU, values) == ["best", "best", "second", "", "", "second"]
        assert marks(MIOU, [None]) == [""]

    def test_the_lowest_is_the_best_where_less_is_better(self) -> None:
        assert marks(RMSE, [0.5, 0.4, None, 1.25]) == ["second", "best", "", ""]


class TestTexts:
    def test_scale_and_decimals_are_the_metrics(self) -> None:
        interval = IntervalRecord(low=0.4, high=0.6, level=0.95)
        assert (MIOU.text(0.12345), signed(MIOU, -0.012)) == ("12.35", "-1.20")
        assert (RMSE.text(0.12345), signed(RMSE, 0.012)) == ("0.123", "+0.012")
        assert (bracket(MIOU, interval), bracket(RMSE, interval)) == (
            "[40.00, 60.00]",
            "[0.400, 0.600]",
        )
        assert bracket(RMSE, None) == ""

    def test_a_unit_that_is_not_per_cent_stands_in_the_heading(self) -> None:
        assert (heading(MIOU), heading(RMSE)) == ("mIoU", "RMSE (m)")

    def test_what_is_said_of_several(self) -> None:
        assert described([MIOU, ACCURACY]) == "mIoU and pixel accuracy in per cent"
        third = MIOU.model_copy(update={"title": "IoU"})
        assert described([MIOU, RMSE, third, ACCURACY]) == (
            "mIoU, IoU and pixel accuracy in per cent; RMSE in m, lower is better"
        )

    @pytest.mark.parametrize(
        ("title", "told"),
        [("mIoU", "IoU"), ("pixel accuracy", "pixel accuracy"), ("mean", "mean")],
    )
    def test_what_single_classes_have(self, title: str, told: str) -> None:
        assert class_title(MIOU.model_copy(update={"title": title})) == told


def test_less_is_a_gain_where_less_is_better() -> None:
    assert gain(MIOU, -0.1) < 0 < gain(RMSE, -0.1)
