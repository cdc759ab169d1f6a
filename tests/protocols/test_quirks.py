"""Quirks one at a time: what is the variant's own has no name of its own, and changes no hash."""

import pytest

from densebench.cards import validate
from densebench.host.errors import DensebenchError
from densebench.protocols.depth_linear import DepthLinear
from densebench.protocols.quirks import QuirkyProtocol
from densebench.protocols.sliding_linear import SlidingLinear

QUIRKY = [SlidingLinear, DepthLinear]


def resolved(protocol: type[QuirkyProtocol], variant: str, **params):
    return protocol.resolve(validate(protocol.Params, params, "here"), variant)


@pytest.mark.parametrize("protocol", QUIRKY)
@pytest.mark.parametrize("variant", ["reference", "clean"])
def test_a_variant_has_its_own_and_says_nothing_of_them(protocol, variant):
    own = protocol.QUIRKS if variant == "reference" else ()
    plain = resolved(protocol, variant)
    assert [q for q in protocol.QUIRKS if plain.has(q, variant)] == list(own)
    said = resolved(protocol, variant, quirks=list(reversed(own)))
    assert said == plain
    assert "quirks" not in plain.model_dump(mode="json")


@pytest.mark.parametrize("protocol", QUIRKY)
@pytest.mark.parametrize("variant", ["reference", "clean"])
def test_each_can_be_had_alone_in_either_variant(protocol, variant):
    for quirk in protocol.QUIRKS:
        params = resolved(protocol, variant, quirks=[quirk, quirk])
        assert [q for q in protocol.QUIRKS if params.has(q, variant)] == [quirk]
        assert params.model_dump(mode="json")["quirks"] == [quirk]


@pytest.mark.parametrize("protocol", QUIRKY)
def test_two_orders_are_one_choice(protocol):
    first, second, *_ = protocol.QUIRKS
    assert resolved(protocol, "clean", quirks=[second, first]) == resolved(
        protocol, "clean", quirks=[first, second]
    )


@pytest.mark.parametrize("quirks", [["luck"], "loss", 3, [["loss_over_void"]]])
def test_one_that_is_none_is_refused_in_a_line(quirks):
    with pytest.raises(DensebenchError, match="quirks") as caught:
        resolved(SlidingLinear, "clean", quirks=quirks)
    assert "\n" not in str(caught.value)
