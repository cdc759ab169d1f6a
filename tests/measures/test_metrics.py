import subprocess
import sys
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from densebench.cards import Registry
from densebench.host.errors import DensebenchError
from densebench.measures import metrics
from densebench.measures.metrics import OWN, find_metric
from densebench.measures.segmentation import MeanIoU

GROUP = "densebench.metrics"


@pytest.mark.parametrize("name", OWN)
def test_each_has_its_name_and_is_made_of_its_parameters(name: str) -> None:
    metric = OWN[name]()
    assert metric.name == name
    assert find_metric(name, metric.parameters) == metric


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Has installed packages register these."""

    def register(**values: str) -> None:
        points = [EntryPoint(name, value, GROUP) for name, value in values.items()]
        known = {GROUP: points}
        monkeypatch.setattr("importlib.metadata.entry_points", lambda group: known[group])
        fresh = Registry("metric", "densebench.measures", "METRIC", GROUP)
        monkeypatch.setattr(metrics, "METRICS", fresh)

    return register


def test_of_another_package_by_its_entry_point(registered: Any) -> None:
    registered(mine="densebench.measures.segmentation:MeanIoU")
    assert find_metric("mine", {"absent": "nan"}) == MeanIoU(absent="nan")
    assert find_metric("another", {}) is None


def test_what_is_registered_and_is_no_metric_is_refused(registered: Any) -> None:
    registered(mine="os:system", broken="densebench.measures.segmentation:nothing")
    for name, told in (("mine", "is no Metric"), ("broken", "entry point 'broken'")):
        with pytest.raises(DensebenchError, match=told):
            find_metric(name, {})


@pytest.mark.parametrize(("name", "parameters"), [("os:system", {}), ("miou", {"surprise": 1})])
def test_none_where_there_is_none_or_not_so(name: str, parameters: Any) -> None:
    assert find_metric(name, parameters) is None


def test_it_needs_no_torch() -> None:
    code = "import sys, densebench.measures.metrics; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
