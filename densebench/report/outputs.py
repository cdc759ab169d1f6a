"""The leaderboard's files, all made from one board."""

from collections.abc import Callable, Mapping
from pathlib import Path

from densebench.files.atomic import write_atomically
from densebench.report.board.board import Board, load_board
from densebench.report.formats.csv import csv_lines
from densebench.report.formats.latex import latex_tables
from densebench.report.formats.markdown import markdown_page

Render = Callable[[Board, Path], str]  # a board, and the folder that links start from
FORMATS: Mapping[str, Render] = {
    "markdown": markdown_page,
    "csv": csv_lines,
    "latex": latex_tables,
}


def write_formats(board: Board, files: Mapping[str, Path]) -> None:
    """Write a board in several formats, by the names that ``FORMATS`` has."""
    pages = {file: FORMATS[name](board, file.parent) for name, file in files.items()}
    for file, page in pages.items():
        write_atomically(file, page)


def write_leaderboard(results: Path, page: Path, partial: bool) -> int:
    """Write the markdown page of all records under ``results``; returns the number of tables.

    Raises:
        DensebenchError: there is no such folder, or a file in it is no record.
    """
    board = load_board(results, partial)
    write_formats(board, {"markdown": page})
    return len(board.tables)
