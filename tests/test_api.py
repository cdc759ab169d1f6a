"""The Python API: functions by the side of the commands, imported when they are asked for."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import densebench
from densebench import DensebenchError, RunOptions, api

pytestmark = pytest.mark.usefixtures("own_places")


@pytest.mark.parametrize("name", densebench.__all__)
def test_every_name_is_there_and_is_no_module_too(name: str) -> None:
    assert getattr(densebench, name) is not None
    assert find_spec(f"densebench.{name}") is None


def test_a_name_that_is_none() -> None:
    with pytest.raises(AttributeError, match="no attribute 'evaluat'"):
        _ = densebench.evaluat


def test_importing_it_loads_no_torch() -> None:
    code = "import sys, densebench, densebench.api; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_from_two_runs_to_a_page(tiny_task: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    files = []
    for backbone in ("rgb_s14", "hog_s14"):
        options = RunOptions(backbone, str(tiny_task), results=results, device="cpu")
        record, file = densebench.evaluate(options)
        assert record.backbone.name == backbone
        files.append(file)
    by_file = densebench.compare(*map(str, files), results=results)
    by_name = densebench.compare("rgb_s14", "hog_s14", record.task, results=results)
    assert by_file.to_json() == by_name.to_json()
    assert densebench.leaderboard({"csv": tmp_path / "board.csv"}, results) == 1
    assert "hog_s14" in (tmp_path / "board.csv").read_text()
    with pytest.raises(DensebenchError, match="no such folder"):
        densebench.leaderboard({"csv": tmp_path / "board.csv"}, tmp_path / "nowhere")


def test_a_papers_table_without_running_it(tmp_path: Path) -> None:
    base = RunOptions("", "", results=tmp_path / "results", data_root=tmp_path)
    table = densebench.reproduce("neco-voc", base, dry_run=True)
    assert table.rows
    assert all(row.missing for row in table.rows)
    assert not (tmp_path / "results").exists()


def test_the_doctor_is_part_of_it() -> None:
    assert {finding.section for finding in api.examine()} >= {"python", "packages", "cards"}
