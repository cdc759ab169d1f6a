"""`densebench ladder`: the rungs, one change at a time."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from densebench.host.errors import UnsuitedError
from densebench.host.watcher import Watcher
from densebench.papers import climbing
from densebench.records.ladders import LadderRecord
from densebench.run import done
from densebench.run.apart import Outcome
from densebench.run.execute import evaluate
from densebench.run.options import RunOptions

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


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[RunOptions]:
    """Runs in this process, and which of them were not read; a child would import torch each."""
    begun: list[RunOptions] = []

    def run(options: RunOptions, watcher: Watcher) -> Outcome:
        known = done.recall(options)
        if known is None:
            begun.append(options)
            try:
                known = evaluate(options, watcher)
            except UnsuitedError as error:
                return Outcome(options, None, None, str(error), unsuited=True)
        return Outcome(options, *known)

    monkeypatch.setattr(climbing, "run_apart", run)
    return begun


@pytest.mark.slow
def test_a_whole_climb_prints_json_alone_and_a_finished_one_computes_nothing(
    run: Cli, computed: list[RunOptions]
) -> None:
    command = ["ladder", "--backbone", "hog_s14", "--dataset", "scenes", "--limit", "16", "--json"]
    climbed = run(*command)
    assert climbed.code == 0, climbed.err
    found = LadderRecord.model_validate_json(climbed.out)
    first, *others = found.rungs
    assert found.partial and first.step is None and len(others) > 30
    skipped = [rung.name for rung in found.rungs if rung.metric is None]
    assert skipped == ["sliding_four_layers"]
    by_name = {rung.name: rung for rung in found.rungs}
    assert "gives no features of single blocks" in by_name[skipped[0]].skipped
    for before, rung in zip(found.rungs, others, strict=False):
        assert len(rung.changes) == len(rung.told) == 1
        if before.metric is None or rung.metric is None:
            assert rung.step is None
            continue
        step = rung.step
        assert step is not None and (step.over, step.n) == ("images", 16)
        assert step.difference == pytest.approx(rung.metric.value - before.metric.value)
        assert step.low <= step.difference <= step.high
    assert by_name["sliding_clean"].run_id == by_name["sliding_dropout"].run_id

    computed.clear()
    assert run(*command).out == climbed.out
    assert [options.params.get("layers") for options in computed] in ([], ["four_even"])


@pytest.mark.parametrize("limit", ["0", "-1"])
def test_no_limit_leaves_no_image(run: Cli, limit: str) -> None:
    asked = ("ladder", "--backbone", "hog_s14", "--dataset", "camvid", "--dry-run")
    assert "--limit is a number from 1" in run(*asked, "--limit", limit).error
