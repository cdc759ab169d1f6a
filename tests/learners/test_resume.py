"""The checkpoint of a linear run: used where it fits, passed by with one line where it does not."""

import io
import os
import shutil

import pytest
import torch

from densebench.host.watcher import Watcher
from densebench.learners.resume import Checkpoint
from densebench.run.execute import evaluate
from densebench.run.options import RunOptions

PARAMS = {"input_size": 28, "mask_size": 20, "epochs": 4, "drop_at": 3, "batch_size": 4, "lr": 0.1}


class Listener(Watcher):
    """Keeps what is said, and ends a run when it says ``last``."""

    def __init__(self, last=None):
        self.lines, self._last = [], last

    def say(self, line):
        self.lines.append(line)
        if self._last and line.startswith(self._last):
            raise KeyboardInterrupt


def _run(colour_task, results, last=None):
    task = str(colour_task.with_name("linear.toml"))
    listener = Listener(last)
    _, path = evaluate(RunOptions("rgb_s14", task, params=PARAMS, results=results), listener)
    return path.with_suffix(".head.safetensors").read_bytes(), listener.lines


@pytest.fixture(scope="module")
def whole(colour_task, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DENSEBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        return _run(colour_task, tmp_path_factory.mktemp("whole"))[0]


@pytest.fixture
def interrupted(colour_task, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        _run(colour_task, tmp_path, last="epoch 2/4")
    return next(tmp_path.rglob("epoch.pt"))


def _changed(change):
    def damage(file):
        saved = torch.load(file, weights_only=True)
        change(saved)
        buffer = io.BytesIO()
        torch.save(saved, buffer)
        file.write_bytes(buffer.getvalue())

    return damage


DAMAGE = {
    "empty": lambda file: file.write_bytes(b""),
    "cut": lambda file: file.write_bytes(file.read_bytes()[:-500]),
    "no checkpoint": lambda file: file.write_bytes(b"something else"),
    "older layout": _changed(lambda saved: saved.pop("state")),
    "no dictionary": lambda file: torch.save([1, 2], file),
    "another run's": _changed(lambda saved: saved.update(run="0123456789ab")),
    "another head": _changed(
        lambda saved: saved["state"]["training"]["head"].update(
            {"classify.weight": torch.zeros(9, 9, 1, 1)}
        )
    ),
    "another best head": _changed(lambda saved: saved["state"]["best"].clear()),
    "too many epochs": _changed(lambda saved: saved["state"].update(history=[0.5] * 5)),
    "no epoch": _changed(lambda saved: saved["state"].update(history=[])),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_one_begins_anew(kind, colour_task, tmp_path, interrupted, whole):
    DAMAGE[kind](interrupted)
    head, lines = _run(colour_task, tmp_path)
    assert head == whole
    said = [line for line in lines if "epoch.pt" in line]
    assert said == [f"{interrupted} is of no use; the training begins anew"]
    assert sum(line.startswith("epoch ") for line in lines) == 4


def test_one_of_a_gpu_goes_on_without_one(colour_task, tmp_path, interrupted, whole, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(torch.serialization, "location_tag", lambda _: "cuda:0")
        _changed(lambda _: None)(interrupted)
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match="CUDA"):
            torch.load(interrupted, weights_only=True)
    head, lines = _run(colour_task, tmp_path)
    assert "going on after epoch 2 of 4" in lines
    assert head == whole


def test_a_folder_that_is_removed_while_it_is_written_to(tmp_path, monkeypatch):
    """As another process does that was at the same run, and has recorded it."""
    real, removed = os.fsync, []

    def remove_once(number):
        if not removed:
            removed.append(shutil.rmtree(tmp_path / "run"))
        real(number)

    monkeypatch.setattr(os, "fsync", remove_once)
    checkpoint = Checkpoint(tmp_path / "run")
    checkpoint.save({"epoch": 3})
    assert checkpoint.restore(lambda state: removed.append(state["epoch"]))
    assert removed == [None, 3]
