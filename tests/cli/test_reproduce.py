"""`densebench reproduce`: what is missing is told first."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("own_places")
Cli = Callable[..., Any]


def test_a_dry_run_shows_rows_and_what_they_lack(run: Cli) -> None:
    done = run("reproduce", "neco-voc", "--dry-run", "--json", "--offline")
    assert done.code == 0
    rows = json.loads(done.out)["rows"]
    assert len(rows) > 1
    assert all(row["missing"] for row in rows)
    assert f"missing for {len(rows)} of {len(rows)} rows: " in done.err
    assert not Path("leaderboard").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "rows of neco-voc lack data or weights"),
        (("--available",), "no row of neco-voc can be run"),
    ],
)
def test_nothing_is_run_without_them(run: Cli, arguments: tuple[str, ...], told: str) -> None:
    assert told in run("reproduce", "neco-voc", "--offline", *arguments).error


def test_a_page_of_somebody_elses_is_found_out_first(run: Cli, tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("mine")
    done = run("reproduce", "neco-voc", "--dry-run", "--markdown", "page.md")
    assert "page.md" in done.error
    assert (tmp_path / "page.md").read_text() == "mine"
