"""A task on growing shares of its training images."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from densebench.report.board.board import load_board
from densebench.report.board.shares import share_tables
from densebench.report.formats.markdown import markdown_page

pytestmark = pytest.mark.usefixtures("own_places")

Keep = Callable[..., Path]


class TestShares:
    def save(self, keep: Keep) -> None:
        keep(0.8)
        for seed, (miou, other) in enumerate(((0.5, 0.1), (0.6, 0.2))):
            data = {"subset": "1/2", "subset_seed": seed, "n_train": 2}
            keep(miou, dataset=data)
            keep(other, dataset=data, backbone={"name": "b"})
        keep(0.3, dataset={"subset": "1/4", "subset_seed": 0, "n_train": 1})
        keep(0.7, dataset={"subset": "own:1/2", "subset_seed": 0, "n_train": 2})

    def test_seeds_of_a_share_are_one_row_of_one_column(self, keep: Keep, results: Path) -> None:
        self.save(keep)
        board = load_board(results)
        (half,) = [t for t in board.tables if t.record.dataset.subset == "1/2"]
        assert half.title == "tiny_retrieval, reference, 1/2 of the training images"
        first, second = half.rows
        assert (first.label, second.label) == ("rgb_s14", "b")
        assert [round(row.value, 9) for row in half.rows] == [0.55, 0.15]
        assert first.deviation == pytest.approx(np.std([0.5, 0.6], ddof=1))
        assert first.spread == "2 draws"
        text = markdown_page(board, results)
        assert "**55.00** (draws [0](" in text
        assert "± 7.07 over 2 draws" in text

    def test_published_lists_and_own_shares_are_two_tables(self, keep: Keep, results: Path) -> None:
        self.save(keep)
        board = load_board(results)
        lists, own = share_tables(board.tables)
        assert lists.shares == ("1/4", "1/2", "1/1")
        assert own.shares == ("own:1/2", "1/1")
        (first, cells), (second, others) = lists.rows
        assert (first, second) == ("rgb_s14", "b")
        assert [cell and round(cell.value, 9) for cell in cells] == [0.3, 0.55, 0.8]
        assert others[0] is others[2] is None
        assert "± 7.07 over 2 draws" in markdown_page(board, results).split("## Shares")[1]

    def test_no_table_without_shares(self, keep: Keep, results: Path) -> None:
        keep()
        assert share_tables(load_board(results).tables) == []
