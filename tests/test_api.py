"""The Python API: functions by the side of the commands, imported when they are asked for."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

import densebench
from densebench import DensebenchError, RunOptions, api

pytestmark = pytest.mark.usefixtures("own_places")


@pytest.mark.parametrize("name", densebench.__all__)
def test_every_name_is_there_and_no_module_hides_it(name: str) -> None:
    found = getattr(densebench, name)
    assert found is not None
    if find_spec(f"densebench.{name}") is not None:
        assert name in densebench.CALLABLE and callable(found)


def test_a_name_that_is_none() -> None:
    with pytest.raises(AttributeError, match="no attribute 'evaluat'"):
        _ = densebench.evaluat


def test_the_package_posttrain_is_the_function_of_the_api() -> None:
    with pytest.raises(DensebenchError, match="posttrain has no option 'step'"):
        densebench.posttrain("hog_mixer_s14", "photos", quiet=True, step=1)  # type: ignore[operator]


def test_importing_it_loads_no_torch() -> None:
    code = "import sys, densebench, densebench.api; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class Mean(torch.nn.Module):
    """Mean colours, channels first."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(3, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.scale * torch.nn.functional.avg_pool2d(images, 14)


def test_from_two_runs_to_a_page(tiny_task: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    how = {"task": tiny_task, "results": results, "device": "cpu", "quiet": True}
    runs = [densebench.evaluate(backbone, **how) for backbone in ("rgb_s14", "hog_s14")]
    assert [run.record.backbone.name for run in runs] == ["rgb_s14", "hog_s14"]
    by_result = densebench.compare(*runs, results=results)
    by_name = densebench.compare("rgb_s14", "hog_s14", runs[0].record.task, results=results)
    assert by_result.to_json() == by_name.to_json()
    board = densebench.leaderboard(results, csv=tmp_path / "board.csv")
    assert len(board.tables) == 1
    assert "hog_s14" in (tmp_path / "board.csv").read_text()
    with pytest.raises(DensebenchError, match="no such folder"):
        densebench.leaderboard(tmp_path / "nowhere", csv=tmp_path / "board.csv")
    with pytest.raises(DensebenchError, match=r"no format 'cvs' \(did you mean 'csv'\?\)"):
        densebench.leaderboard(results, cvs="board.csv")


def test_a_module_in_memory_twice_and_changed(tiny_task: Path, tmp_path: Path) -> None:
    model = Mean()
    how = {"patch_size": 14, "layout": "BDhw", "device": "cpu", "quiet": True}
    first, again = (
        densebench.evaluate(model, tiny_task, results=tmp_path, **how) for _ in range(2)
    )
    assert first.path == again.path
    assert first.record.backbone.name == "Mean"
    assert model.training
    with torch.no_grad():
        model.scale[0] = 3.0
    changed = densebench.evaluate(model, tiny_task, results=tmp_path, **how)
    assert changed.record.backbone.fingerprint != first.record.backbone.fingerprint
    assert changed.path != first.path


def test_a_module_gives_what_a_plug_in_of_its_numbers_gives(
    tiny_task: Path, tmp_path: Path
) -> None:
    loaded = densebench.load_backbone("hog_s14")
    how = {"results": tmp_path, "device": "cpu", "quiet": True}
    by_name = densebench.evaluate("hog_s14", tiny_task, **how)
    in_memory = densebench.evaluate(loaded, tiny_task, **how)
    assert in_memory.path == by_name.path  # one fingerprint, one name: one run
    assert in_memory.value == by_name.value


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"limt": 3}, r"evaluate has no option 'limt' \(did you mean 'limit'\?\)"),
        ({"name": "mine"}, "a backbone by name has its own"),
        ({"precision": "fp8"}, "precision is one of"),
    ],
)
def test_options_that_are_none(options: dict[str, Any], told: str, tiny_task: Path) -> None:
    with pytest.raises(DensebenchError, match=told):
        densebench.evaluate("rgb_s14", tiny_task, **options)


def test_names() -> None:
    assert densebench.backbones("hog_s*") == ["hog_s14"]
    assert "camvid_incontext" in densebench.tasks("camvid_*")
    with pytest.raises(DensebenchError, match="no task matches 'nothing_"):
        densebench.tasks("nothing_*")


def test_a_papers_table_without_running_it(tmp_path: Path) -> None:
    base = RunOptions("", "", results=tmp_path / "results", data_root=tmp_path)
    table = densebench.reproduce("neco-voc", base, dry_run=True)
    assert table.rows
    assert all(row.missing for row in table.rows)
    assert not (tmp_path / "results").exists()


def test_the_doctor_is_part_of_it() -> None:
    assert {finding.section for finding in api.examine()} >= {"python", "packages", "cards"}
