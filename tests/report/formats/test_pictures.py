"""Pictures of panels: which files may come into a page."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from densebench.host.errors import DensebenchError
from densebench.records.panels import load_panels, open_picture
from densebench.records.schema import RunRecord
from densebench.report.board.board import load_board
from densebench.report.formats.html import html_page
from densebench.report.formats.pictures import RIGHT, VOID, WRONG, embedded, error_map
from densebench.run.execute import evaluate
from densebench.run.options import RunOptions


@settings(max_examples=20)
@given(st.integers(0, 2**31), st.integers(0, 4))
def test_errors_are_where_labels_differ_and_count(seed: int, ignored: int) -> None:
    rng = np.random.default_rng(seed)
    truth, prediction = rng.integers(0, 4, (2, 6, 7)).astype(np.uint8)
    errors = error_map(truth, prediction, ignored)
    for place in np.ndindex(6, 7):
        expected = WRONG if truth[place] != prediction[place] else RIGHT
        assert errors[place] == (VOID if truth[place] == ignored else expected)


@pytest.fixture
def folder(
    kept_runs: dict[str, tuple[RunRecord, Path]], put: Callable[..., Path], tmp_path: Path
) -> Path:
    """Panels of the one record under ``results``, to be changed."""
    source = kept_runs["rgb_s14"][1]
    folder = put(tmp_path / "results", source, 0.5).with_suffix(".panels")
    folder.unlink()  # a link to the run's own
    shutil.copytree(source.with_suffix(".panels"), folder)
    return folder


def test_a_link_brings_no_picture_from_elsewhere(folder: Path, tmp_path: Path) -> None:
    index = load_panels(folder)
    assert index is not None
    picture, elsewhere = folder / index.panels[0].image, tmp_path / "private.png"
    picture.rename(elsewhere)
    picture.symlink_to(elsewhere)
    with pytest.raises(DensebenchError, match=f"{picture.name}: not a picture of a panel"):
        html_page(load_board(tmp_path / "results"), tmp_path)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_pictures_of_three_kinds_are_taken(tmp_path: Path, kind: str) -> None:
    Image.new("RGB", (4, 4), "red").save(tmp_path / "a", format=kind)
    assert open_picture(tmp_path / "a")[0].format == kind


@pytest.mark.parametrize("kind", ["GIF", "EPS", "TIFF", "BMP"])
def test_no_others_whatever_their_names(tmp_path: Path, kind: str) -> None:
    Image.new("RGB", (4, 4), "red").save(tmp_path / "a.png", format=kind)
    with pytest.raises(DensebenchError, match=r"a\.png: not a picture"):
        open_picture(tmp_path / "a.png")


@pytest.mark.parametrize("content", [b"<svg/>", b"<html><script>1</script>", b""])
def test_nor_text(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DensebenchError, match=r"a\.png: not a picture"):
        open_picture(tmp_path / "a.png")


def test_depth_has_a_scale_and_an_error_in_metres(
    tmp_path: Path, write_dataset: Callable[..., Path], write_depth: Callable[..., Path]
) -> None:
    folder = write_dataset(tmp_path / "data", 4, 2).parent
    task = str(write_depth(folder, "depth_in_context", "input_size = 28\nn_neighbours = 2\n"))
    for backbone in ("rgb_s14", "hog_s14"):
        options = RunOptions(backbone, task, results=tmp_path / "results", panels=2, cache="off")
        evaluate(options)
    board = load_board(tmp_path / "results")
    (examples,) = embedded(board.tables)
    assert examples.kept == len(examples.shown) == 2
    for shown in examples.shown:
        assert shown["scale"]["unit"] == "m" and not shown["present"]
        assert len(shown["palette"]) == 256
        assert {model["row"] for model in shown["models"]} == {0, 1}
        assert all(0 < model["off"] < 3 for model in shown["models"])
        assert all(model["error"].startswith("data:image/png") for model in shown["models"])
    assert board.tables[0].record.score.main.unit == "m"
