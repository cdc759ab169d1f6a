"""What is watched of a student in training."""

from pathlib import Path

import pytest
import torch

from densebench.backbones import load_backbone
from densebench.host.errors import DensebenchError
from densebench.posttrain.monitor import build_monitor
from densebench.posttrain.recipe import MonitorTable

CPU = torch.device("cpu")


def test_nothing_is_asked_for() -> None:
    assert build_monitor(MonitorTable(every=0), CPU) is None


def test_retrieval_and_consistency_of_a_few_images(tiny_task: Path) -> None:
    table = MonitorTable(every=1, task=str(tiny_task), images=2, input_size=90)
    measure = build_monitor(table, CPU)
    assert measure is not None
    student = load_backbone("rgb_s14")
    found, again = measure(student), measure(student)
    assert set(found) == {"monitor_miou", "monitor_consistency"}
    assert found == again
    assert all(0 <= value <= 1 for value in found.values())


def test_a_task_that_is_not_there() -> None:
    with pytest.raises(DensebenchError, match="scenes_incontext"):
        build_monitor(MonitorTable(every=1, task="scenes_incontex"), CPU)
