"""Which processor this is."""

import platform
from collections.abc import Iterator
from pathlib import Path

import pytest

from densebench.host import processor
from densebench.host.processor import processor_name


@pytest.fixture(autouse=True)
def _looked_at_anew() -> Iterator[None]:
    processor_name.cache_clear()
    yield
    processor_name.cache_clear()


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ("processor\t: 0\nmodel name\t: Fast CPU @ 2.0\nmodel name\t: Other\n", "Fast CPU @ 2.0"),
        ("Features\t: fp asimd\n", platform.machine()),
        ("model name\t:\n", platform.machine()),
    ],
)
def test_the_model_that_the_system_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, name: str
) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(content)
    monkeypatch.setattr(processor, "CPUINFO", file)
    assert processor_name() == name


def test_a_system_that_does_not_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "none")
    monkeypatch.setattr(platform, "processor", lambda: "arm")
    assert processor_name() == "arm"
