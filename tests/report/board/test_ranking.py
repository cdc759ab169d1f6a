"""What is printed above a table is true of any table."""

import csv
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from densebench.records.schema import RunRecord
from densebench.report.board.board import load_board
from densebench.report.board.pairs import compare_backbones
from densebench.report.board.ranking import SHARPER, STATEMENT
from densebench.report.board.tables import Table
from densebench.report.formats.csv import csv_lines
from densebench.report.formats.html import board_data
from densebench.report.formats.latex import latex_tables
from densebench.report.formats.markdown import markdown_page
from densebench.report.formats.pictures import Examples

pytestmark = pytest.mark.usefixtures("own_places")


Save = Callable[..., Path]


def save_table(
    results: Path, record: RunRecord, save: Save, seed: int, n_rows: int, n_images: int
) -> None:
    """Rows of random counts: of random skill, some alike, with classes that few images hold."""
    rng = np.random.default_rng(seed)
    area = rng.integers(1, 400, (n_images, 3)) * (rng.random((n_images, 3)) < rng.random(3))
    area[0] += 1
    skills, noise = rng.choice(rng.random(3), n_rows), rng.uniform(0.01, 0.4)
    for number, skill in enumerate(skills):
        right = rng.binomial(area, np.clip(rng.normal(skill, noise, area.shape), 0, 1))
        images = np.zeros((n_images, 3, 3), dtype=np.int64)
        for c in range(3):
            images[:, c, c] = right[:, c]
            images[:, c, (c + 1) % 3] = area[:, c] - right[:, c]
        values = record.model_dump()
        values["backbone"] |= {"name": f"b{number:02d}"}
        values |= {"run_id": f"{number:012d}"}
        save(values, images, results)


def check_statement(table: Table) -> None:
    """Each sentence, for one table."""
    rows = table.rows
    assert [row.value for row in rows] == sorted((row.value for row in rows), reverse=True)
    for place, row in enumerate(rows):
        standing = row.standing
        assert standing is not None
        assert standing.text == f"{len(standing.better_than)} / {len(standing.worse_than)}"
        assert all(other > place for other in standing.better_than)
        assert all(other < place for other in standing.worse_than)
        for other in standing.better_than:
            assert place in (rows[other].standing or standing).worse_than
    told = [row.standing for row in rows if row.standing is not None]
    assert sum(len(s.better_than) for s in told) == sum(len(s.worse_than) for s in told)


@given(st.integers(0, 2**31), st.integers(2, 6), st.integers(2, 40))
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_the_statement_holds_for_random_tables(
    tiny_record: RunRecord, save_images: Save, seed: int, n_rows: int, n_images: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder)
        save_table(results, tiny_record, save_images, seed, n_rows, n_images)
        (table,) = load_board(results).tables
        check_statement(table)
        for row in table.rows:
            assert row.standing is not None
            for other in row.standing.better_than:
                names = (row.label, table.rows[other].label)
                pair = compare_backbones(*names, table.task, table.variant, results)
                assert pair.comparison.p < 0.05  # what the table tells apart, two alone do


@pytest.fixture
def table_of(tmp_path: Path, tiny_record: RunRecord, save_images: Save) -> Path:
    save_table(tmp_path / "results", tiny_record, save_images, 3, 8, 30)
    return tmp_path / "results"


class TestEveryFormatSaysTheSame:
    """Rows in the order of mIoU, each with how many it is better and worse than."""

    def wanted(self, results: Path) -> list[tuple[str, int, int]]:
        (table,) = load_board(results).tables
        standings = [(row.label, row.standing) for row in table.rows]
        told = [(name, len(s.better_than), len(s.worse_than)) for name, s in standings if s]
        assert any(better for _, better, _ in told)
        return told

    def test_markdown(self, table_of: Path) -> None:
        text = markdown_page(load_board(table_of), table_of)
        found = re.findall(r"^\| (b\d\d) \| [^|]* \| (\d+) / (\d+) \|", text, re.M)
        assert [(name, int(a), int(b)) for name, a, b in found] == self.wanted(table_of)
        assert "Rank" not in text and "| rank" not in text
        words = " ".join(text.split())
        assert STATEMENT in words
        assert SHARPER in words

    def test_csv(self, table_of: Path) -> None:
        lines = list(csv.DictReader(csv_lines(load_board(table_of), table_of).splitlines()))
        found = [(r["label"], int(r["better_than"]), int(r["worse_than"])) for r in lines]
        assert found == self.wanted(table_of)
        assert "rank" not in lines[0]

    def test_latex(self, table_of: Path) -> None:
        text = latex_tables(load_board(table_of), table_of)
        found = re.findall(r"^  (b\d\d) & [^&]* & (\d+) / (\d+) &", text, re.M)
        assert [(name, int(a), int(b)) for name, a, b in found] == self.wanted(table_of)

    def test_the_page(self, table_of: Path) -> None:
        board = load_board(table_of)
        rows = board_data(board, table_of, [Examples([], 0)])["tables"][0]["rows"]
        found = [(row["label"], len(row["better"]), len(row["worse"])) for row in rows]
        assert found == self.wanted(table_of)


def test_smaller_differences_are_told_apart_by_two_alone(
    tmp_path: Path, tiny_record: RunRecord, save_images: Save
) -> None:
    """Why ``compare`` is sharper: some pairs that the table leaves together, it does not."""
    save_table(tmp_path, tiny_record, save_images, 3, 8, 30)
    (table,) = load_board(tmp_path).tables
    more = 0
    for place, row in enumerate(table.rows):
        for other in range(place + 1, len(table.rows)):
            names: Any = (row.label, table.rows[other].label)
            pair = compare_backbones(*names, table.task, table.variant, tmp_path)
            told = row.standing is not None and other in row.standing.better_than
            assert not told or pair.comparison.p < 0.05
            more += pair.comparison.p < 0.05 and not told
    assert more > 0
