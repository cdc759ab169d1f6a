"""``source = "open_clip"``."""

import pytest

from densebench.backbones.families.open_clip import FAMILY
from densebench.host.errors import DensebenchError


def test_the_card_of_a_model_is_the_librarys() -> None:
    assert FAMILY.card_of is not None
    card = FAMILY.card_of("ViT-B-16/openai")
    assert (card.patch_size, card.embed_dim) == (16, 768)
    assert card.mean == pytest.approx((0.48145466, 0.4578275, 0.40821073))


@pytest.mark.parametrize("name", ["ViT-B-17/openai", "RN50/openai", "ViT-B-16/nobody"])
def test_what_it_has_not(name: str) -> None:
    assert FAMILY.card_of is not None
    with pytest.raises(DensebenchError):
        FAMILY.card_of(name)
