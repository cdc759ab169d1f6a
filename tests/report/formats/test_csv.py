"""Comma-separated values, read back."""

import csv
import io
from collections.abc import Callable
from pathlib import Path

import pytest

from densebench.records.store import load_record
from densebench.report.board.board import load_board
from densebench.report.formats.csv import csv_lines

pytestmark = pytest.mark.usefixtures("own_places")

Keep = Callable[..., Path]


class TestCsv:
    def rows(self, results: Path) -> list[dict[str, str]]:
        text = csv_lines(load_board(results), results.parent)
        return list(csv.DictReader(io.StringIO(text)))

    def test_a_line_for_each_row_with_all_that_is_known(self, papers: Path, awkward: str) -> None:
        rows = self.rows(papers)
        assert len(rows) == 4
        by_name = {row["backbone"]: row for row in rows if row["task"] == "tiny_retrieval"}
        tuned, seeds = by_name[awkward], by_name["seeds"]
        path = papers.parent / tuned["records"]
        assert tuned["base"] == "base"
        difference = float(tuned["miou"]) - float(by_name["base"]["miou"])
        assert float(tuned["against_base"]) == pytest.approx(difference, abs=2e-4)
        assert float(tuned["against_base_low"]) < difference < float(tuned["against_base_high"])
        assert float(tuned["against_base_p"]) < 0.01
        assert path.is_file()
        assert (tuned["better_than"], by_name["base"]["better_than"]) == ("2", "0")
        assert (tuned["worse_than"], by_name["base"]["worse_than"]) == ("0", "2")
        assert (tuned["interval_over"], tuned["interval_n"]) == ("images", "40")
        assert (seeds["seeds"], seeds["low"], seeds["base"]) == ("0 1", "", "")
        assert float(seeds["deviation"]) > 0
        assert seeds["deviation_over"] == "2 seeds"
        mious = [load_record(papers.parent / part).score.value for part in seeds["records"].split()]
        assert float(seeds["miou"]) == pytest.approx(100 * sum(mious) / 2, abs=1e-4)

    def test_published_numbers_have_columns_of_their_own(self, papers: Path) -> None:
        assert all(row["published_miou"] == "" for row in self.rows(papers))

    def test_no_record_no_line(self, results: Path) -> None:
        results.mkdir(parents=True)
        assert csv_lines(load_board(results), results) == ""

    def test_each_metric_has_a_column_in_its_unit(self, mixed: Path) -> None:
        rows = {(row["task"], row["label"]): row for row in self.rows(mixed)}
        accurate, erring = rows["colours", "sharp"], rows["depth", "flat"]
        assert (accurate["metric"], accurate["unit"], accurate["better"]) == ("miou", "%", "higher")
        assert (erring["metric"], erring["unit"], erring["better"]) == ("rmse", "m", "lower")
        assert (accurate["rmse"], erring["miou"], erring["pixel_accuracy"]) == ("", "", "")
        assert float(erring["rmse"]) == pytest.approx(0.4, abs=0.01)
        assert float(erring["near"]) == 60.0
        assert float(erring["low"]) < float(erring["rmse"]) < float(erring["high"])
        assert float(rows["depth", "sharp"]["against_base"]) == pytest.approx(0.2, abs=0.02)

    def test_no_cell_is_a_formula(self, keep: Keep, results: Path) -> None:
        names = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "plain")
        for name in names:
            keep(backbone={"name": name})
        found = {row["backbone"] for row in self.rows(results)}
        assert found == {f"'{name}" for name in names[:-1]} | {"plain"}
