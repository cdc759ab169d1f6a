"""A published table, ours beside it, as a page and as JSON."""

from pathlib import Path

import pytest

from densebench.host.errors import DensebenchError
from densebench.records.schema import RunRecord
from densebench.report.board.reproduced import ReproducedRow, Reproduction
from densebench.report.formats.reproduction import (
    OURS,
    check_page,
    reproduction_json,
    reproduction_page,
    write_page,
)


@pytest.fixture
def found(tiny_record: RunRecord) -> Reproduction:
    row = ReproducedRow("t", "b", "a|task", "b", found=(Path("x.json"), tiny_record))
    failed = ReproducedRow("t", "c", "a|task", "c", failed="no [memory]")
    return Reproduction("tiny", "two", "A paper", (row, failed))


def test_the_page_says_whose_it_is_and_escapes(found: Reproduction, tmp_path: Path) -> None:
    page = reproduction_page(found, tmp_path)
    assert OURS in page
    assert "a\\|task" in page
    assert "failed: no" in page


def test_only_a_page_of_ours_is_written_over(found: Reproduction, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    check_page(page)
    write_page(found, page)
    write_page(found, page)
    page.write_text("mine")
    with pytest.raises(DensebenchError, match=r"page\.md is there and was not made by"):
        check_page(page)


def test_json_has_a_row_each(found: Reproduction, tiny_record: RunRecord) -> None:
    told = reproduction_json(found)
    done, failed = told["rows"]
    assert done["miou"] == pytest.approx(100 * tiny_record.score.value)
    assert (done["record"], done["failed"]) == ("x.json", None)
    assert (failed["miou"], failed["failed"]) == (None, "no [memory]")
