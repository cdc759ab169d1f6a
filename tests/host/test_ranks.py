"""Which process this one is, by what `torchrun` sets."""

import pytest

from densebench.host import ranks

SET = ("WORLD_SIZE", "LOCAL_WORLD_SIZE", "RANK", "LOCAL_RANK")


def test_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SET:
        monkeypatch.delenv(name, raising=False)
    assert (ranks.process_count(), ranks.processes_here(), ranks.rank()) == (1, 1, 0)
    assert ranks.is_main_process()


def test_the_third_of_eight_on_two_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in zip(SET, ("8", "4", "6", "2"), strict=True):
        monkeypatch.setenv(name, value)
    assert (ranks.process_count(), ranks.processes_here()) == (8, 4)
    assert (ranks.rank(), ranks.local_rank()) == (6, 2)
    assert not ranks.is_main_process()
