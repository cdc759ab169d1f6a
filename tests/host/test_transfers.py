"""What is shown of a step, on a terminal and in a pipe."""

import io

import pytest
from rich.console import Console

from densebench.host import transfers
from densebench.host.progress import TerminalWatcher
from densebench.host.watcher import Watcher


def shown(terminal: bool) -> tuple[TerminalWatcher, io.StringIO]:
    out = io.StringIO()
    return TerminalWatcher(Console(file=out, force_terminal=terminal, width=120)), out


def test_a_bar_with_rate_and_time_left() -> None:
    watcher, out = shown(terminal=True)
    with watcher.phase("fetching [a].zip", 3_000_000, "bytes", done=1_000_000) as advance:
        advance(500_000)
    assert "fetching [a].zip" in out.getvalue()
    assert "3.0 MB" in out.getvalue()
    with watcher.phase("unpacking", 4, "files") as advance:
        advance(4)
    assert "4/4" in out.getvalue()
    watcher.say("done [really]")
    assert out.getvalue().endswith("done [really]\n")


def test_a_line_now_and_then_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(transfers, "monotonic", lambda: now[0])
    watcher, out = shown(terminal=False)
    with watcher.phase("fetching", 10_000_000, "bytes", done=4_000_000) as advance:
        advance(1_000_000)
        now[0] += 30
        advance(2_000_000)
        advance(1)
    assert out.getvalue() == "fetching: 7.0 MB of 10.0 MB, 0:00:30 left, 0.1 MB/s\n"
    with watcher.phase("unpacking", None, "files") as advance:
        now[0] += 30
        advance(60)
    assert out.getvalue().splitlines()[-1] == "unpacking: 60 files, 2 files/s"


def test_nobody_watches(capfd: pytest.CaptureFixture[str]) -> None:
    with Watcher().phase("x", 1, "files") as advance:
        advance(1)
    Watcher().say("x")
    assert capfd.readouterr() == ("", "")
