from typing import Any

import pytest

from densebench.measures import registry
from densebench.measures.registry import OWN, find_metric
from densebench.measures.segmentation import MeanIoU


class Point:
    def __init__(self, value: Any) -> None:
        self._value = value

    def load(self) -> Any:
        return self._value


@pytest.mark.parametrize("name", OWN)
def test_each_has_its_name_and_is_made_of_its_parameters(name: str) -> None:
    metric = OWN[name]()
    assert metric.name == name
    assert find_metric(name, metric.parameters) == metric


def test_of_another_package_by_its_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    def points(group: str, name: str) -> list[Point]:
        return [Point(MeanIoU)] if (group, name) == ("densebench.metrics", "mine") else []

    monkeypatch.setattr(registry, "entry_points", points)
    assert find_metric("mine", {"absent": "nan"}) == MeanIoU(absent="nan")
    assert find_metric("another", {}) is None


@pytest.mark.parametrize(("name", "parameters"), [("os:system", {}), ("miou", {"surprise": 1})])
def test_none_where_there_is_none_or_not_so(name: str, parameters: Any) -> None:
    assert find_metric(name, parameters) is None
