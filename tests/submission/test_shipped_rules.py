"""A record is of a task as it ships, under the ids that follow from it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from densebench.records.schema import RunRecord
from densebench.submission.shipped_rules import own_task, rule_problems


def found(file: Path) -> str:
    return "\n".join(rule_problems(RunRecord(**json.loads(file.read_text()))))


@pytest.mark.parametrize(
    ("keys", "to", "told"),
    [
        (("task",), "mine", "none of densebench's own"),
        (("task",), "../tasks/tiny_retrieval", "none of densebench's own"),
        (("protocol", "name"), "linear", "protocol.name is linear"),
        (("protocol", "variant"), "mine", "the variants reference, clean"),
        (("protocol", "version"), 1, "protocol.version is 1"),
        (("protocol", "params", "beta"), 0.5, "protocol.params.beta is 0.5"),
        (("protocol", "params", "more"), 1, "protocol.params.more is 1"),
        (("protocol", "input_size"), 56, "protocol.input_size is 56"),
        (("protocol", "as_shipped"), False, "as_shipped is false"),
        (("protocol", "hash"), "0" * 64, "protocol.hash is 000000000000"),
        (("run_id",), "0" * 12, "run_id is 000000000000"),
        (("seed",), 7, "run_id is"),
        (("precision",), "fp16", "run_id is"),
        (("backbone", "fingerprint"), "0" * 64, "run_id is"),
        (("dataset", "fingerprint"), "0" * 64, "run_id is"),
        (("limit",), 3, "run_id is"),
        (("scores", 0, "resolution"), "original", "scores are at original"),
        (("scores", 0, "metrics", 0, "parameters", "absent"), "nan", "scores[0].metrics are not"),
        (("scores", 0, "classes"), {"red": 1.0}, "scores[0].classes are not"),
    ],
)
def test_what_differs_is_named(edit: Callable, keys: tuple[Any, ...], to: Any, told: str) -> None:
    assert told in found(edit(*keys, to=to))


def test_runs_as_they_were_made_differ_in_nothing(record_file: Callable) -> None:
    assert found(record_file()) == found(record_file("tiny_linear")) == ""


def test_only_own_tasks_are_found(own: Path) -> None:
    task = own_task("tiny_retrieval")
    assert task is not None and task.folder == (own / "tasks").resolve()
    assert own_task("scenes_incontext") is None  # which is none of these cards
