import os

import pytest

from densebench.host.cores import cores


@pytest.mark.parametrize(("processes", "share"), [(None, 12), (1, 12), (4, 3), (24, 1)])
def test_are_shared_by_the_processes_of_a_machine(
    processes: int | None, share: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(12)), raising=False)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    if processes is not None:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    assert cores() == share
