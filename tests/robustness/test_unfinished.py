"""The state of an unfinished training, damaged since: it goes on, or begins anew and says so."""

import io
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch

COMMAND = ["run", "--backbone", "net.py:make", "--task", "data/linear.toml", "--results", "new"]
Change = Callable[[dict[str, Any]], object]


def die_after_an_epoch() -> None:
    """As soon as the state after the first epoch is kept."""

    def watch(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "return" and code.co_name == "save" and "resume.py" in code.co_filename:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(watch)


@pytest.fixture(scope="session")
def halfway(finished: Path, going: type, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state that a run left which was killed after its first epoch."""
    place = Path(
        shutil.copytree(finished, tmp_path_factory.mktemp("halfway") / "place", symlinks=True)
    )
    assert going(place, COMMAND, first=die_after_an_epoch).ended().code == -signal.SIGKILL
    (file,) = place.glob("new/.unfinished/*/epoch.pt")
    return file


def within(*keys: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def find(saved: dict[str, Any]) -> dict[str, Any]:
        for key in keys:
            saved = saved[key]
        return saved

    return find


def put(place: Callable, key: str, value: Any) -> Change:
    return lambda saved: place(saved).update({key: value})


def gone(place: Callable, key: str) -> Change:
    return lambda saved: place(saved).pop(key)


def tensors(change: Callable[[torch.Tensor], object], *keys: str) -> Change:
    def each(saved: dict[str, Any]) -> None:
        part = within(*keys)(saved)
        part.update({k: change(v) if torch.is_tensor(v) else v for k, v in part.items()})

    return each


TOP, STATE = within(), within("state")
TRAINING, BEST = within("state", "training"), within("state", "best")
PARTS = {"top": (TOP, ("run", "state")), "state": (STATE, ("history", "best", "training"))}
VALUES: dict[str, Any] = {"none": None, "text": "text", "list": [], "number": 7, "table": {}}
CHANGES: dict[str, Change] = {
    **{f"no {key}": gone(place, key) for place, keys in PARTS.values() for key in keys},
    **{
        f"{key} is {name}": put(place, key, value)
        for place, keys in PARTS.values()
        for key in keys
        for name, value in VALUES.items()
        if (key, name) != ("history", "list")
    },
    "another run": put(TOP, "run", "other"),
    "no keys": dict.clear,
    "a long history": put(STATE, "history", [0.1] * 99),
    "a history of text": put(STATE, "history", ["x"]),
    "a history of nan": put(STATE, "history", [float("nan")]),
    "no optimiser": gone(TRAINING, "optimiser"),
    "no head": lambda saved: [TRAINING(saved).pop(k) for k in list(TRAINING(saved))],
    "best of another shape": tensors(lambda t: torch.zeros(2, 2), "state", "best"),
    "best that is no tensor": tensors(lambda t: "x", "state", "best"),
    "best of one name": lambda saved: BEST(saved).update({"more": torch.zeros(1)}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_state_with_other_values(
    attempt: Callable, place: Path, halfway: Path, change: str
) -> None:
    """The record is the one of an unbroken run."""
    saved = torch.load(halfway, weights_only=True)
    CHANGES[change](saved)
    content = io.BytesIO()
    torch.save(saved, content)
    done, new = go_on(attempt, place, halfway, lambda file: file.write_bytes(content.getvalue()))
    assert "begins anew" in done.err
    assert new == of_the_unbroken(place)


BYTES = [(part, how) for part in range(1, 20) for how in ("cut", "flipped")]


@pytest.mark.parametrize(("part", "how"), BYTES, ids=[f"{how}-{part}" for part, how in BYTES])
def test_a_state_that_is_damaged_somewhere(
    attempt: Callable, place: Path, halfway: Path, part: int, how: str
) -> None:
    content = bytearray(halfway.read_bytes())
    at = len(content) * part // 20
    if how == "cut":
        del content[at:]
    else:
        content[at] ^= 255
    done, new = go_on(attempt, place, halfway, lambda file: file.write_bytes(content))
    assert how == "flipped" or "begins anew" in done.err
    assert new == of_the_unbroken(place)


def test_a_state_that_is_whole_is_gone_on_from(
    attempt: Callable, place: Path, halfway: Path
) -> None:
    done, new = go_on(attempt, place, halfway, lambda file: shutil.copy(halfway, file))
    assert "begins anew" not in done.err
    assert new == of_the_unbroken(place)


def go_on(
    attempt: Callable, place: Path, halfway: Path, write: Callable[[Path], object]
) -> tuple[Any, Any]:
    folder = place / "new/.unfinished" / halfway.parent.name
    folder.mkdir(parents=True)
    write(folder / "epoch.pt")
    done = attempt(*COMMAND, may_work=True)
    assert done.code == 0, done.err
    (new,) = (place / "new").glob("**/net.py*/**/*.json")
    return done, json.loads(new.read_text())["scores"]


def of_the_unbroken(place: Path) -> Any:
    (record,) = (place / "results").glob("**/net.py*/**/*.json")
    return json.loads(record.read_text())["scores"]
