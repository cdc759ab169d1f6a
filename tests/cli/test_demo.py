"""`densebench demo`."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("own_places")
Cli = Callable[..., Any]


def test_the_page_and_the_picture_are_told(
    run: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The demo itself takes minutes and has tests of its own."""
    asked = []

    def made(out: Path, watcher: object) -> SimpleNamespace:
        asked.append(out)
        (tmp_path / "page.md").write_text("a table")
        return SimpleNamespace(page=tmp_path / "page.md", picture=tmp_path / "picture.png")

    monkeypatch.setattr("densebench.demo.run_demo", made)
    done = run("demo", "--out", "place")
    assert asked == [Path("place")]
    assert done.code == 0
    assert "a table" in done.out
    assert f"{tmp_path / 'page.md'}" in done.out
    assert f"{tmp_path / 'picture.png'}" in done.out
