r"""The leaderboard as a paper prints it: booktabs, best in bold, second underlined.

Tasks of one variant stand side by side; what has no place there has a table of its own. The tables
want ``\usepackage{booktabs}`` alone. Published numbers are not in them.
"""

from collections.abc import Sequence
from pathlib import Path

from densebench.report.tables import Board, Mark, Overall, Row, Table, marks, percent, signed

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
    numbers = [[None if cell is None else cell.miou for cell in column] for column in columns]
    numbers.append([row.mean for row in overall.rows])
    printed = [_marked(values, marks(values)) for values in numbers]
    body = [
        [escape(row.label), *(column[place] for column in printed)]
        for place, row in enumerate(overall.rows)
    ]
    caption = f"mIoU in per cent, {overall.variant} protocols. The mean is over all columns."
    return _tabular(["Backbone", *overall.headings, "Mean"], body, caption)


def _section(table: Table) -> str:
    with_base = any(row.base for row in table.rows)
    head = ["Rank", "Backbone", "mIoU", "95% interval", "Pixel accuracy"]
    printed = _marked([r.miou for r in table.rows], marks([r.miou for r in table.rows]))
    body = []
    for row, number in zip(table.rows, printed, strict=True):
        cells = [str(row.rank or ""), escape(row.label), number, _spread(row)]
        cells.append(percent(row.pixel_accuracy))
        body.append(cells + ([_against_base(row)] if with_base else []))
    partial = " Partial runs." if table.record.partial else ""
    caption = f"{table.title}: mIoU and pixel accuracy in per cent.{partial}"
    return _tabular(head + ["Against base"] * with_base, body, caption, text_columns=(1,))


def _marked(values: Sequence[float | None], marked: Sequence[Mark]) -> list[str]:
    pairs = zip(values, marked, strict=True)
    return ["" if v is None else MARKED[mark].format(percent(v)) for v, mark in pairs]


def _spread(row: Row) -> str:
    if row.deviation is not None:
        return escape(f"± {percent(row.deviation)}") + f" ({len(row.found)} seeds)"
    interval = row.record.score.interval
    return f"[{percent(interval.low)}, {percent(interval.high)}]"


def _against_base(row: Row) -> str:
    return "" if row.base is None else f"${signed(row.base.difference)}$"


def _tabular(
    head: Sequence[str],
    body: Sequence[Sequence[str]],
    caption: str,
    text_columns: tuple[int, ...] = (0,),
) -> str:
    columns = "".join("l" if place in text_columns else "r" for place in range(len(head)))
    lines = ["  " + " & ".join(cells) for cells in body]
    return "\n".join(
        [
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{escape(caption)}}}",
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
