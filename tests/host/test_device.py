"""Where a run computes."""

import pytest
import torch

from densebench.host.device import (
    device_name,
    exact_products,
    one_thread,
    peak_cuda,
    pick_device,
    room_on_gpu,
)
from densebench.host.errors import DensebenchError


@pytest.mark.parametrize("there", [True, False])
def test_auto_takes_a_gpu_where_there_is_one(there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert pick_device("auto").type == ("cuda" if there else "cpu")


@pytest.mark.parametrize(
    ("name", "told"),
    [("gpu", "'gpu' is no device"), ("meta", "'meta' are not supported"), ("cuda", "no GPU")],
)
def test_what_is_none(name: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DensebenchError, match=told):
        pick_device(name)


@pytest.mark.parametrize("exact", [True, False])
def test_products_are_as_before_afterwards(exact: bool) -> None:
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32
    with pytest.raises(ZeroDivisionError), exact_products(exact):
        assert (cudnn.allow_tf32, matmul.allow_tf32) == (not exact, not exact)
        _ = 1 / 0
    assert (cudnn.allow_tf32, matmul.allow_tf32) == before


def test_threads_are_as_before_afterwards() -> None:
    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


def test_a_full_gpu_is_told_in_one_line() -> None:
    full = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
    told = "too small: CUDA out of memory; take less"
    with pytest.raises(DensebenchError, match=told), room_on_gpu("take less"):
        raise full


def test_a_processor() -> None:
    cpu = torch.device("cpu")
    assert device_name(cpu).startswith("cpu (")
    assert f"{torch.get_num_threads()} threads" in device_name(cpu)
    assert peak_cuda(cpu) is None
