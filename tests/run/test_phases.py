"""Phases with their time and memory."""

import time

from densebench.host.watcher import Watcher
from densebench.run.phases import Phases


def test_parts_of_a_phase_are_added_up() -> None:
    phases = Phases(Watcher())
    for _ in range(2):
        with phases.phase("fit"):
            time.sleep(0.02)
    with phases.phase("predict", 3) as advance:
        advance(3)
    assert list(phases.seconds) == ["fit", "predict"]
    assert phases.seconds["fit"] >= 0.04
    assert phases.seconds["predict"] < phases.seconds["fit"]
    assert 0 < phases.peak["fit"] <= phases.peak["predict"]
