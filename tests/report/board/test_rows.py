"""Which records share a column and which make one row; what must be said beside a row."""

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from rich.console import Console

from densebench.host.errors import DensebenchError
from densebench.measures.comparison import Comparison
from densebench.records.identity import column_key, row_key
from densebench.records.schema import RunRecord
from densebench.records.store import load_record
from densebench.report.board.board import load_board
from densebench.report.board.pairs import Pair
from densebench.report.board.reproduced import ReproducedRow
from densebench.report.board.tables import Table
from densebench.report.formats.csv import csv_lines
from densebench.report.formats.html import html_page
from densebench.report.formats.latex import latex_tables
from densebench.report.formats.markdown import markdown_page
from densebench.report.formats.model_index import model_index
from densebench.report.formats.page_data import board_data
from densebench.report.formats.pictures import Examples
from densebench.report.formats.terminal import pair_tables, record_table
from densebench.run.apart import Outcome
from densebench.run.matrix import matrix_table
from densebench.run.options import RunOptions

pytestmark = pytest.mark.usefixtures("own_places")

Keep = Callable[..., Path]


def training(seed: int, **changes: Any) -> dict[str, Any]:
    values = {
        "base": "dinov2_s14",
        "base_fingerprint": "b" * 64,
        "recipe": "neco",
        "recipe_hash": "e" * 64,
        "seed": seed,
        "steps": 100,
    }
    return {
        "name": f"neco_{seed}",
        "fingerprint": f"{seed}" * 64,
        "training": {**values, **changes},
    }


def only_table(results: Path) -> Table:
    (table,) = load_board(results).tables
    return table


def only_table_of(results: Path, task: str) -> Table:
    (table,) = [table for table in load_board(results).tables if table.task == task]
    return table


NOTHING = Comparison(0.1, 0.0, 0.2, 1.0, 0.95, "images", 40)


def other_metric(record: RunRecord) -> dict[str, Any]:
    """The record's first score, ranked by another metric."""
    score = record.score.model_dump()
    score["metrics"][0]["name"] = "another"
    return score


class TestTheKeys:
    def test_a_seed_is_in_neither_and_what_moves_a_number_is_in_one(
        self, tiny_record: RunRecord
    ) -> None:
        def changed(part: str, **values: Any) -> RunRecord:
            record = tiny_record.model_dump()
            record |= values if not part else {part: {**record[part], **values}}
            return RunRecord.model_validate(record)

        same = [changed("", seed=5), changed("dataset", subset_seed=5), changed("", device="x")]
        for record in same:
            assert column_key(record) == column_key(tiny_record)
            assert row_key(record) == row_key(tiny_record)
        for record in (
            changed("", task="another"),
            changed("protocol", variant="clean"),
            changed("protocol", hash="f"),
            changed("dataset", fingerprint="f"),
            changed("dataset", subset="1/128"),
            changed("dataset", skipped={"a": "unreadable"}),
            changed("", limit=3),
            changed("", scores=[other_metric(tiny_record)]),
        ):
            assert column_key(record) != column_key(tiny_record)
        for record in (
            changed("backbone", name="another"),
            changed("backbone", fingerprint="f"),
            changed("", precision="bf16"),
            changed("", nondeterministic=True),
        ):
            assert row_key(record) != row_key(tiny_record)


