"""`densebench layers`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

pytestmark = pytest.mark.usefixtures("own_places")


@pytest.fixture
def command(run: Callable[..., Any], blocks: str, tiny_task: Path) -> Callable[..., Any]:
    where = ["--task", tiny_task, "--device", "cpu"]
    return lambda *words: run("layers", "--backbone", blocks, *where, *words)


def test_all_layers_are_ordinary_runs(
    command: Callable[..., Any], run: Callable[..., Any], blocks: str, tiny_task: Path
) -> None:
    found = json.loads(command("--json", "--svg", "depth.svg").out)
    assert [one["layer"] for one in found["layers"]] == [0, 1, 2]
    assert len(list(ElementTree.parse("depth.svg").getroot())) > 10
    words = ["run", "--backbone", blocks, "--task", tiny_task, "--device", "cpu", "--layers", "1"]
    again = run(*words)
    assert "already done" in again.err
    assert found["layers"][1]["run_id"] in again.out
    shown = command("--layers", "0,2", "--svg", "two.svg").out
    assert "by layer" in shown
    assert shown.endswith("drawn: two.svg\n")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--layers", "0,3"], "has the layers 0 to 2, not [3]"),
        (["--layers", "some"], "counted from 0"),
        (["--cache", "off"], "through the cache of features; it is off"),
        (["--set", "layers=four_last"], "leave one of them out (--set layers=last)"),
    ],
)
def test_what_is_wrong_is_one_line(
    command: Callable[..., Any], words: list[str], told: str
) -> None:
    assert told in command(*words).error


def test_several_processes_are_refused(
    command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "works in one process" in command().error
