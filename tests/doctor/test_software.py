"""Packages that a run imports."""

import sys
from importlib import metadata
from pathlib import Path

import pytest

from densebench.doctor import software


def test_an_old_python(monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = software.python()
    assert found.state == "ok"
    monkeypatch.setattr(sys, "version_info", (3, 9, 1))
    (found,) = software.python()
    assert (found.state, found.remedy) == ("broken", "install Python 3.10 or later")


def test_every_package_is_named_with_its_version() -> None:
    found = {finding.name: finding for finding in software.packages()}
    assert set(found) == set(software.MODULES)
    assert found["numpy"].text == f"numpy {metadata.version('numpy')}"
    assert {finding.state for finding in found.values()} == {"ok"}


def test_one_that_breaks_on_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_module.py").write_text("raise OSError('a library is missing')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(software, "MODULES", {"broken_module": ("broken-module",)})
    (found,) = software.packages()
    assert found.state == "broken"
    assert "a library is missing" in found.text
    assert found.remedy.endswith("-m pip install broken-module")