class TestTrainings:
    MIOUS = (0.40, 0.44, 0.42)

    def save(self, keep: Keep, **changes: Any) -> None:
        for seed, miou in enumerate(self.MIOUS):
            keep(miou, backbone=training(seed, **changes))

    def test_of_one_recipe_are_one_row(self, keep: Keep, results: Path) -> None:
        self.save(keep)
        (row,) = only_table(results).rows
        assert row.label == "neco of dinov2_s14 (3 trainings)"
        assert (row.value, row.deviation) == (pytest.approx(0.42), pytest.approx(0.02))
        assert row.spread == "3 trainings"
        text = markdown_page(load_board(results), results)
        assert "± 2.00 over 3 trainings" in text
        assert "**42.00** (trainings [0](" in text

    def test_under_one_name_the_row_has_it(self, keep: Keep, results: Path) -> None:
        for seed in range(2):
            keep(backbone={**training(seed), "name": "mine"})
        assert only_table(results).rows[0].label == "mine (2 trainings)"

    @pytest.mark.parametrize(
        "changes",
        [{"recipe_hash": "f" * 64}, {"base_fingerprint": "f" * 64}, {"steps": 7}],
    )
    def test_of_others_are_other_rows(
        self, keep: Keep, results: Path, changes: dict[str, Any]
    ) -> None:
        self.save(keep)
        keep(0.9, backbone={**training(9), "training": training(9, **changes)["training"]})
        labels = [row.label for row in only_table(results).rows]
        assert labels == ["neco_9", "neco of dinov2_s14 (3 trainings)"]

    def test_one_run_copied_is_one(self, keep: Keep, results: Path) -> None:
        for name in ("one", "copy"):
            keep(0.5, backbone={**training(0), "name": name}, run_id="a" * 12)
        (row,) = only_table(results).rows
        assert len(row.found) == 1
        assert row.deviation is None

    def test_one_run_under_another_id_is_one(self, keep: Keep, results: Path) -> None:
        for _ in range(2):
            keep(0.5, seed=3)
        keep(0.7, seed=4)
        (row,) = only_table(results).rows
        assert [record.seed for _, record in row.found] == [3, 4]
        assert row.spread == "2 seeds"

    def test_seeds_of_the_run_are_averaged_within_a_training(
        self, keep: Keep, results: Path
    ) -> None:
        for seed, miou in enumerate((0.4, 0.6)):
            for run, offset in enumerate((-0.02, 0.02)):
                keep(miou + offset, backbone=training(seed), seed=run)
        (row,) = only_table(results).rows
        assert row.values == pytest.approx((0.4, 0.6))
        assert row.varied == ("training", "seed")
        assert row.deviation == pytest.approx(0.1 * 2**0.5)

    def test_in_every_other_format(self, keep: Keep, results: Path) -> None:
        self.save(keep)
        board = load_board(results)
        (line,) = csv.DictReader(csv_lines(board, results).splitlines())
        assert line["label"] == "neco of dinov2_s14 (3 trainings)"
        assert (line["training_seeds"], line["deviation_over"]) == ("0 1 2", "3 trainings")
        assert r"$\pm$ 2.00 (3 trainings)" in latex_tables(board, results)
        (row,) = board_data(board, results, [Examples([], 0)])["tables"][0]["rows"]
        assert (row["spread"], row["deviation"]) == ("3 trainings", pytest.approx(0.02))
        found = yaml.safe_load(model_index(board, "neco_1").split("---\n")[1])
        args = found["model-index"][0]["results"][0]["metrics"][0]["args"]
        assert args["deviation_over"] == "3 trainings"


