"""`densebench ladder`: the rungs, one change at a time."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("own_places")
Cli = Callable[..., Any]


def test_a_dry_run_shows_every_rung_and_what_it_changes(run: Cli) -> None:
    done = run("ladder", "--backbone", "hog_s14", "--dataset", "camvid", "--dry-run", "--json")
    assert done.code == 0
    found = json.loads(done.out)
    first, *others = found["rungs"]
    assert first["changes"] == []
    assert len(others) > 10
    for rung in others:
        (change,) = rung["changes"]
        (told,) = rung["told"]
        assert told.startswith(f"{change}: ")
        assert rung["factor"]
    assert not Path("leaderboard").exists()
    shown = run("ladder", "--backbone", "hog_s14", "--dataset", "camvid", "--dry-run").out
    assert "to run" in shown


def test_of_several_processes_none_begins(run: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    told = run("ladder", "--backbone", "hog_s14", "--dataset", "scenes").error
    assert "works in one process" in told


def test_a_dataset_without_a_ladder(run: Cli) -> None:
    told = run("ladder", "--backbone", "hog_s14", "--dataset", "camvi", "--dry-run").error
    assert "did you mean 'camvid_ladder'" in told
