r"""The leaderboard as a paper prints it: booktabs, best in bold, second underlined.

Tasks of one variant stand side by side; what has no place there has a table of its own. The tables
want ``\usepackage{booktabs}`` alone. Published numbers are not in them.
"""

from collections.abc import Sequence
from pathlib import Path

from densebench.records.remarks import Remark
from densebench.report.board.board import (
    Board,
    Mark,
    Overall,
    Table,
    bracket,
    marks,
    percent,
    signed,
)
from densebench.report.board.rows import Row

MARKED = {"best": r"\textbf{{{}}}", "second": r"\underline{{{}}}", "": "{}"}
ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "|": r"\textbar{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    '"': "''",
    "±": r"$\pm$",
    "[": "{[}",  # at the start of a row it would be an argument of the line break before
    **{mark: rf"\{mark}" for mark in "&%$#_{}"},
}


def latex_tables(board: Board, _: Path) -> str:
    """All tables of a board; without links, so that the folder does not matter."""
    shown = {id(table) for overall in board.overall for table in overall.tables}
    parts = [_overall(overall) for overall in board.overall]
    parts += [_section(table) for table in board.tables if id(table) not in shown]
    head = "% Made by `densebench leaderboard --latex` from run records; needs booktabs.\n"
    return "\n".join([head, *parts])


def escape(text: str) -> str:
    """Text that LaTeX prints as it is."""
    return "".join(ESCAPES.get(character, character) for character in text)


def _overall(overall: Overall) -> str:
    columns = [[row.cells[i] for row in overall.rows] for i in range(len(overall.tables))]
    printed = [_numbers(column) for column in columns]
    means = [row.mean for row in overall.rows]
    printed.append(_marked(means, marks(means)))
    body = [
        [escape(row.label), *(column[place] for column in printed)]
        for place, row in enumerate(overall.rows)
    ]
    caption = f"mIoU in per cent, {overall.variant} protocols. The mean is over all columns."
    said = _said([cell for row in overall.rows for cell in row.cells])
    return _tabular(["Backbone", *overall.headings, "Mean"], body, escape(caption) + said)


def _section(table: Table) -> str:
    with_base = any(row.base for row in table.rows)
    head = ["Backbone", "mIoU", "Better / worse", "95% interval", "Pixel accuracy"]
    body = []
    for row, number in zip(table.rows, _numbers(table.rows), strict=True):
        standing = row.standing.text if row.standing else ""
        cells = [escape(row.label), number, standing, _spread(row), percent(row.pixel_accuracy)]
        body.append(cells + ([_against_base(row)] if with_base else []))
    partial = " Partial runs." if table.record.partial else ""
    left_out = f" {table.skipped}." if table.skipped else ""
    caption = (
        f"{table.title}: mIoU and pixel accuracy in per cent; intervals and tests over "
        f"{table.over}. {_tested(table)}{partial}{left_out}"
    )
    return _tabular(head + ["Against base"] * with_base, body, escape(caption) + _said(table.rows))


def _tested(table: Table) -> str:
    """What the column of tests says, or why it is empty."""
    if table.untested:
        return f"Not told apart: {table.untested}."
    return (
        "Better / worse: how many rows a row is better and worse than, all pairs tested at once "
        "at 5%; two rows that are not told apart need not be equal."
    )


def _numbers(rows: Sequence[Row | None]) -> list[str]:
    """The mIoU of a column, best and second marked, with the marks of what is said of a row."""
    mious = [None if row is None else row.miou for row in rows]
    printed = _marked(mious, marks(mious))
    said = ["" if row is None else "".join(r.latex for r in row.remarks) for row in rows]
    return [number + mark for number, mark in zip(printed, said, strict=True)]


def _said(rows: Sequence[Row | None]) -> str:
    """The sentences that the marks stand for, for a caption."""
    said: dict[tuple[str, Remark], None] = {}
    for row in rows:
        if row is not None:
            said |= dict.fromkeys((row.label, remark) for remark in row.remarks)
    return "".join(f" {r.latex} {escape(f'{label}: {r.sentence}.')}" for label, r in said)


def _marked(values: Sequence[float | None], marked: Sequence[Mark]) -> list[str]:
    pairs = zip(values, marked, strict=True)
    return ["" if v is None else MARKED[mark].format(percent(v)) for v, mark in pairs]


def _spread(row: Row) -> str:
    if row.deviation is not None:
        return escape(f"± {percent(row.deviation)} ({row.spread})")
    return bracket(row.interval)


def _against_base(row: Row) -> str:
    return "" if row.base is None else f"${signed(row.base.difference)}$"


def _tabular(
    head: Sequence[str],
    body: Sequence[Sequence[str]],
    caption: str,
) -> str:
    columns = "l" + "r" * (len(head) - 1)
    lines = ["  " + " & ".join(cells) for cells in body]
    return "\n".join(
        [
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{caption}}}",
            rf"  \begin{{tabular}}{{{columns}}}",
            r"  \toprule",
            "  " + " & ".join(escape(name) for name in head) + r" \\",
            r"  \midrule",
            *(line + r" \\" for line in lines),
            r"  \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
            "",
        ]
    )
