"""Features in sixteen bits: what comes back is what was written, or it is refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from densebench.datasets import Split
from densebench.features.cache import FeatureCache
from densebench.features.storing import decoded, encoded, file_type
from densebench.host.errors import DensebenchError

from .test_source import VIEW, Small, joined, source, split_of

ALL = torch.arange(-(2**15), 2**15).to(torch.int16)  # the bits of every number of sixteen


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory, write_dataset: Callable[..., Path]) -> Split:
    return split_of(write_dataset(tmp_path_factory.mktemp("storing") / "data", 4, 1).parent)


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


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_features_of_sixteen_bits_take_half_the_room_and_come_back_as_they_are(
    split: Split, tmp_path: Path, precision: str
) -> None:
    cache = FeatureCache(tmp_path, 10**9)
    plain = joined(source(split, precision=precision).batches(VIEW))
    for _ in range(2):
        kept = joined(source(split, cache, precision=precision).batches(VIEW))
        assert torch.equal(kept.patches, plain.patches)
    (entry,) = cache.entries()
    size = (entry.folder / "patches.npy").stat().st_size
    assert size < plain.patches.nbytes / 2 + 200


def test_what_is_whole_in_the_last_layer_is_kept_whole(split: Split, tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, 10**9)

    class Normed(Small):
        def patch_map(self, images: Tensor) -> Tensor:
            return super().patch_map(images).float() / 3

    plain = joined(source(split, precision="bf16", backbone=Normed()).batches(VIEW))
    for _ in range(2):
        kept = source(split, cache, precision="bf16", backbone=Normed())
        assert torch.equal(joined(kept.batches(VIEW)).patches, plain.patches)
