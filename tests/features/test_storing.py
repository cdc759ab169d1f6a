"""Features in sixteen bits: what comes back is what was written, or it is refused."""

import numpy as np
import pytest
import torch

from densebench.features.storing import decoded, encoded, file_type
from densebench.host.errors import DensebenchError

ALL = torch.arange(-(2**15), 2**15).to(torch.int16)  # the bits of every number of sixteen


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_every_number_comes_back_bit_by_bit(dtype: torch.dtype) -> None:
    numbers = ALL.view(dtype)
    bits = ALL[numbers.isfinite()].numpy()
    features, form = numbers[numbers.isfinite()].float().numpy(), str(dtype).removeprefix("torch.")
    kept = encoded(features, form, exact=True)
    assert kept.dtype == file_type(form)
    np.testing.assert_array_equal(kept.view(np.int16), bits)
    np.testing.assert_array_equal(decoded(kept, form).view(np.int32), features.view(np.int32))


@pytest.mark.parametrize("form", ["bfloat16", "float16"])
def test_what_would_be_rounded_is_refused(form: str) -> None:
    with pytest.raises(DensebenchError, match="sixteen bits"):
        encoded(np.array([1.0, 0.1], np.float32), form, exact=True)


def test_float32_is_no_copy() -> None:
    features = np.zeros(3, np.float32)
    assert encoded(features, "float32", exact=True) is features
