"""A small ladder of a baseline, climbed once and read ever after."""

import json
from pathlib import Path
from typing import Any

import pytest

from densebench import api
from densebench.host.errors import DensebenchError
from densebench.host.watcher import Watcher
from densebench.measures.comparison import Comparison
from densebench.papers import climbing
from densebench.papers.climbing import climb, plan_ladder
from densebench.records.ladders import load_ladders
from densebench.records.store import load_records
from densebench.report.board.board import load_board
from densebench.report.formats.html import html_page
from densebench.run.apart import Outcome
from densebench.run.execute import evaluate
from densebench.run.options import RunOptions

LADDER = """name = "tiny_ladder"
description = "two heads"

[[rung]]
name = "ten"
task = "knn.toml"
variant = "clean"
params = { ks = [3], distances = ["L2"] }

[[rung]]
name = "head"
task = "logreg.toml"
variant = "clean"
factor = "head"
changes = ["protocol"]
published = [{ backbone = "theirs", value = 12.5, source = "A paper" }]

[[rung]]
name = "back"
task = "knn.toml"
variant = "clean"
factor = "head"
changes = ["protocol"]
params = { ks = [3], distances = ["L2"] }
"""


@pytest.fixture
def ladder(own_places: Path, write_dataset: Any) -> Path:
    folder = write_dataset(own_places / "data", 6, 4).parent
    head = (folder / "linear.toml").read_text().split("[params]")[0]
    for name, params in (("knn", ""), ("logreg", "C = [1.0]\n")):
        text = head.replace('"linear"', f'"{name}"').replace("tiny_linear", f"tiny_{name}")
        (folder / f"{name}.toml").write_text(f"{text}[params]\ninput_size = 28\n{params}")
    (folder / "tiny.toml").write_text(LADDER)
    return folder / "tiny.toml"


@pytest.fixture
def in_here(monkeypatch: pytest.MonkeyPatch) -> list[RunOptions]:
    """Runs in this process, counted; a child would import torch each time."""
    done: list[RunOptions] = []

    def run(options: RunOptions, watcher: Watcher) -> Outcome:
        done.append(options)
        return Outcome(options, *evaluate(options, watcher))

    monkeypatch.setattr(climbing, "run_apart", run)
    return done


def test_rungs_are_ordinary_runs_and_a_second_climb_computes_nothing(
    ladder: Path, in_here: list[RunOptions], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = RunOptions("rgb_s14", "", results=Path("results"), device="cpu")
    before = plan_ladder(str(ladder), base)
    assert [rung.metric for rung in before.rungs] == [None] * 3
    assert not Path("results").exists()
    found = climb(str(ladder), base, Watcher())
    assert len(in_here) == 2  # of three rungs, two of which are one run
    kept = {record.run_id: record for _, record in load_records(Path("results"))}
    for rung in found.rungs:
        record = kept[rung.run_id]
        assert rung.metric == record.score.main
        assert (Path("results") / rung.record).is_file()
    first, head, back = found.rungs
    assert first.step is None and head.step is not None and back.step is not None
    assert head.metric and first.metric
    assert head.step.difference == pytest.approx(head.metric.value - first.metric.value)
    assert back.step.difference == -head.step.difference
    assert head.step.low <= head.step.difference <= head.step.high
    assert (head.step.over, head.step.n) == ("images", 4)
    assert head.told == ("protocol: knn -> logreg",)
    assert head.published[0].value == 12.5
    assert load_ladders(Path("results")) == [found]

    monkeypatch.setattr(climbing, "run_apart", None)
    assert api.ladder(str(ladder), base, dry_run=True) == found


def test_it_is_a_figure_of_the_page(ladder: Path, in_here: list[RunOptions]) -> None:
    base = RunOptions("rgb_s14", "", results=Path("results"), device="cpu")
    found = climb(str(ladder), base, Watcher())
    board = load_board(Path("results"))
    assert board.ladders == (found,)
    text = html_page(board, Path())
    assert '<section id="ladder"' in text
    data = json.loads(text.split('id="data">')[1].split("</script>")[0])
    assert data["ladders"] == [found.model_dump(mode="json")]


def test_a_rung_that_fails_says_why_and_the_others_go_on(
    ladder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(options: RunOptions, watcher: Watcher) -> Outcome:
        if "logreg" in options.task:
            return Outcome(options, None, None, "no luck")
        return Outcome(options, *evaluate(options, watcher))

    monkeypatch.setattr(climbing, "run_apart", run)
    base = RunOptions("rgb_s14", "", results=Path("results"), device="cpu")
    found = climb(str(ladder), base, Watcher())
    assert [rung.failed for rung in found.rungs] == ["", "no luck", ""]
    assert [rung.step for rung in found.rungs] == [None] * 3


def test_what_a_backbone_cannot_do_is_passed_by_and_said_in_a_line(
    ladder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not as a failure; the process of the run tells it by its exit code."""
    text = ladder.read_text().split("\n[[rung]]")
    ladder.write_text(
        "[[rung]]".join(text[:2]).replace("ks = [3]", 'layers = "four_even", ks = [3]')
    )
    base = RunOptions("rgb_s14", "", results=Path("results"), device="cpu")
    (rung,) = climb(str(ladder), base, Watcher()).rungs
    assert rung.skipped == "rgb_s14: gives no features of single blocks; use layers=last"
    assert (rung.failed, rung.metric) == ("", None)


def test_rungs_after_the_one_that_is_named_are_read_and_not_run(
    ladder: Path, in_here: list[RunOptions]
) -> None:
    base = RunOptions("rgb_s14", "", results=Path("results"), device="cpu")
    found = climb(str(ladder), base, Watcher(), until="ten")
    assert len(in_here) == 1
    first, head, back = found.rungs
    assert (head.metric, head.failed, head.skipped) == (None, "", "")
    assert back.run_id == first.run_id  # which is there, as it is the same run
    with pytest.raises(DensebenchError, match=r"no rung 'hea' \(did you mean 'head'\?\)"):
        climb(str(ladder), base, Watcher(), until="hea")


def test_what_there_is_not(ladder: Path) -> None:
    with pytest.raises(DensebenchError, match=r"unknown ladder 'vo_ladder'.*voc_ladder"):
        plan_ladder("vo", RunOptions("rgb_s14", ""))
    with pytest.raises(DensebenchError, match="rgb_s15"):
        plan_ladder(str(ladder), RunOptions("rgb_s15", ""))


def test_the_difference_is_the_rungs_less_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def compared(first: Any, second: Any) -> Comparison:
        seen.append((first, second))
        return Comparison(0, 0, 0, 1, 0.95, "images", 2)

    monkeypatch.setattr(climbing, "compare_rules", compared)
    climbing._step("before", "after")  # type: ignore[arg-type]
    assert seen == [("after", "before")]
