"""Tables on a terminal, of any metric and of any name."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from densebench.records.store import load_record
from densebench.report.board.pairs import compare_backbones
from densebench.report.formats.terminal import pair_tables, record_table

pytestmark = pytest.mark.usefixtures("own_places")

Keep = Callable[..., Path]
HOSTILE = "x [old] [/bold] \x1b[2J\x9b31m"


def shown(*tables: Any) -> str:
    file = io.StringIO()
    console = Console(width=200, file=file, force_terminal=False)
    for table in tables:
        console.print(table)
    return file.getvalue()


class TestAnErrorInMetres:
    def test_of_one_run(self, keep_depth: Keep) -> None:
        text = shown(record_table(load_record(keep_depth("flat", 0.4))))
        assert "RMSE m" in text and "within 25% %" in text
        assert "0.4" in text and "IoU" not in text

    def test_of_two_without_classes_and_less_is_green(self, mixed: Path) -> None:
        pair = compare_backbones("flat", "sharp", "depth", "reference", mixed)
        (table,) = pair_tables(pair)
        assert table.rows[-1].style == "green"
        text = shown(table)
        assert "RMSE: lower is better" in text and "-0.2" in text


class TestNames:
    def test_are_literal_and_send_nothing_to_the_terminal(
        self, keep: Keep, results: Path, pictures: Any
    ) -> None:
        paths = [
            keep(
                backbone={"name": name, "card": {"notice": HOSTILE}},
                images=pictures(0.5),
                task=HOSTILE,
            )
            for name in (HOSTILE, f"y{HOSTILE}")
        ]
        pair = compare_backbones(*map(str, paths), None, "reference", results)
        text = shown(*pair_tables(pair), record_table(load_record(paths[0])))
        assert "x [old] [/bold]" in text and "yx [old] [/bold]" in text
        assert not {"\x1b", "\x9b"} & set(text)
