"""Signals as a wish that is asked for."""

import os
import signal

import pytest

from densebench.posttrain import interruption
from densebench.posttrain.interruption import stopping


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_is_asked_for_and_nothing_breaks_off(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with stopping() as asked:
        assert not asked()
        os.kill(os.getpid(), number)
        assert asked()
        os.kill(os.getpid(), number)  # torchrun passes on what the process got already
    assert signal.getsignal(number) is before


def test_a_second_thought_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, interruption.SECOND_THOUGHT + 1])
    monkeypatch.setattr(interruption, "monotonic", lambda: next(times))
    with pytest.raises(KeyboardInterrupt), stopping() as asked:
        os.kill(os.getpid(), signal.SIGINT)
        assert asked()
        os.kill(os.getpid(), signal.SIGINT)


def test_handlers_come_back_after_an_error() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ZeroDivisionError), stopping():
        _ = 1 / 0
    assert signal.getsignal(signal.SIGTERM) is before
