"""Every number that a record says is computed again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from densebench.measures.base import Evidence
from densebench.records.evidence import opened
from densebench.records.schema import RunRecord
from densebench.records.store import EVIDENCE, beside
from densebench.submission.numbers import number_problems


def found(file: Path) -> list[str]:
    record = RunRecord(**json.loads(file.read_text()))
    return number_problems(record, opened(beside(file, EVIDENCE))[0])


METRIC = ("scores", 0, "metrics", 0)


@pytest.mark.parametrize(
    ("keys", "to"),
    [
        ((*METRIC, "value"), lambda v: v + 1e-6),
        ((*METRIC, "repeats", 0), lambda v: v + 1e-6),
        ((*METRIC, "interval", "low"), lambda v: v + 0.01),
        ((*METRIC, "interval", "high"), None),
        ((*METRIC, "interval", "n"), 100),
        ((*METRIC, "interval", "over"), "sequences"),
        ((*METRIC, "scale"), 1000.0),
        ((*METRIC, "decimals"), 1),
        ((*METRIC, "higher"), False),
        (("scores", 0, "metrics", 3, "value"), 1.0),
        (("scores", 0, "classes", "red"), 0.999),
        (("scores", 0, "confusion", 0, 0, 0), lambda v: v + 1),
        (("scores", 0, "confusion", 0, 0), [1, 2]),
    ],
)
def test_an_edited_number_is_found_though_its_checksum_fits(
    edit: Callable, keys: tuple[Any, ...], to: Any
) -> None:
    told = found(edit(*keys, to=to))
    assert told
    assert all(line.startswith("scores[0]") for line in told)


def test_other_resolutions_follow_from_their_matrices(edit: Callable) -> None:
    (told,) = found(edit("scores", 1, "metrics", 0, "value", to=0.9, task="tiny_linear"))
    assert told.startswith("scores[1].metrics[0] (miou).value is 0.9, and its evidence gives")


def test_runs_as_they_were_made_follow(record_file: Callable) -> None:
    for task in ("tiny_retrieval", "tiny_linear"):
        assert found(record_file(task)) == []


def test_an_unknown_metric_cannot_be_checked(edit: Callable) -> None:
    told = found(edit("scores", 0, "metrics", 3, "name", to="mine"))
    assert any("no package here has this metric" in line for line in told)


def test_many_differences_are_few_lines(record_file: Callable) -> None:
    file = record_file()
    record = RunRecord(**json.loads(file.read_text()))
    evidence, _ = opened(beside(file, EVIDENCE))
    other = Evidence(evidence.names, np.roll(evidence.vectors, 1, axis=2))
    told = number_problems(record, other)
    assert len(told) <= 9
    assert "more numbers are others" in told[-1]
