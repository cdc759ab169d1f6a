"""LaTeX tables, compiled where there is a compiler."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from densebench.report.board.board import load_board
from densebench.report.formats.latex import escape, latex_tables

pytestmark = pytest.mark.usefixtures("own_places")

Keep = Callable[..., Path]
Pictures = Callable[..., Any]


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

    def test_a_row_has_a_cell_for_each_column(self, papers: Path) -> None:
        text = latex_tables(load_board(papers), papers)
        tables = re.findall(r"\\begin\{tabular\}\{([lr]+)\}(.*?)\\end\{tabular\}", text, re.S)
        assert len(tables) == 1
        ((columns, body),) = tables
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert len(rows) == 1 + 3
        assert all(len(re.findall(r"(?<!\\)&", row)) == len(columns) - 1 for row in rows)
        assert all(rule in body for rule in (r"\toprule", r"\midrule", r"\bottomrule"))

    def test_best_and_second_of_each_column_and_blank_means(
        self, papers: Path, awkward: str
    ) -> None:
        text = latex_tables(load_board(papers), papers)
        rows = {line.split(" & ")[0].strip(): line for line in text.splitlines() if " & " in line}
        assert rows["seeds"].count(r"\textbf{") == 2  # alone on the other task and in the mean
        assert r"\textbf{" in rows[escape(awkward)]
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
    def test_compiles(self, papers: Path, tmp_path: Path) -> None:
        body = latex_tables(load_board(papers), papers)
        page = tmp_path / "page.tex"
        page.write_text(
            "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\n"
            f"{body}\n\\end{{document}}\n"
        )
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", page.name]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout

    def test_two_metrics_are_two_tables_each_with_its_best(self, mixed: Path) -> None:
        accurate, erring = latex_tables(load_board(mixed), mixed).split(r"\begin{table}")[1:]
        assert "mIoU in per cent, reference protocols." in accurate
        assert "RMSE in m, lower is better, reference protocols." in erring
        assert re.search(r"flat(?: & \\textbf\{0\.\d{3}\}){3}", erring)
        assert re.search(r"sharp & \\textbf", accurate)

    def test_a_name_of_two_lines_is_one(self) -> None:
        assert escape("a\n\nb\x1b[31m") == "a b\N{REPLACEMENT CHARACTER}{[}31m"
