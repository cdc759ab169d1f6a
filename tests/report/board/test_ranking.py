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

from densebench.host.errors import DensebenchError
from densebench.records.schema import RunRecord
from densebench.records.store import EVIDENCE, beside, load_evidence, load_record
from densebench.report.board.board import load_board
from densebench.report.board.pairs import compare_backbones
from densebench.report.board.ranking import SHARPER, STATEMENT, Standings
from densebench.report.board.tables import Table
from densebench.report.formats.csv import csv_lines
from densebench.report.formats.latex import latex_tables
from densebench.report.formats.markdown import markdown_page
from densebench.report.formats.page_data import board_data
from densebench.report.formats.pictures import Examples

pytestmark = pytest.mark.usefixtures("own_places")

Save = Callable[..., Path]
Keep = Callable[..., Path]
Pictures = Callable[..., Any]


def only_table(results: Path) -> Table:
    (table,) = load_board(results).tables
    return table


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


def standing(results: Path) -> dict[str, str]:
    return {
        row.label: row.standing.text if row.standing else "" for row in only_table(results).rows
    }


class TestStandings:
    def test_how_many_a_row_is_better_and_worse_than(
        self, keep: Keep, results: Path, pictures: Pictures
    ) -> None:
        for name, skill, seed in (("a", 0.8, 1), ("b", 0.8, 2), ("c", 0.6, 3)):
            keep(backbone={"name": name}, images=pictures(skill, seed=seed))
        assert standing(results) == {"a": "1 / 0", "b": "1 / 0", "c": "0 / 2"}
        assert only_table(results).untested == ""

    def test_over_seeds_together(self, keep: Keep, results: Path, pictures: Pictures) -> None:
        for seed in range(2):
            keep(backbone={"name": "a"}, images=pictures(0.8, seed=seed), seed=seed)
        keep(backbone={"name": "b"}, images=pictures(0.6, seed=5))
        assert standing(results) == {"a": "1 / 0", "b": "0 / 1"}

    def test_none_where_counts_are_missing_and_it_says_whose(
        self, keep: Keep, results: Path, pictures: Pictures
    ) -> None:
        keep(backbone={"name": "a"}, images=pictures(0.8))
        old = keep(0.2, backbone={"name": "old"})
        table = only_table(results)
        assert [row.standing for row in table.rows] == [None, None]
        assert table.untested.startswith(f"old, {old.name}: no evidence of single images")
        text = markdown_page(load_board(results), results)
        assert f"Not told apart: {table.untested}." in text

    def test_none_where_the_images_are_others(
        self, keep: Keep, results: Path, pictures: Pictures
    ) -> None:
        keep(backbone={"name": "a"}, images=pictures(0.8))
        keep(backbone={"name": "b"}, images=pictures(0.6, 39))
        assert standing(results) == {"a": "", "b": ""}
        assert only_table(results).untested == "not scored on the same images"

    def test_one_image_says_nothing(self, keep: Keep, results: Path, pictures: Pictures) -> None:
        for name in "ab":
            keep(backbone={"name": name}, images=pictures(0.8, 1))
        assert only_table(results).untested == "a single one of the images says nothing of others"

    def test_groups_are_what_is_left_out_and_older_counts_have_those_of_others(
        self, keep: Keep, results: Path, pictures: Pictures
    ) -> None:
        films = tuple(f"film{i // 4}" for i in range(40))
        keep(backbone={"name": "a"}, images=pictures(0.8), groups=films)
        keep(backbone={"name": "b"}, images=pictures(0.7))
        table = only_table(results)
        found = Standings([row.found for row in table.rows]).compare(0, 1)
        assert found is not None
        assert (found.n, found.over) == (10, "films")

    def test_one_group_says_nothing(self, keep: Keep, results: Path, pictures: Pictures) -> None:
        for name in "ab":
            keep(backbone={"name": name}, images=pictures(0.8, 9), groups=("film",) * 9)
        assert only_table(results).untested == "a single one of the films says nothing of others"

    def test_a_table_that_takes_long_is_told_of(
        self, keep: Keep, results: Path, pictures: Pictures
    ) -> None:
        told: list[str] = []
        for number in range(11):
            load_board(keep(backbone={"name": f"b{number}"}).parents[2], say=told.append)
        assert told == ["tiny_retrieval, reference: comparing 11 backbones"]

    def test_spoilt_counts_are_an_error(
        self, keep: Keep, results: Path, pictures: Pictures
    ) -> None:
        path = keep(images=pictures(0.8))
        beside(path, EVIDENCE).write_bytes(b"nothing")
        with pytest.raises(DensebenchError, match=r"evidence\.npz: not the file that the record"):
            load_board(results)

    def test_the_kept_images_are_those_of_the_record(self, keep: Keep, pictures: Pictures) -> None:
        path = keep(images=pictures(0.8, 7))
        counts = load_evidence(path, load_record(path))
        assert counts is not None
        assert counts.vectors.shape == (1, 7, 9)
