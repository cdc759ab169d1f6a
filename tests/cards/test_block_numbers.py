"""Numbers of blocks, as a user gives them and as a board names them."""

import pytest

from densebench.cards.block_numbers import checked_layers, layers_text, read_layers
from densebench.host.errors import DensebenchError


@pytest.mark.parametrize(
    ("given", "found"), [(8, (8,)), ([2, 5], (2, 5)), ((0, 11), (0, 11)), ([0], (0,))]
)
def test_one_or_several(given: object, found: tuple[int, ...]) -> None:
    assert checked_layers(given) == found


@pytest.mark.parametrize("given", [[], (), [3, 3], [5, 2], [-1], True, [True, 2], 1.5, ["1"], None])
def test_what_names_no_blocks(given: object) -> None:
    with pytest.raises(DensebenchError, match="counted from 0, each once and in ascending order"):
        checked_layers(given)


def test_a_text_with_commas() -> None:
    assert read_layers("2, 5,8,11") == (2, 5, 8, 11)
    assert read_layers("8") == (8,)


@pytest.mark.parametrize("text", ["", "a", "1,,2", "1.5", "2,1", "\u0663", "9" * 50, "1\n2", "-1"])
def test_a_text_that_names_none_is_one_short_line(text: str) -> None:
    with pytest.raises(DensebenchError) as raised:
        read_layers(text)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 200


def test_as_a_row_has_them() -> None:
    assert layers_text((8,)) == "layer 8"
    assert layers_text((2, 5, 8, 11)) == "layers 2+5+8+11"
