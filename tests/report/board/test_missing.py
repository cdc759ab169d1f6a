"""Why a cell is empty."""

from collections.abc import Callable
from pathlib import Path

import pytest

from densebench.report.board.board import load_board
from densebench.report.board.missing import NOT_RUN, OTHER_RULES, PARTIAL

Keep = Callable[..., Path]
A, B = {"name": "a"}, {"name": "b"}

pytestmark = pytest.mark.usefixtures("own_places")


def missing(results: Path, partial: bool = False) -> dict[str, tuple[str, ...]]:
    (overall,) = load_board(results, partial).overall
    return {row.label: row.missing for row in overall.rows}


@pytest.fixture
def two(keep: Keep, results: Path) -> Path:
    """One backbone on two tasks, another on the first alone."""
    keep(0.4, task="t1", backbone=A)
    keep(0.6, task="t2", backbone=A)
    keep(0.5, task="t1", backbone=B)
    return results


def test_nothing_was_run(two: Path) -> None:
    assert missing(two) == {"a": ("", ""), "b": ("", NOT_RUN)}


def test_a_partial_run_that_is_not_shown(two: Path, keep: Keep) -> None:
    keep(0.5, task="t2", backbone=B, partial=True, limit=3)
    assert missing(two)["b"] == ("", PARTIAL)
    keep(0.5, task="t2", backbone=A, partial=True, limit=3)
    assert missing(two)["a"] == ("", "")


def test_a_partial_run_that_has_a_table_of_its_own(two: Path, keep: Keep) -> None:
    keep(0.5, task="t2", backbone=B, partial=True, limit=1, dataset={"n_train": 1})
    assert missing(two, partial=True)["b"] == ("", PARTIAL)


def test_other_rules(two: Path, keep: Keep) -> None:
    keep(0.5, task="t2", backbone=B, protocol={"hash": "f" * 64}, dataset={"n_train": 1})
    assert missing(two)["b"] == ("", OTHER_RULES)


def test_a_share_of_the_images(two: Path, keep: Keep) -> None:
    keep(0.5, task="t2", backbone=B, dataset={"subset": "1/8", "n_train": 1})
    assert missing(two)["b"] == ("", "only on 1/8 of the training images")


def test_other_weights(two: Path, keep: Keep) -> None:
    keep(0.5, task="t2", backbone={**B, "fingerprint": "c" * 64})
    found = missing(two)
    told = [why for whys in found.values() for why in whys if why]
    assert len(found) == 3 and len(told) == 2
    assert all(why.startswith("only as b") and "weights" in why for why in told)
