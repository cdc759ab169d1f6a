"""Records of a tiny task that is, for these tests, one of densebench's own."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from densebench.records.store import checksum_of, record_files

Edit = Callable[..., Path]


@pytest.fixture(scope="session")
def own(tmp_path_factory: pytest.TempPathFactory, write_dataset: Callable[..., Path]) -> Path:
    """The folder of cards."""
    folder = tmp_path_factory.mktemp("own")
    retrieval = write_dataset(folder / "tasks", 4, 3)
    retrieval.rename(retrieval.with_name("tiny_retrieval.toml"))
    (folder / "tasks/linear.toml").rename(folder / "tasks/tiny_linear.toml")
    (folder / "backbones").mkdir()
    cards = Path(__file__).parents[2] / "backbones"
    for name in ("rgb_s14", "hog_s14"):
        shutil.copy(cards / f"{name}.toml", folder / "backbones")
    return folder


@pytest.fixture(autouse=True)
def _own_places(own: Path, own_places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("run.plan", "submission.shipped_rules", "submission.provenance"):
        monkeypatch.setattr(f"densebench.{module}.own_folder", lambda: own)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, own: Path) -> Path:
    """Results of a retrieval with panels, and of a head."""
    from densebench.run.execute import evaluate
    from densebench.run.options import RunOptions

    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("densebench.run.plan.own_folder", lambda: own)
        for task, panels in (("tiny_retrieval", 1), ("tiny_linear", 0)):
            card = str(own / "tasks" / f"{task}.toml")
            evaluate(RunOptions("rgb_s14", card, device="cpu", results=folder, panels=panels))
    return folder


@pytest.fixture
def results(made: Path, tmp_path: Path) -> Path:
    """A copy of them."""
    return Path(shutil.copytree(made, tmp_path / "results"))


@pytest.fixture
def record_file(results: Path) -> Callable[[str], Path]:
    """The record of one of the tasks."""

    def find(task: str = "tiny_retrieval") -> Path:
        (file,) = record_files(results / "rgb_s14" / task)
        return file

    return find


@pytest.fixture
def edit(record_file: Callable[[str], Path]) -> Edit:
    """Changes what a record says at a path of keys; sealed, its checksum fits what it then says."""

    def change(
        *keys: str | int, to: Any, task: str = "tiny_retrieval", sealed: bool = True
    ) -> Path:
        file = record_file(task)
        values = json.loads(file.read_text())
        inner = values
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = to(inner[keys[-1]]) if callable(to) else to
        if sealed:
            values["checksum"] = checksum_of(values)
        file.write_text(json.dumps(values))
        return file

    return change
