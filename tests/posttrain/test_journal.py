"""The log: lines, what a resumed training keeps of them, TensorBoard."""

import sys
from pathlib import Path

import pytest

from densebench.host.errors import DensebenchError
from densebench.posttrain.journal import Journal, read_journal


def write(file: Path, steps: range, done: int = 0) -> None:
    journal = Journal(file, done)
    for step in steps:
        journal.write(step, loss=step / 2)
    journal.close()


def test_lines_come_back(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    write(file, range(1, 4))
    assert read_journal(file) == [{"step": step, "loss": step / 2} for step in (1, 2, 3)]
    assert read_journal(tmp_path / "none.jsonl") == []


def test_lines_are_there_at_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "log.jsonl")
    journal.write(1, unreadable="a.png", reason="é\n")
    assert read_journal(tmp_path / "log.jsonl")[0]["reason"] == "é\n"
    journal.close()


def test_steps_that_will_be_repeated_are_left_out(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    write(file, range(1, 6))
    with file.open("a") as cut_off:
        cut_off.write('{"step": 6, "lo')
    write(file, range(4, 7), done=3)
    assert [line["step"] for line in read_journal(file)] == [1, 2, 3, 4, 5, 6]
    write(file, range(1, 3))
    assert [line["step"] for line in read_journal(file)] == [1, 2]


def test_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    journal = Journal(tmp_path / "log.jsonl", tensorboard=tmp_path / "board")
    for step in (1, 2):
        journal.write(step, loss=step / 4, unreadable="text is for the log alone")
    journal.close()
    events = EventAccumulator(str(tmp_path / "board")).Reload()
    assert events.Tags()["scalars"] == ["posttrain/loss"]
    shown = [(event.step, event.value) for event in events.Scalars("posttrain/loss")]
    assert shown == [(1, 0.25), (2, 0.5)]


def test_tensorboard_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(DensebenchError, match=r"pip install 'densebench\[tensorboard\]'"):
        Journal(tmp_path / "log.jsonl", tensorboard=tmp_path / "board")
