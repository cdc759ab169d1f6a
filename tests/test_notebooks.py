"""The notebooks are run, and give the numbers that they show."""

import re
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("nbclient", reason="notebooks are run with the extra `docs`")

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
NUMBER = re.compile(r"[-+]?\d+\.\d+")
# Of two machines, whose products round otherwise: in points of mIoU.
TOLERANCE = 1.0
SECONDS = 300
SMALL = 20_000  # bytes

pytestmark = pytest.mark.usefixtures("own_home")


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("DENSEBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def shown(cells: list[Any]) -> list[str]:
    """What each cell of code printed or gave; not its warnings."""
    outputs = [
        [out for out in cell.outputs if out.get("name") != "stderr"]
        for cell in cells
        if cell.cell_type == "code"
    ]
    return [
        "".join(out.get("text") or out["data"]["text/plain"] for out in cell) for cell in outputs
    ]


def test_there_are_four() -> None:
    assert {file.stem for file in NOTEBOOKS} == {"board", "evaluate", "layers", "posttrain"}


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_it_is_small_and_tells_what_it_does(file: Path) -> None:
    book = nbformat.read(file, as_version=4)
    nbformat.validate(book)
    assert file.stat().st_size < SMALL
    assert book.cells[0].source.startswith("# ")
    assert all(cell.get("execution_count") is None for cell in book.cells)


@pytest.mark.slow
@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_it_runs_and_gives_what_it_shows(file: Path) -> None:
    book = nbformat.read(file, as_version=4)
    told = shown(book.cells)
    begun = time.monotonic()
    NotebookClient(book, timeout=SECONDS, kernel_name="python3").execute()
    print(f"{file.stem}: {time.monotonic() - begun:.0f} s")
    for before, now in zip(told, shown(book.cells), strict=True):
        assert NUMBER.sub("#", now) == NUMBER.sub("#", before)
        numbers = [[float(n) for n in NUMBER.findall(text)] for text in (now, before)]
        assert numbers[0] == pytest.approx(numbers[1], abs=TOLERANCE)
