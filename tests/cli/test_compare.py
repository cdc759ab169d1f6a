"""`densebench compare`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("own_places")
Cli = Callable[..., Any]


def test_two_records_by_their_files(run: Cli, kept_runs: dict[str, tuple[Any, Path]]) -> None:
    (first, one), (second, other) = kept_runs["rgb_s14"], kept_runs["hog_s14"]
    told = json.loads(run("compare", one, other, "--json").out)
    assert told["difference"] == pytest.approx(first.score.value - second.score.value, abs=1e-12)
    assert [told[side]["backbone"] for side in ("first", "second")] == ["rgb_s14", "hog_s14"]
    shown = run("compare", one, other)
    assert shown.code == 0
    assert "rgb_s14" in shown.out and "hog_s14" in shown.out


def test_a_record_that_is_not_there(run: Cli) -> None:
    done = run("compare", "rgb_s14", "hog_s14", "--task", "scenes_incontext")
    assert "no such folder of records" in done.error
