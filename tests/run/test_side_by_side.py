"""Jobs on several GPUs, which here are the processor by other names."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from densebench.host.watcher import Watcher
from densebench.records.store import load_record
from densebench.run import jobs, side_by_side
from densebench.run.apart import Outcome
from densebench.run.crew import Share
from densebench.run.execute import evaluate
from densebench.run.jobs import wanted_runs, work
from densebench.run.matrix import run_matrix
from densebench.run.options import RunOptions
from densebench.run.side_by_side import SideBySide


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of GPUs that the machine seems to have."""
    names = ["0", "1"]
    monkeypatch.setattr(
        jobs, "usable_gpus", lambda device: names if device in ("auto", "cuda") else []
    )
    return names


@pytest.mark.usefixtures("own_places", "gpus")
@pytest.mark.slow
def test_a_matrix_runs_on_each_and_gives_the_same_numbers(
    colour_task: Path, tmp_path: Path, ear: Any
) -> None:
    task = str(colour_task)
    base = RunOptions("", "", results=tmp_path / "results", cache="off", batch_size=2)
    outcomes = run_matrix(base, ["rgb_s14", "absent", "hog_s14"], [task], [0], ear)
    assert [outcome.record is None for outcome in outcomes] == [False, True, False]
    assert "absent" in outcomes[1].reason
    for outcome in outcomes[::2]:
        alone, _ = evaluate(
            RunOptions(outcome.options.backbone, task, results=tmp_path / "alone", device="cpu")
        )
        assert outcome.record is not None
        assert outcome.record.scores == alone.scores
        assert outcome.record.processes == 1
    assert ear.lines[0] == "2 GPUs: 2 runs at a time, a process on each GPU"
    assert {line.partition("seed 0, ")[2] for line in ear.lines} >= {"on GPU 0", "on GPU 1"}
    assert any(line.startswith("[3/3] memory: about") for line in ear.lines)


@pytest.mark.usefixtures("own_places", "gpus")
def test_one_run_takes_all(colour_task: Path, tmp_path: Path, ear: Any) -> None:
    options = RunOptions("hog_s14", str(colour_task), results=tmp_path / "all", batch_size=2)
    (outcome,) = work([options], ear)
    assert outcome.record is not None, outcome.reason
    assert outcome.record.processes == 2
    alone, _ = evaluate(RunOptions("hog_s14", str(colour_task), results=tmp_path / "alone"))
    assert (outcome.record.run_id, outcome.record.scores) == (alone.run_id, alone.scores)
    assert "2 GPUs: a process on each; --device cuda:0 takes one alone" in ear.lines
    assert outcome.path is not None
    assert load_record(outcome.path).processes == 2


class Machine:
    """Notes which runs are at work on what, and ends one as it is told."""

    def __init__(self, fails_at: int = -1) -> None:
        self.given: list[tuple[int, tuple[str, ...], bool]] = []
        self._fails_at = fails_at

    def run_apart(self, run: RunOptions, watcher: Watcher, share: Share, hear: Any) -> Outcome:
        self.given.append((run.seed, share.gpus, share.stop.is_set()))
        if run.seed == self._fails_at:
            raise KeyboardInterrupt
        return Outcome(run, None, None, str(run.seed))


def side_by_side_on(
    names: Sequence[str], machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> dict[int, Outcome]:
    monkeypatch.setattr(side_by_side, "run_apart", machine.run_apart)
    runs = wanted_runs(RunOptions("", ""), ["a", "b"], ["scenes_linear"], range(3))
    return SideBySide(runs, names, Watcher()).outcomes([runs[:3], runs[3:]])


def test_a_job_stays_on_its_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine()
    found = side_by_side_on(["0", "1", "2", "3"], machine, monkeypatch)
    assert [found[place].reason for place in range(6)] == ["0", "1", "2"] * 2
    assert sorted({gpus for _, gpus, _ in machine.given}) == [("0", "1"), ("2", "3")]


def test_an_interruption_ends_what_runs_and_begins_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine = Machine(fails_at=1)
    with pytest.raises(KeyboardInterrupt):
        side_by_side_on(["0"], machine, monkeypatch)
    assert [seed for seed, *_ in machine.given][:2] == [0, 1]
    assert 2 not in [seed for seed, *_ in machine.given][:3]
