"""`densebench leaderboard`."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("own_places")

COMMAND = (sys.executable, "-m", "densebench.cli")
SCRIPT = Path(sys.executable).with_name("densebench")
Cli = Callable[..., Any]


def test_partial_runs_are_told_and_hidden(run: Cli, score: Cli) -> None:
    assert "(partial run)" in score("--limit", 1).out
    assert run("leaderboard").out == "0 tables in leaderboard/README.md\n"
    assert run("leaderboard", "--partial").out == "1 table in leaderboard/README.md\n"