class TestRemarks:
    SEEN: ClassVar[Any] = {"contamination": {"seen": 3, "total": 40}}
    SENTENCE = "3 of the 40 validation images were among the images of the post-training"

    @pytest.fixture(autouse=True)
    def marked(self, keep: Keep) -> Path:
        keep(0.4, backbone={"name": "clean"}, contamination={"seen": 0, "total": 40})
        keep(0.3, backbone={"name": "loose"}, nondeterministic=True)
        keep(0.2, backbone={"name": "coarse"}, precision="tf32", tf32=True)
        keep(0.1, backbone={"name": "drawn", "card": {"notice": "Random weights."}})
        keep(0.05, backbone={"name": "x@random-7", "random_weights": 7})
        keep(0.9, backbone={"name": "seen"}, task="t2", **self.SEEN)
        return keep(0.5, backbone={"name": "seen"}, **self.SEEN)

    def test_markdown(self, results: Path) -> None:
        text = markdown_page(load_board(results), results)
        rows = {r.split(" | ")[0][2:]: r for r in text.splitlines() if r.startswith("| ")}
        for name, mark in (
            ("seen", "†"),
            ("loose", "‡"),
            ("coarse", "§"),
            ("drawn", "¶"),
            ("x@random-7", "∗"),
        ):
            assert mark in rows[name]
        assert not re.search("[†‡§¶∗]", rows["clean"])
        assert "∗ **x@random-7:** the weights are drawn at random (seed 7), not learnt" in text
        assert f"† **seen:** {self.SENTENCE}" in text
        assert "‡ **loose:** the same images did not give the same features twice" in text
        assert "§ **coarse:** matrix products were rounded to TF32" in text
        assert "¶ **drawn:** Random weights." in text
        overall = text.split("## Overall")[1].split("\n## ")[0]
        assert re.search(r"\| seen \| \[\S+\]\(\S+\) † \| \[\S+\]\(\S+\) † \|", overall)
        assert f"† **seen:** {self.SENTENCE}" in overall

    def test_csv(self, results: Path) -> None:
        lines = csv.DictReader(csv_lines(load_board(results), results).splitlines())
        found = {r["label"]: (r["remarks"], r["val_images_seen"]) for r in lines}
        assert found == {
            "seen": ("contaminated 3/40", "3"),
            "clean": ("", "0"),
            "loose": ("nondeterministic", ""),
            "coarse": ("tf32", ""),
            "drawn": ("notice", ""),
            "x@random-7": ("random weights", ""),
        }

    def test_latex(self, results: Path) -> None:
        text = latex_tables(load_board(results), results)
        assert r"\textbf{50.00}$\dagger$" in text
        assert rf"$\dagger$ seen: {self.SENTENCE}" in text
        assert r"$\ddagger$ loose: the same images" in text
        assert r"\S{} coarse: matrix products" in text
        assert r"$\ast$ x@random-7: the weights are drawn at random (seed 7)" in text

    def test_the_page(self, results: Path) -> None:
        board = load_board(results)
        data = board_data(board, results, [Examples([], 0)] * 2)
        remarks = {r["label"]: r["remarks"] for t in data["tables"] for r in t["rows"]}
        assert remarks["seen"][0][0] == "†"
        assert remarks["seen"][0][1].startswith(self.SENTENCE)
        assert remarks["clean"] == []
        assert remarks["x@random-7"][0][0] == "∗"
        assert "drawn at random (seed 7)" in remarks["x@random-7"][0][1]
        (row,) = [r for o in data["overall"] for r in o["rows"] if r["label"] == "seen"]
        assert row["marks"] == ["†", "†"]
        assert self.SENTENCE in html_page(board, results)

    def test_model_index(self, results: Path) -> None:
        found = yaml.safe_load(model_index(load_board(results), "seen").split("---\n")[1])
        for result in found["model-index"][0]["results"]:
            if result["metrics"][0]["type"] == "mean_iou":
                (sentence,) = result["metrics"][0]["args"]["remarks"]
                assert sentence.startswith(self.SENTENCE)

    def test_no_model_index_of_random_weights(self, results: Path) -> None:
        with pytest.raises(DensebenchError, match="its weights are drawn at random"):
            model_index(load_board(results), "x@random-7")

    def test_terminal(self, marked: Path) -> None:
        console = Console(width=200, record=True, file=io.StringIO())
        console.print(record_table(load_record(marked)))
        text = " ".join(console.export_text().split())
        assert "seen † on tiny_retrieval" in text
        assert f"† {self.SENTENCE}" in text

    def test_a_matrix_and_a_comparison(self, marked: Path, results: Path, keep: Keep) -> None:
        record = load_record(marked)
        options = RunOptions("seen", "tiny_retrieval")
        table = matrix_table([Outcome(options, record, marked)])
        assert str(next(iter(table.columns[0].cells))) == "seen †"
        assert f"† seen: {self.SENTENCE}" in str(table.caption)
        pair = Pair(*only_table_of(results, "tiny_retrieval").rows[:2], NOTHING)
        summary = pair_tables(pair)[0]
        assert str(next(iter(summary.columns[0].cells))) == "seen †"
        assert self.SENTENCE in str(summary.caption)
        assert pair.to_json()["first"]["remarks"] == ["contaminated 3/40"]
        *_, drawn = only_table_of(results, "tiny_retrieval").rows
        pair = Pair(drawn, drawn, NOTHING)
        summary = pair_tables(pair)[0]
        assert str(next(iter(summary.columns[0].cells))) == "x@random-7 ∗"
        assert "drawn at random (seed 7)" in str(summary.caption)
        assert pair.to_json()["first"]["remarks"] == ["random weights"]

    def test_a_published_table_made_again(self, marked: Path) -> None:
        found = (marked, load_record(marked))
        (sentence, *_) = ReproducedRow("t", "b", "t", "b", found=found).remarks()
        assert sentence.startswith(self.SENTENCE)
