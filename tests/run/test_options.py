"""What a run may be asked for."""

from typing import Any

import pytest

from densebench.cards import LARGEST
from densebench.host.errors import DensebenchError
from densebench.run.options import RunOptions, check_count


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"precision": "fp8"}, "precision is one of fp32, tf32, bf16, fp16, not 'fp8'"),
        ({"cache": "on"}, "cache is one of fp32, fp16, off, not 'on'"),
        ({"batch_size": 0}, "batch_size is a number from 1"),
        ({"seed": -1}, "seed is a number from 0"),
        ({"subset_seed": LARGEST + 1}, "subset_seed is a number from 0"),
        ({"panels": -1}, "panels is a number from 0"),
        ({"layers": [5, 2]}, r"in ascending order, such as 8 or 2,5,8,11; not \[5, 2\]"),
        ({"layers": "2,5"}, "layers are numbers of blocks, counted from 0"),
    ],
)
def test_refused_from_python_too(options: dict[str, Any], told: str) -> None:
    with pytest.raises(DensebenchError, match=told):
        RunOptions("rgb_s14", "scenes_incontext", **options)


def test_layers_are_one_number_or_several() -> None:
    assert RunOptions("dinov2_s14", "voc_linear", layers=8).layers == (8,)
    assert RunOptions("dinov2_s14", "voc_linear", layers=[2, 5]).layers == (2, 5)


def test_bounds_are_allowed() -> None:
    check_count("n", 0)
    check_count("n", LARGEST)
    with pytest.raises(DensebenchError, match="n is a number from 2"):
        check_count("n", 1, least=2)
