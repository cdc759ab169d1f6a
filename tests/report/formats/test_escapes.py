"""Text that is only text, in every format."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from densebench.report.formats.escapes import csv_cell, literal, markdown, markdown_row


@given(st.text(alphabet="<>[]()!`a\\|\n\x1b "))
def test_markdown_has_neither_tags_nor_links(text: str) -> None:
    told = markdown(text)
    assert not {"<", ">", "\n", "\x1b"} & set(told)
    assert "](" not in told


@given(st.lists(st.text(alphabet="a\\|"), min_size=1, max_size=4))
def test_a_row_has_as_many_cells_as_were_given(cells: list[str]) -> None:
    row, bars, escaped = markdown_row(cells), 0, False
    for character in row:  # as GitHub's parser goes through a line
        bars += character == "|" and not escaped
        escaped = character == "\\" and not escaped
    assert bars == len(cells) + 1


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@a", "\t=1", "\r=1"])
def test_a_formula_is_text(text: str) -> None:
    assert csv_cell(text) == f"'{text}"


def test_other_cells_are_as_they_were() -> None:
    assert [csv_cell(text) for text in ("", "a=1", "hog_s14")] == ["", "a=1", "hog_s14"]


def test_markup_and_control_sequences_are_literal() -> None:
    assert literal("x [old] [/b]\n\x1b[31mred").plain == "x [old] [/b]\n�[31mred"
