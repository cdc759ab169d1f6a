"""Text of records as each format must have it: records come from anywhere, names are only names."""

import re

from rich.text import Text

from densebench.host.console import one_line

FORMULAS = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would compute, or hide one behind
HTML = {"<": "&lt;", ">": "&gt;"}


def literal(text: str, style: str = "") -> Text:
    """A cell of a terminal's table: neither markup nor control sequences; lines stay lines."""
    return Text("\n".join(one_line(line) for line in text.splitlines()), style=style)


def markdown(text: str) -> str:
    """Text for a markdown page: one line, no tag, no link."""
    line = "".join(HTML.get(character, character) for character in one_line(text))
    return line.replace("](", r"]\(")


def markdown_row(cells: list[str]) -> str:
    """A line of a table; a bar stays in its cell, whatever number of backslashes it follows."""
    told = (re.sub(r"(\\*)\|", lambda bar: rf"{2 * bar[1]}\|", cell) for cell in cells)
    return "| " + " | ".join(told) + " |"


def csv_cell(text: str) -> str:
    """Text that a spreadsheet shows and does not compute."""
    return f"'{text}" if text.startswith(FORMULAS) else text
