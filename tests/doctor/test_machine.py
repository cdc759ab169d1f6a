"""Memory, and the disks that a run reads from and writes to."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from densebench.doctor import machine
from densebench.doctor.findings import Finding


def found(findings) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def test_memory_is_a_fact() -> None:
    assert " free, " in found(machine.memory())["memory"].text


@pytest.mark.parametrize(("free", "state"), [(10**12, "ok"), (10**9, "note")])
def test_little_space_is_noted(
    free: int, state: str, own_places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    seen = found(machine.disk({"cache": own_places / "cache", "data": own_places / "data"}))
    assert {seen[name].state for name in ("cache", "data")} == {state}
    assert not (own_places / "data").exists()


def test_what_cannot_be_written_breaks_results_and_not_data(
    own_places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine.os, "access", lambda place, mode: False)
    seen = found(machine.disk({"results": own_places, "data": own_places}))
    assert (seen["results"].state, seen["data"].state) == ("broken", "note")
    assert seen["results"].remedy == "densebench run --results DIR ..."


class TestWorkers:
    def found(self) -> dict[str, Finding]:
        return {finding.name: finding for finding in machine.workers()}

    def test_enough(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(machine, "SHARED", tmp_path)
        monkeypatch.setattr(machine, "_open_files", lambda: 10**5)
        monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: SimpleNamespace(free=10**12))
        assert {name: f.state for name, f in self.found().items()} == {
            "open files": "ok",
            "shared memory": "ok",
        }

    def test_too_little(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(machine, "SHARED", tmp_path)
        monkeypatch.setattr(machine, "_open_files", lambda: 64)
        monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: SimpleNamespace(free=2**26))
        files, shared = self.found()["open files"], self.found()["shared memory"]
        assert (files.state, files.text, files.remedy) == ("note", "64 at once", "ulimit -n 4096")
        assert shared.state == "note"
        assert shared.text.startswith(f"{tmp_path}: 0.07 GB free, ")
        assert "--workers 0" in shared.remedy

    def test_no_limit(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(machine, "_open_files", lambda: None)
        monkeypatch.setattr(machine, "SHARED", tmp_path / "none")
        assert self.found() == {}
