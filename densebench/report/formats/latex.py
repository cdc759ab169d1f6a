r"""The leaderboard as a paper prints it: booktabs, best in bold, second underlined.

Tasks of one variant stand side by side; what has no place there has a table of its own. The tables
want ``\usepackage{booktabs}`` alone. Published numbers are not in them.
"""

from collections.abc import Sequence
from pathlib import Path

from densebench.host.console import one_line
from densebench.records.remarks import Remark
from densebench.records.schema import MetricScore
from densebench.report.board.board import Board
from densebench.report.board.columns import bracket, described, heading, marks, signed
from densebench.report.board.overall import Overall
from densebench.report.board.rows import Row
from densebench.report.board.tables import Table

MARKED = {"best": r"\textbf{{{}}}", "second": r"\underline{{{}}}", "": "{}"}
GENERATED = "% Made by `densebench leaderboard --latex`"
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
    head = f"{GENERATED} from run records; needs booktabs.\n"
    return "\n".join([head, *parts])


def escape(text: str) -> str:
    """Text that LaTeX prints as it is, on one line."""
    return "".join(ESCAPES.get(character, character) for character in one_line(text))


def _overall(overall: Overall) -> str:
    columns = [[row.cells[i] for row in overall.rows] for i in range(len(overall.tables))]
    metric = overall.metric
    printed = [_numbers(metric, column) for column in columns]
    printed.append(_marked(metric, [row.mean for row in overall.rows]))
    body = [
        [escape(row.label), *(column[place] for column in printed)]
        for place, row in enumerate(overall.rows)
    ]
    caption = f"{described([metric])}, {overall.variant} protocols. The mean is over all columns."
    said = _said([cell for row in overall.rows for cell in row.cells])
    return _tabular(["Backbone", *overall.headings, "Mean"], body, escape(caption) + said)


def _section(table: Table) -> str:
    with_base = any(row.base for row in table.rows)
    head = ["Backbone", heading(table.metric), "Better / worse", "95% interval"]
    head += [_capital(heading(metric)) for metric in table.others]
    body = []
    for row, number in zip(table.rows, _numbers(table.metric, table.rows), strict=True):
        standing = row.standing.text if row.standing else ""
        others = ((metric, row.of(metric.name)) for metric in table.others)
        told = ["" if value is None else metric.text(value) for metric, value in others]
        cells = [escape(row.label), number, standing, _spread(row), *told]
        body.append(cells + ([_against_base(row)] if with_base else []))
    partial = " Partial runs." if table.record.partial else ""
    left_out = f" {table.skipped}." if table.skipped else ""
    caption = (
        f"{table.title}: {described([table.metric, *table.others])}; intervals and tests over "
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


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _numbers(metric: MetricScore, rows: Sequence[Row | None]) -> list[str]:
    """The values of a column, best and second marked, with the marks of what is said of a row."""
    printed = _marked(metric, [None if row is None else row.value for row in rows])
    said = ["" if row is None else "".join(r.latex for r in row.remarks) for row in rows]
    return [number + mark for number, mark in zip(printed, said, strict=True)]


def _said(rows: Sequence[Row | None]) -> str:
    """The sentences that the marks stand for, for a caption."""
    said: dict[tuple[str, Remark], None] = {}
    for row in rows:
        if row is not None:
            said |= dict.fromkeys((row.label, remark) for remark in row.remarks)
    return "".join(f" {r.latex} {escape(f'{label}: {r.sentence}.')}" for label, r in said)


def _marked(metric: MetricScore, values: Sequence[float | None]) -> list[str]:
    pairs = zip(values, marks(metric, values), strict=True)
    return ["" if v is None else MARKED[mark].format(metric.text(v)) for v, mark in pairs]


def _spread(row: Row) -> str:
    if row.deviation is not None:
        return escape(f"± {row.metric.text(row.deviation)} ({row.spread})")
    return bracket(row.metric, row.interval)


def _against_base(row: Row) -> str:
    return "" if row.base is None else f"${signed(row.metric, row.base.difference)}$"


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
