"""`densebench leaderboard`."""

import json
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


def test_partial_runs_of_other_limits_have_names_hashes_and_a_mark_of_their_own(
    run: Cli, score: Cli
) -> None:
    limits = (None, 1, 2)
    records = [
        json.loads(score("--json", *(("--limit", limit) if limit else ())).out) for limit in limits
    ]
    assert [record["limit"] for record in records] == list(limits)
    assert len({record["run_id"] for record in records}) == 3
    files = [next(Path("leaderboard").glob(f"results/*/*/*{r['run_id']}.json")) for r in records]
    assert len(set(files)) == 3
    assert len({record["dataset"]["fingerprint"] for record in records[1:]}) == 2
    assert run("leaderboard", "--partial").code == 0
    assert run("leaderboard", "--partial", "--html", "board.html").code == 0
    page = Path("leaderboard/README.md").read_text()
    parts = page.split("\n## ")[1:]
    marked = {n: [part for part in parts if f"the first {n} images" in part] for n in (1, 2)}
    assert [len(marked[n]) for n in (1, 2)] == [1, 1]
    assert all("**Partial runs.**" in part for n in (1, 2) for part in marked[n])
    whole = [part for part in parts if part.startswith("tiny_retrieval") and "first" not in part]
    assert not any("Partial" in part for part in whole) and whole
    assert all(f"the first {n} images" in Path("board.html").read_text() for n in (1, 2))
