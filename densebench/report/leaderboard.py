"""The leaderboard's files, made from run records alone."""

from pathlib import Path

from densebench.report.markdown import markdown_page
from densebench.report.tables import load_board
from densebench.results import write_atomically


def write_leaderboard(results: Path, page: Path, partial: bool) -> int:
    """Write the markdown page of all records under ``results``; returns the number of tables.

    Raises:
        DensebenchError: there is no such folder, or a file in it is no record.
    """
    board = load_board(results, partial)
    write_atomically(page, markdown_page(board, page.parent))
    return len(board.tables)
