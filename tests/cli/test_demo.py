"""`densebench demo`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from densebench.demo import Demo
from densebench.report.board.board import load_board

pytestmark = pytest.mark.usefixtures("own_places")
Cli = Callable[..., Any]


def test_it_ends_with_the_address_of_its_page(
    run: Cli, monkeypatch: pytest.MonkeyPatch, kept_runs: dict[str, tuple[Any, Path]]
) -> None:
    """The demo itself takes minutes and has tests of its own."""
    results = kept_runs["rgb_s14"][1].parents[2]
    asked = []

    def made(out: Path, watcher: object) -> Demo:
        asked.append(out)
        return Demo(load_board(results), out / "a b.html", out / "README.md", out / "picture.png")

    monkeypatch.setattr("densebench.demo.run_demo", made)
    done = run("demo", "--out", "place")
    assert asked == [Path("place")]
    assert done.code == 0
    assert "hog_s14" in done.out and "rgb_s14" in done.out
    assert "| --- |" not in done.out
    last = done.out.splitlines()[-1]
    assert last == f"page, for a browser: {Path.cwd().as_uri()}/place/a%20b.html"
    assert "place/README.md" in done.out and "place/picture.png" in done.out


def test_its_help_names_neco(run: Cli) -> None:
    assert "NeCo" in run("demo", "--help").out
