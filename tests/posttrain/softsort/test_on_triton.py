"""The CUDA kernels, without a GPU: run by Triton's interpreter, and compiled for real targets."""

import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

# The interpreter must be asked for before Triton is imported: hence processes of their own.
INTERPRETED = """
import torch
from densebench.posttrain.softsort import on_torch as plain, on_triton as fused

def same(a, b, allowed):
    assert float((a - b).abs().max() / b.abs().max()) < allowed, (network, n)

torch.manual_seed(0)
for network, n in [("bitonic", 2), ("bitonic", 13), ("odd_even", 6), ("bitonic", 49)]:
    student, teacher, pull = torch.randn(3, 3, n) * 0.3
    outer = torch.randn(3, n, n)
    for a, b in zip(fused.sort(student, network, 100.0), plain.sort(student, network, 100.0)):
        same(a, b, 1e-5)
    for grads in [(pull, outer), (None, outer), (pull, None)]:
        knobs = (student, network, 100.0, *grads)
        same(fused.sort_backward(*knobs), plain.sort_backward(*knobs), 3e-5)
    for differentiable in (True, False):
        knobs = (student, teacher, network, (100.0, 50.0), differentiable)
        (loss, grad), (expected, expected_grad) = (
            fused.cross_entropy(*knobs), plain.cross_entropy(*knobs))
        same(loss, expected, 1e-5)
        if differentiable:
            same(grad, expected_grad, 3e-5)
        else:
            assert not grad.any()

for network, n in [("bitonic", 13), ("odd_even", 6)]:
    student, teacher = torch.randn(2, 3, n) * 0.3
    for one, other in ((student, teacher), (teacher, student)):
        harmed = one.clone()
        harmed[1, n // 2] = float("nan")
        for pair in ((harmed, other), (other, harmed)):
            for kind in (fused, plain):
                loss, grad = kind.cross_entropy(*pair, network, (100.0, 50.0), True)
                assert loss.isnan().tolist() == [False, True, False], (kind, network)
                assert grad[1].isnan().all() and not grad[[0, 2]].isnan().any()
        assert fused.sort(harmed, network, 100.0)[1].isnan().any(2).any(1).tolist() == [
            False, True, False]

wide = torch.linspace(0, 3e7, 33)[None]
loss, grad = fused.cross_entropy(wide, -wide, "odd_even", (100.0, 100.0), True)
assert loss.isfinite().all() and grad.isfinite().all()
"""

COMPILED = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from densebench.posttrain.softsort import on_triton as fused

INTEGERS = "layers rows n row_stride input_stride position_stride".split()

def kind(name, constants):
    if name in constants:
        return "constexpr"
    if name.endswith("_ptr"):
        return "*i32" if name == "partner_ptr" else "*fp32"
    return "i32" if name in INTEGERS else "fp32"

for name, extra in [("sort", {}), ("backward", {}), ("cross_entropy", {"DIFFERENTIABLE": True})]:
    kernel = getattr(fused, f"_{name}_kernel")
    constants = {"WIDTH": 64, **extra}
    signature = {argument: kind(argument, constants) for argument in kernel.arg_names}
    source = ASTSource(kernel, signature, constexprs=constants)
    options = {"num_warps": fused._WARPS}
    assert triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options).asm["cubin"]
"""


def run(program: str, **environment: str) -> None:
    pytest.importorskip("triton", reason="triton is not installed on this platform")
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_kernels_agree_with_plain_pytorch() -> None:
    run(INTERPRETED, TRITON_INTERPRET="1")


def test_kernels_compile_for_hopper(tmp_path: Path) -> None:
    try:
        recent = tuple(map(int, version("triton").split(".")[:2])) >= (3, 4)
    except PackageNotFoundError:
        recent = False
    if not recent:
        pytest.skip("compiling ahead of time is tested with triton >= 3.4")
    run(COMPILED, TRITON_CACHE_DIR=str(tmp_path))
