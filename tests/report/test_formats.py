"""CSV, LaTeX and model-index: each read back by what is made to read it."""

import csv
import io
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub.repocard_data import model_index_to_eval_results

from densebench import cli
from densebench.host.errors import DensebenchError
from densebench.records.store import load_record
from densebench.report.board.board import load_board
from densebench.report.formats.csv import csv_lines
from densebench.report.formats.latex import escape, latex_tables
from densebench.report.formats.model_index import model_index
from densebench.report.outputs import write_formats

pytestmark = pytest.mark.usefixtures("own_places")

Keep = Callable[..., Path]
Pictures = Callable[..., Any]
AWKWARD = r'a_b&50%$#{x}~^\|<y>,"z"'


@pytest.fixture
def board(keep: Keep, results: Path, pictures: Pictures) -> Path:
    """A base and what was adapted from it on one task, two seeds of a third on two tasks."""
    keep(backbone={"name": "base"}, images=pictures(0.6, seed=4))
    card = {"adapted_from": "base"}
    keep(backbone={"name": AWKWARD, "card": card}, images=pictures(0.7, seed=4))
    for seed in range(2):
        keep(backbone={"name": "seeds"}, images=pictures(0.65, seed=seed), seed=seed)
        keep(0.5 + 0.1 * seed, backbone={"name": "seeds"}, task="t2", seed=seed)
    return results


class TestCsv:
    def rows(self, results: Path) -> list[dict[str, str]]:
        text = csv_lines(load_board(results), results.parent)
        return list(csv.DictReader(io.StringIO(text)))

    def test_a_line_for_each_row_with_all_that_is_known(self, board: Path) -> None:
        rows = self.rows(board)
        assert len(rows) == 4
        by_name = {row["backbone"]: row for row in rows if row["task"] == "tiny_retrieval"}
        tuned, seeds = by_name[AWKWARD], by_name["seeds"]
        path = board.parent / tuned["records"]
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
        mious = [load_record(board.parent / part).score.value for part in seeds["records"].split()]
        assert float(seeds["miou"]) == pytest.approx(100 * sum(mious) / 2, abs=1e-4)

    def test_published_numbers_have_columns_of_their_own(self, board: Path) -> None:
        assert all(row["published_miou"] == "" for row in self.rows(board))

    def test_no_record_no_line(self, results: Path) -> None:
        results.mkdir(parents=True)
        assert csv_lines(load_board(results), results) == ""


class TestLatex:
    @pytest.mark.parametrize(
        ("text", "wanted"),
        [
            ("a_b & 50%", r"a\_b \& 50\%"),
            (r"\x{y}", r"\textbackslash{}x\{y\}"),
            ("~^|<>", r"\textasciitilde{}\textasciicircum{}\textbar{}\textless{}\textgreater{}"),
            ("[x]", "{[}x]"),
            ("1.00 ± 0.10", r"1.00 $\pm$ 0.10"),
        ],
    )
    def test_escapes(self, text: str, wanted: str) -> None:
        assert escape(text) == wanted

    def test_a_row_has_a_cell_for_each_column(self, board: Path) -> None:
        text = latex_tables(load_board(board), board)
        tables = re.findall(r"\\begin\{tabular\}\{([lr]+)\}(.*?)\\end\{tabular\}", text, re.S)
        assert len(tables) == 1
        ((columns, body),) = tables
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert len(rows) == 1 + 3
        assert all(len(re.findall(r"(?<!\\)&", row)) == len(columns) - 1 for row in rows)
        assert all(rule in body for rule in (r"\toprule", r"\midrule", r"\bottomrule"))

    def test_best_and_second_of_each_column_and_blank_means(self, board: Path) -> None:
        text = latex_tables(load_board(board), board)
        rows = {line.split(" & ")[0].strip(): line for line in text.splitlines() if " & " in line}
        assert rows["seeds"].count(r"\textbf{") == 2  # alone on the other task and in the mean
        assert r"\textbf{" in rows[escape(AWKWARD)]
        assert rows["base"].rstrip("\\ ").endswith("&")
        assert text.count(r"\underline{") == 1

    def test_a_table_beside_no_other_has_tests_and_intervals(
        self, keep: Keep, results: Path, pictures: Pictures
    ) -> None:
        keep(backbone={"name": "a"}, images=pictures(0.8))
        keep(backbone={"name": "b"}, images=pictures(0.6))
        text = latex_tables(load_board(results), results)
        assert r"95\% interval" in text
        assert re.search(r"a & \\textbf\{[\d.]+\} & 1 / 0 & \[[\d.]+, [\d.]+\] & [\d.]+ \\\\", text)
        assert "all pairs tested at once at 5\\%" in text
        assert "intervals and tests over 40 images" in text

    @pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no pdflatex here")
    def test_compiles(self, board: Path, tmp_path: Path) -> None:
        body = latex_tables(load_board(board), board)
        page = tmp_path / "page.tex"
        page.write_text(
            "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\n"
            f"{body}\n\\end{{document}}\n"
        )
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", page.name]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


class TestModelIndex:
    def test_is_read_back_by_the_hub(self, board: Path) -> None:
        text = model_index(load_board(board), "seeds")
        start, body, end = text.split("---\n")
        assert (start, end) == ("", "")
        name, results = model_index_to_eval_results(yaml.safe_load(body)["model-index"])
        assert name == "seeds"
        assert len(results) == 4
        found = {(r.task_name, r.metric_type): r for r in results}
        second = found["t2, reference (in_context)", "mean_iou"]
        assert second.metric_value == pytest.approx(55)
        assert second.metric_args["seeds"] == [0, 1]
        assert second.metric_args["deviation"] == pytest.approx(7.07)
        assert second.task_type == "image-segmentation"
        assert len({result.unique_identifier for result in results}) == 2

    def test_one_seed_has_an_interval(self, board: Path) -> None:
        body = yaml.safe_load(model_index(load_board(board), "base").split("---\n")[1])
        _, results = model_index_to_eval_results(body["model-index"])
        low, high = results[0].metric_args["interval_95"]
        assert low < results[0].metric_value < high
        assert results[0].metric_args["interval_over"] == "40 images"
        assert results[0].metric_args["worse_than"] == 2

    def test_an_unknown_backbone_is_refused(self, board: Path) -> None:
        with pytest.raises(DensebenchError, match="did you mean 'seeds'"):
            model_index(load_board(board), "seed")


class TestTheCommand:
    def run(self, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["densebench", "leaderboard", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0)

    def test_writes_what_is_asked_for_and_no_more(
        self,
        board: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        table, paper = tmp_path / "a.csv", tmp_path / "deep" / "a.tex"
        assert not self.run(monkeypatch, "--results", board, "--csv", table, "--latex", paper)
        assert capsys.readouterr().out == f"2 tables in {table}\n2 tables in {paper}\n"
        assert table.read_text() == csv_lines(load_board(board), tmp_path)
        assert paper.is_file()
        assert not (board.parent / "README.md").exists()
        assert not self.run(monkeypatch, "--results", board)
        assert (board.parent / "README.md").is_file()

    def test_prints_the_model_index_alone(
        self, board: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert not self.run(monkeypatch, "--results", board, "--model-index", "base")
        assert capsys.readouterr().out == model_index(load_board(board), "base")
        assert self.run(monkeypatch, "--results", board, "--model-index", "bas") == 2
        assert "did you mean 'base'?" in capsys.readouterr().err

    def test_a_place_that_cannot_be_written_leaves_nothing_half(
        self, board: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(DensebenchError, match="file"):
            write_formats(load_board(board), {"csv": tmp_path / "file" / "a.csv"})
