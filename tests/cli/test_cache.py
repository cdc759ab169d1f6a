"""`densebench cache`."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("own_places")

COMMAND = (sys.executable, "-m", "densebench.cli")
SCRIPT = Path(sys.executable).with_name("densebench")
Cli = Callable[..., Any]


def test_features_are_kept_listed_and_cleared(run: Cli, score: Cli) -> None:
    score()
    lines = run("cache", "list").out.splitlines()
    assert "2/2 images  Squash 28  just now" in lines[0]
    assert "4/4 images  Squash 28  just now" in lines[1]
    assert lines[2].startswith("2 entries, 0.01 MB of 50.00 GB in ")
    key = lines[0].split()[0]
    assert run("cache", "clear", key).out.startswith("freed 0.00 MB")
    assert len(run("cache", "list").out.splitlines()) == 2
    run("cache", "clear")
    assert run("cache", "list").out.startswith("0 entries, 0.00 MB")
