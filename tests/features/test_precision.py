"""The precisions that a run may name."""

from typing import get_args

from densebench.features.precision import Precision
from densebench.features.source import AUTOCAST


def test_those_of_half_width_and_two_of_float32() -> None:
    assert set(get_args(Precision)) == {*AUTOCAST, "fp32", "tf32"}
