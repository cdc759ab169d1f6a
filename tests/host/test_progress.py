"""What is shown of a phase, on a terminal and in a pipe."""

import io

import pytest
from rich.console import Console

from densebench.host import progress
from densebench.host.progress import TerminalWatcher
from densebench.host.watcher import Watcher


def shown(terminal: bool) -> tuple[TerminalWatcher, io.StringIO]:
    out = io.StringIO()
    return TerminalWatcher(Console(file=out, force_terminal=terminal, width=120)), out


def test_a_bar_with_its_title_and_status() -> None:
    watcher, out = shown(terminal=True)
    with watcher.phase("posttrain", 8) as advance:
        watcher.status("loss 3.1000, learning rate 1e-05")
        advance(4)
    assert "images seen, loss 3.1000, learning rate 1e-05" in out.getvalue()
    assert "4/8" in out.getvalue()


def test_lines_end_in_the_status(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])
    watcher, out = shown(terminal=False)
    with watcher.phase("posttrain", 80) as advance:
        watcher.status("loss 3.1000, learning rate 1e-05")
        advance(10)
        now[0] += 20
        advance(30)
        watcher.status("loss 2.5000, learning rate 5e-06")
        now[0] += 20
        advance(40)
    assert out.getvalue().splitlines() == [
        "images seen: 40/80, 2.0 images/s, 0:00:20 left, loss 3.1000, learning rate 1e-05",
        "images seen: 80/80, 2.0 images/s, took 40.0 s, loss 2.5000, learning rate 5e-06",
    ]


def test_lines_without_a_status(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])
    watcher, out = shown(terminal=False)
    watcher.status("nothing is under way")
    with watcher.phase("predict", 4) as advance:
        now[0] += 2
        advance(4)
    assert out.getvalue() == "validation images: 4/4, 2.0 images/s, took 2.0 s\n"


def test_a_bar_that_is_full_ends_with_the_time_taken() -> None:
    now, out = [100.0], io.StringIO()
    console = Console(file=out, force_terminal=True, width=120, get_time=lambda: now[0])
    watcher = TerminalWatcher(console)
    with watcher.phase("predict", 4) as advance:
        advance(2)
        now[0] += 75
        advance(2)
    assert out.getvalue().split("4/4")[-1].count("took 0:01:15") == 1
    assert "left" not in out.getvalue().split("4/4")[-1]


def test_who_has_no_hold_of_a_phase_counts_in_it_by_name() -> None:
    watcher, out = shown(terminal=False)
    watcher.advance("fit", 5)
    with watcher.phase("fit", 3):
        watcher.advance("predict", 3)
        assert out.getvalue() == ""
        watcher.advance("fit", 3)
    assert out.getvalue().startswith("training images: 3/3, ")
    watcher.advance("fit", 3)
    assert len(out.getvalue().splitlines()) == 1


def test_nobody_watches(capfd: pytest.CaptureFixture[str]) -> None:
    with Watcher().phase("x", 1) as advance:
        advance(1)
    Watcher().status("x")
    assert capfd.readouterr() == ("", "")
