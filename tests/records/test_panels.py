"""What ``--save-panels`` leaves beside a record."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from densebench.host.errors import DensebenchError
from densebench.records.panels import (
    GAP,
    HEADER,
    VOID_COLOUR,
    coloured,
    contact_sheet,
    load_panels,
    open_picture,
    panel_folder,
)


def test_what_a_run_left_is_read(kept_runs: dict[str, tuple[Any, Path]]) -> None:
    record, path = kept_runs["rgb_s14"]
    index = load_panels(panel_folder(path))
    assert index is not None
    assert index.run_id == record.run_id
    assert len(index.panels) == 2
    memory = index.panels[0].memory
    assert memory is not None
    assert len(memory.queries) == len(memory.nearest) == len(memory.similarity)


def test_none_where_there_is_none(tmp_path: Path) -> None:
    assert load_panels(tmp_path) is None
    with pytest.raises(DensebenchError, match="--save-panels keeps them"):
        contact_sheet({"a": tmp_path}, 10)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"panels": [{"image": "../x.png"}]}, "image"),
        ({"panels": [{"memory": {"nearest": [[99_999]]}}]}, "of one length|not there"),
        ({"grid": 0}, "grid"),
        ({"other": 1}, "unknown key 'other'"),
    ],
)
def test_an_index_that_somebody_changed(
    change: dict[str, Any], told: str, kept_runs: dict[str, tuple[Any, Path]], tmp_path: Path
) -> None:
    values = json.loads((panel_folder(kept_runs["rgb_s14"][1]) / "index.json").read_text())
    panels = change.pop("panels", None)
    values |= change
    for panel, changed in zip(values["panels"], panels or [], strict=False):
        memory = changed.pop("memory", {})
        panel.update(changed)
        panel["memory"].update(memory)
    (tmp_path / "index.json").write_text(json.dumps(values))
    with pytest.raises(DensebenchError, match=told):
        load_panels(tmp_path)


def test_only_a_picture_of_the_folder_itself(tmp_path: Path) -> None:
    Image.new("RGB", (2, 2)).save(tmp_path / "good.png")
    assert open_picture(tmp_path / "good.png")[0].size == (2, 2)
    (tmp_path / "link.png").symlink_to("good.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "text.png").write_text("<svg/>")
    for name in ("link.png", "pipe.png", "text.png", "none.png"):
        with pytest.raises(DensebenchError, match="not a picture of a panel"):
            open_picture(tmp_path / name)


def test_labels_without_a_colour_are_void() -> None:
    image = coloured(np.array([[0, 1]], np.uint8), [(1, 2, 3)]).convert("RGB")
    assert [image.getpixel((x, 0)) for x in (0, 1)] == [(1, 2, 3), VOID_COLOUR]


def test_a_sheet_has_a_row_an_image_and_a_column_a_backbone(
    kept_runs: dict[str, tuple[Any, Path]],
) -> None:
    folders = {name: panel_folder(path) for name, (_, path) in kept_runs.items()}
    sheet = contact_sheet(folders, 20)
    assert sheet.size == (4 * (20 + GAP) + GAP, HEADER + 2 * (20 + GAP))
