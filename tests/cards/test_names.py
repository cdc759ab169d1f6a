"""Names by a pattern."""

import pytest

from densebench.cards.names import backbones, tasks
from densebench.host.errors import DensebenchError


def test_all_or_those_of_a_pattern() -> None:
    assert set(backbones("rgb_*")) < set(backbones())
    assert all(name.startswith("camvid_") for name in tasks("camvid_*"))
    with pytest.raises(DensebenchError, match="no backbone matches 'x_"):
        backbones("x_*")
