"""The numbers of the page: those of the board, each in its place."""

from collections.abc import Callable
from pathlib import Path

import pytest

from densebench.report.board.board import load_board
from densebench.report.formats.page_data import board_data
from densebench.report.formats.pictures import Examples

Keep = Callable[..., Path]

pytestmark = pytest.mark.usefixtures("own_places")


def test_the_cells_of_all_tasks_are_rows_of_their_tables(keep: Keep, results: Path) -> None:
    for task, values in (("t1", (0.4, 0.9)), ("t2", (0.6, None))):
        for name, value in zip("ab", values, strict=True):
            if value is not None:
                keep(value, task=task, backbone={"name": name, "parameters": 7})
    data = board_data(load_board(results), results, [Examples([], 0)] * 2)
    (overall,) = data["overall"]
    assert overall["tables"] == [0, 1]
    rows = {row["label"]: row for row in overall["rows"]}
    assert (rows["a"]["value"], rows["a"]["mark"]) == (0.5, "best")
    assert rows["b"]["value"] is None and rows["b"]["missing"] == ("", "not run")
    assert rows["b"]["cells"] == [0, None] and rows["b"]["parameters"] == 7
    for row in overall["rows"]:
        for table, place in zip(overall["tables"], row["cells"], strict=True):
            if place is not None:
                assert data["tables"][table]["rows"][place]["label"] == row["label"]
    assert len(data["records"]) == 3


def test_tables_of_one_title_have_names_of_their_own(keep: Keep, results: Path) -> None:
    keep(0.4)
    keep(0.6, protocol={"hash": "f" * 64})
    data = board_data(load_board(results), results, [Examples([], 0)] * 2)
    names = [table["title"] for table in data["tables"]]
    assert len(set(names)) == 2
    assert all(name.startswith("tiny_retrieval, reference (protocol ") for name in names)


def test_reference_comes_first(keep: Keep, results: Path) -> None:
    for task in ("t1", "t2"):
        for variant in ("clean", "reference", "another"):
            keep(0.4, task=task, protocol={"variant": variant})
    data = board_data(load_board(results), results, [Examples([], 0)] * 6)
    assert [overall["title"] for overall in data["overall"]] == ["reference", "another", "clean"]
    titles = [table["title"] for table in data["tables"]]
    assert titles[:3] == ["t1, reference", "t1, another", "t1, clean"]
