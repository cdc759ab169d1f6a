"""The leaderboard's files, all made from one board, and all of them written or none."""

import functools
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from densebench.cards import suggestion
from densebench.files.atomic import replacing
from densebench.host.errors import DensebenchError
from densebench.report.board.board import Board, load_board
from densebench.report.formats import csv, html, latex, markdown
from densebench.report.formats.ours import check_ours

Render = Callable[[Board, Path], str]  # a board, and the folder that links start from


@dataclass(frozen=True)
class Format:
    """One kind of file: what makes it, and how the line begins by which it is known as ours."""

    render: Render
    start: str


FORMATS: Mapping[str, Format] = {
    "markdown": Format(markdown.markdown_page, markdown.GENERATED),
    "csv": Format(csv.csv_lines, csv.GENERATED),
    "latex": Format(latex.latex_tables, latex.GENERATED),
    "html": Format(html.html_page, html.GENERATED),
}


def check_formats(names: Iterable[str]) -> None:
    """Nothing, for names of formats.

    Raises:
        DensebenchError: one that is none.
    """
    for name in names:
        if name not in FORMATS:
            raise DensebenchError(
                f"no format '{name}'{suggestion(name, FORMATS)}; there are {', '.join(FORMATS)}"
            )


def check_outputs(files: Mapping[str, Path]) -> None:
    """Refuse, before any work is done, what could not or must not be written.

    Raises:
        DensebenchError: a file is there that the leaderboard did not make, two formats are to go
            into one file, or a folder cannot be written to.
    """
    if len({file.resolve() for file in files.values()}) < len(files):
        raise DensebenchError("two formats cannot be written into one file; give each its own")
    for name, file in files.items():
        check_ours(file, FORMATS[name].start, "densebench leaderboard")
        folder = next(parent for parent in file.absolute().parents if parent.exists())
        if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
            raise DensebenchError(f"{file} cannot be written: {folder} is no folder to write to")


def write_formats(board: Board, files: Mapping[str, Path], images: bool = True) -> None:
    """Write a board in several formats, by the names that ``FORMATS`` has; all or none.

    Args:
        board: What they show.
        files: Where each goes.
        images: Whether the page embeds panels, which show images of the datasets.

    Raises:
        DensebenchError: as ``check_outputs``; an index of panels or a picture cannot be read.
    """
    check_outputs(files)
    renders = {name: FORMATS[name].render for name in files}
    renders |= {"html": functools.partial(html.html_page, images=images)}
    pages = {file: renders[name](board, file.parent) for name, file in files.items()}
    with ExitStack() as opened:
        for file, page in pages.items():
            part = opened.enter_context(replacing(file))
            part.write(page.encode())
            part.flush()


def write_leaderboard(results: Path, page: Path, partial: bool) -> int:
    """Write the markdown page of all records under ``results``; returns the number of tables.

    Raises:
        DensebenchError: there is no such folder, a file in it is no record, or the page is a file
            that the leaderboard did not make.
    """
    board = load_board(results, partial)
    write_formats(board, {"markdown": page})
    return len(board.tables)
