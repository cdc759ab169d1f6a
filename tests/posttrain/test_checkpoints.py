"""Checkpoints of a training: whole or not at all, the last few, never of another training."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from densebench.host.errors import DensebenchError
from densebench.posttrain.checkpoints import TrainingState, latest_state, save_state

IDENTITY = {"base backbone": "abc", "recipe": "{}"}


def state(step: int) -> TrainingState:
    return TrainingState(
        step=step,
        identity=IDENTITY,
        student={"w": torch.arange(3.0) + step},
        teacher={"w": torch.arange(3.0)},
        queue={"patches": torch.zeros(2, 3), "entered": torch.tensor([step, 2])},
        optimiser={"state": {0: {"step": torch.tensor(2.0)}}, "param_groups": [{"lr": 0.1}]},
        unreadable={"a.png": "broken"},
    )


def test_comes_back_as_it_was(tmp_path: Path) -> None:
    path = save_state(tmp_path / "new/folder", state(7), keep=2)
    found = latest_state(path.parent, IDENTITY)
    for field in dataclasses.fields(TrainingState):
        assert repr(getattr(found, field.name)) == repr(getattr(state(7), field.name))


def test_the_last_few_are_kept(tmp_path: Path) -> None:
    for step in (2, 4, 9, 10):
        save_state(tmp_path, state(step), keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000009.pt", "step-00000010.pt"]
    assert latest_state(tmp_path, IDENTITY).step == 10


WRITER = """
import os, signal, sys
from pathlib import Path
import torch
from densebench.posttrain.checkpoints import TrainingState, save_state

class Deadly:
    def __reduce__(self):
        os.kill(os.getpid(), signal.SIGKILL)

state = TrainingState(6, {}, {"w": torch.zeros(300_000), "x": Deadly()}, {}, {}, {}, {})
save_state(Path(sys.argv[1]), state, keep=1)
"""


def test_killed_while_writing_leaves_the_one_before(tmp_path: Path) -> None:
    save_state(tmp_path, state(4), keep=1)
    killed = subprocess.run([sys.executable, "-c", WRITER, tmp_path], check=False)
    assert killed.returncode == -9
    assert len(list(tmp_path.glob("*.part"))) == 1
    assert latest_state(tmp_path, IDENTITY).step == 4
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000004.pt"]


def test_no_space_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_state(tmp_path, state(4), keep=1)

    def full(content: object, file: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space"):
        save_state(tmp_path, state(6), keep=1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000004.pt"]


def test_what_cannot_be_gone_on_from(tmp_path: Path) -> None:
    with pytest.raises(DensebenchError, match="no checkpoint to go on from"):
        latest_state(tmp_path, IDENTITY)
    path = save_state(tmp_path, state(4), keep=2)
    for key in IDENTITY:
        with pytest.raises(DensebenchError, match=f"of a training with another {key}"):
            latest_state(tmp_path, {**IDENTITY, key: "other"})
    later = save_state(tmp_path, state(6), keep=2)
    later.write_bytes(later.read_bytes()[:-200])
    with pytest.raises(DensebenchError, match="remove it to go on from the one before") as caught:
        latest_state(tmp_path, IDENTITY)
    assert str(later) in str(caught.value)
    later.unlink()
    assert latest_state(tmp_path, IDENTITY).step == 4
    assert path.exists()


def test_a_bit_that_changed_is_seen(tmp_path: Path) -> None:
    path = save_state(tmp_path, state(4), keep=2)
    content = bytearray(path.read_bytes())
    content[content.index(torch.arange(3.0).numpy().tobytes()) + 1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DensebenchError, match="not a readable checkpoint; remove it"):
        latest_state(tmp_path, IDENTITY)


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    script = (
        WRITER.partition("class Deadly")[0]
        + """
import resource, torch
from densebench.host.errors import DensebenchError
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
state = TrainingState(6, {}, {"w": torch.zeros(300_000)}, {}, {}, {}, {})
try:
    save_state(Path(sys.argv[1]), state, keep=1)
except (DensebenchError, OSError) as error:
    print(error)
"""
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=False
    )
    assert "step-00000006.pt" in done.stdout, done.stderr
    assert len(done.stdout.splitlines()) == 1 and not done.stderr
    assert not list(tmp_path.iterdir())
