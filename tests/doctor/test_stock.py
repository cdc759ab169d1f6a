"""Datasets, cards and weights that are here."""

from pathlib import Path

import pytest

from densebench.cards import card_names
from densebench.doctor import stock


@pytest.fixture(autouse=True)
def _own(own_places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(own_places / "hf"))


def test_nothing_is_here_but_how_to_get_it_is_told(tmp_path: Path) -> None:
    found = {finding.name: finding for finding in stock.datasets(tmp_path)}
    assert found["voc"].state == "note"
    assert found["voc"].remedy == f"densebench data prepare voc --root {tmp_path}"
    assert {finding.state for finding in found.values()} == {"note"}


def test_a_part_is_told_as_a_part(tmp_path: Path) -> None:
    place = tmp_path / "VOCdevkit" / "VOC2012"
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (place / folder).mkdir(parents=True)
    found = {finding.name: finding for finding in stock.datasets(tmp_path)}
    assert found["voc"].text.startswith("partly there")


def test_cards_that_cannot_be_read_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine" / "tasks").mkdir(parents=True)
    (tmp_path / "mine" / "tasks" / "bad.toml").write_text("name = ")
    monkeypatch.setenv("DENSEBENCH_PATH", f"{tmp_path / 'mine'}:{tmp_path / 'gone'}")
    found = list(stock.card_files())
    broken = [finding for finding in found if finding.state == "broken"]
    assert any("bad.toml" in finding.name + finding.text for finding in broken)
    assert any(str(tmp_path / "gone") in finding.text + finding.name for finding in broken)
    monkeypatch.delenv("DENSEBENCH_PATH")
    good = {finding.name: finding.text for finding in found if finding.state == "ok"}
    assert good["backbones"] == f"{len(card_names('backbones'))} cards"


def test_no_weights_are_here() -> None:
    (found,) = stock.weights()
    assert found.text.startswith("0 of ")
    assert found.remedy == "densebench weights fetch NAME"
