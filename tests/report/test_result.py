"""What an evaluation gives in Python."""

from pathlib import Path
from typing import Any

import pytest

from densebench.report.result import Result


@pytest.fixture
def result(kept_runs: dict[str, tuple[Any, Path]]) -> Result:
    return Result(*kept_runs["rgb_s14"])


def test_the_numbers_one_looks_at_first(result: Result) -> None:
    score = result.record.score
    assert (result.metric, result.value, result.miou) == ("miou", score.value, score.value)
    assert result.interval == (score.interval.low, score.interval.high)
    assert list(result.per_class) == ["red", "green", "blue"]
    assert f"mIoU {100 * result.value:.2f} %" in repr(result)
    assert "\n" not in repr(result)


def test_in_a_notebook(result: Result) -> None:
    html = result._repr_html_()
    assert html.startswith("<table><tr>") and html.endswith("</tr></table>")
    assert "rgb_s14" in html and "<th>red</th>" in html
    evil = result.record.model_copy(update={"task": "<script>"})
    assert "<script>" not in Result(evil, result.path)._repr_html_()


def test_another_metric_is_no_miou(result: Result) -> None:
    main = result.record.score.main.model_copy(update={"name": "rmse"})
    score = result.record.score.model_copy(update={"metrics": [main]})
    other = Result(result.record.model_copy(update={"scores": [score]}), result.path)
    with pytest.raises(AttributeError, match="measures rmse: see value"):
        _ = other.miou
