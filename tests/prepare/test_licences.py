"""Terms are accepted once."""

from pathlib import Path
from typing import Any

import pytest

from densebench.host.errors import DensebenchError
from densebench.prepare.licences import require_acceptance
from densebench.prepare.sources import official_table

VOC = official_table().source("voc")


def accepted(root: Path, ear: Any, accept: bool = False, answer: bool | None = None) -> None:
    ask = None if answer is None else lambda question: answer
    require_acceptance("voc", VOC, root, accept, ask, ear)


def test_nobody_to_ask(tmp_path: Path, ear: Any) -> None:
    with pytest.raises(DensebenchError, match="add --accept-license"):
        accepted(tmp_path, ear)
    assert ear.lines[0] == VOC.title
    assert any(VOC.terms in line for line in ear.lines)


def test_no_is_remembered_by_nobody(tmp_path: Path, ear: Any) -> None:
    with pytest.raises(DensebenchError, match="terms are not accepted"):
        accepted(tmp_path, ear, answer=False)
    assert not list(tmp_path.rglob("accepted.json"))


@pytest.mark.parametrize("how", [{"accept": True}, {"answer": True}])
def test_yes_holds_from_then_on(how: dict[str, bool], tmp_path: Path, ear: Any) -> None:
    accepted(tmp_path, ear, **how)
    ear.lines.clear()
    accepted(tmp_path, ear)
    assert ear.lines == []


@pytest.mark.parametrize("content", ["", "[]", "{" * 10_000])
def test_what_cannot_be_read_is_no_acceptance(content: str, tmp_path: Path, ear: Any) -> None:
    accepted(tmp_path, ear, accept=True)
    next(tmp_path.rglob("accepted.json")).write_text(content)
    with pytest.raises(DensebenchError, match="not accepted yet"):
        accepted(tmp_path, ear)
