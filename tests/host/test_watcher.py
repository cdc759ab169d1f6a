"""The silent watcher."""

import pytest

from densebench.host.watcher import Watcher


def test_it_is_told_and_shows_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    watcher = Watcher()
    watcher.say("a line")
    watcher.status("loss 0.5")
    with watcher.phase("images", 3, done=1) as advance:
        advance(2)
        watcher.advance("images", 2)
    assert capfd.readouterr() == ("", "")


def test_an_error_in_a_phase_comes_out() -> None:
    with pytest.raises(ZeroDivisionError), Watcher().phase("images", None):
        _ = 1 / 0
