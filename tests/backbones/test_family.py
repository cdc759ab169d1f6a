"""What is asked of a backbone's family, and where its weights come from."""

from pathlib import Path

import pytest

from densebench.backbones.family import Asked, Family, family_of
from densebench.cards import FAMILIES, BackboneCard, Found, find_backbone
from densebench.host.errors import DensebenchError


def of(found: Found[BackboneCard], **changes: object) -> Found[BackboneCard]:
    return Found(BackboneCard(**{**found.card.model_dump(), **changes}), found.file)


def test_the_file_that_is_asked_for_goes_before_the_card_s() -> None:
    mine = Path("mine.safetensors")
    assert Asked("dino_s16", mine).weights_of(find_backbone("dino_s16")) == mine


def test_a_card_may_name_no_weights() -> None:
    assert Asked("rgb_s14").weights_of(find_backbone("rgb_s14")) is None


def test_weights_beside_the_card_are_found_from_its_own_file(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(b"weights")
    card = find_backbone("rgb_s14").card
    found = of(Found(card, tmp_path / "mine.toml"), weights={"path": "w.pth"})
    assert Asked("whatever").weights_of(found) == tmp_path.resolve() / "w.pth"
    gone = of(Found(card, tmp_path / "mine.toml"), weights={"path": "gone.pth"})
    with pytest.raises(DensebenchError, match=r"there is no file .*gone\.pth"):
        Asked("whatever").weights_of(gone)


def test_what_a_plug_in_computes_is_not_known() -> None:
    known = {name: family_of(name).is_known for name in FAMILIES.names()}
    assert known == {
        "baseline": True,
        "hf": True,
        "open_clip": True,
        "python": False,
        "timm": True,
    }
    assert all(isinstance(family_of(name), Family) for name in known)


def test_only_zoos_make_cards_of_ids() -> None:
    zoos = [name for name in FAMILIES.names() if family_of(name).card_of is not None]
    assert zoos == ["open_clip", "timm"]
