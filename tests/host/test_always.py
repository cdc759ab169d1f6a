"""Deterministic algorithms for a while, and one line where an operation has none."""

import os

import pytest
import torch

from densebench.host.always import CUBLAS, always_alike
from densebench.host.errors import DensebenchError


def test_only_repeatable_algorithms_meanwhile_and_all_as_before_afterwards(monkeypatch):
    monkeypatch.delenv(CUBLAS, raising=False)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    outside = torch.get_rng_state()
    with always_alike(3):
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.backends.cudnn.benchmark
        assert os.environ[CUBLAS] == ":4096:8"
        drawn = torch.rand(4)
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.benchmark
    assert torch.equal(torch.get_rng_state(), outside)
    with always_alike(3):
        assert torch.equal(torch.rand(4), drawn)


def test_an_operation_that_has_none_is_named_in_one_line():
    needed = (
        "upsample_bilinear2d_backward_out_cuda does not have a deterministic implementation, but"
    )
    with pytest.raises(DensebenchError) as told, always_alike(0):
        raise RuntimeError(f"{needed} you set it\nand more")
    assert str(told.value) == (
        "--deterministic: upsample_bilinear2d_backward_out_cuda has no algorithm that repeats to "
        "the last bit on this device; use --device cpu, or leave --deterministic out"
    )
    assert not torch.are_deterministic_algorithms_enabled()


def test_another_failure_is_left_as_it_is():
    with pytest.raises(RuntimeError, match="shapes differ"), always_alike(0):
        raise RuntimeError("shapes differ")
