"""`densebench submit`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("own_places")

Cli = Callable[..., Any]


def test_a_line_for_each_problem_and_nothing_is_written(run: Cli, score: Cli) -> None:
    assert score("--limit", 1, "--results", "results").code == 0
    (file,) = Path("results").rglob("*.json")
    file.write_text(file.read_text().replace('"value": 0.', '"value": 0.9'))
    done = run("submit", "results")
    assert done.code == 2
    *told, last = done.err.splitlines()
    assert last == ("error: 1 of 1 records cannot be submitted, as said above; nothing was written")
    assert all(line.startswith(str(file)) for line in told)
    words = ("its checksum", "(miou).value is 0.9", "partial: made with --limit 1", "none of dense")
    assert all(any(word in line for line in told) for word in words)
    assert not Path("submission").exists()
    assert done.out == ""


def test_the_text_says_where_it_goes(run: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from densebench.submission.checking import Checked
    from densebench.submission.packing import Submission

    made = Submission((Checked(Path("a.json"), None, ()),), Path("out"))
    monkeypatch.setattr("densebench.submission.packing.submit", lambda *_: made)
    done = run("submit", "a.json", "--out", "out")
    assert done.code == 0
    assert "1 record checked" in done.out and "out/PULL_REQUEST.md" in done.out


def test_no_record(run: Cli) -> None:
    assert "no record (a .json file)" in run("submit", "nowhere").error
