"""``source = "baseline"``."""

from pathlib import Path

import pytest

from densebench.backbones.families.baseline import FAMILY
from densebench.backbones.family import Asked
from densebench.cards import find_backbone
from densebench.host.errors import DensebenchError


def test_a_descriptor_by_its_card() -> None:
    found = find_backbone("hog_s14")
    built = FAMILY.build(found, Asked("hog_s14"))
    assert (built.patch_size, built.embed_dim) == (found.card.patch_size, found.card.embed_dim)
    assert FAMILY.is_known


def test_it_takes_no_weights(tmp_path: Path) -> None:
    (tmp_path / "w.pt").touch()
    with pytest.raises(DensebenchError, match="hog_s14: a hand-made descriptor takes no weights"):
        FAMILY.build(find_backbone("hog_s14"), Asked("hog_s14", weights=tmp_path / "w.pt"))
