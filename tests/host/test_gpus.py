"""Which GPUs there are, by the environment and by torch, and who is given which."""

import sys
from pathlib import Path

import pytest
import torch

from densebench.host import gpus
from densebench.host.gpus import VISIBLE, named_gpus, shared_out, usable_gpus


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of devices of a machine in which torch finds three."""
    monkeypatch.delenv(VISIBLE, raising=False)
    monkeypatch.setattr(gpus, "DEVICES", tmp_path)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    return tmp_path


@pytest.mark.parametrize("file", ["nvidia0", "kfd", "dxg"])
def test_where_there_is_a_driver_torch_counts(found: Path, file: str) -> None:
    assert named_gpus() == []
    (found / file).touch()
    assert named_gpus() == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("seen", "names"), [("", []), ("1", ["1"]), ("0, 2", ["0", "2"]), ("a,b,c,d", ["a", "b", "c"])]
)
def test_what_the_environment_names(
    found: Path, monkeypatch: pytest.MonkeyPatch, seen: str, names: list[str]
) -> None:
    (found / "nvidia0").touch()
    monkeypatch.setenv(VISIBLE, seen)
    assert usable_gpus("auto") == usable_gpus("cuda") == names
    assert usable_gpus("cpu") == usable_gpus("cuda:1") == []


def test_torch_is_not_loaded_for_none_or_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpus, "DEVICES", tmp_path)
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delenv(VISIBLE, raising=False)
    assert usable_gpus("auto") == []
    monkeypatch.setenv(VISIBLE, "7")
    assert usable_gpus("auto") == ["7"]


@pytest.mark.parametrize(
    ("names", "count", "parts"),
    [
        ("", 2, ["", ""]),
        ("01", 1, ["01"]),
        ("01", 3, ["0", "1", "0"]),
        ("01234", 2, ["01", "234"]),
        ("0123", 4, ["0", "1", "2", "3"]),
    ],
)
def test_shares(names: str, count: int, parts: list[str]) -> None:
    assert shared_out(names, count) == [tuple(part) for part in parts]
