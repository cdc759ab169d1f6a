"""What is checked before the work: memory, and features that repeat."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from densebench.host.errors import DensebenchError
from densebench.run import checks
from densebench.run.execute import evaluate
from densebench.run.options import RunOptions

PLAN = {"on the GPU: memory features in half precision": 15_728_640_000}
DRAWN = """
import torch

class Drawn(torch.nn.Module):
    patch_size, embed_dim = 14, 3
    def forward(self, images):
        patches = torch.nn.functional.avg_pool2d(images, 14).permute(0, 2, 3, 1)
        return patches + torch.rand_like(patches)

def make():
    return Drawn()
"""


@pytest.fixture
def options(own_places: Path, tiny_task: Path) -> Callable[..., RunOptions]:
    (own_places / "drawn.py").write_text(DRAWN)
    return lambda name, **more: RunOptions(name, str(tiny_task), device="cpu", **more)


def test_features_that_are_others_each_time(options: Callable[..., RunOptions], ear) -> None:
    with pytest.raises(DensebenchError, match="--allow-nondeterministic records it so"):
        evaluate(options("drawn.py:make"))
    record, _ = evaluate(options("drawn.py:make", allow_nondeterministic=True), ear)
    assert record.nondeterministic
    assert any("recorded as not repeatable" in line for line in ear.lines)


def test_memory_is_told_and_bounds_a_run(
    options: Callable[..., RunOptions], ear, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate(options("rgb_s14"), ear)
    assert any(line.startswith("memory: about ") for line in ear.lines)
    assert any(line.startswith("features: up to ") for line in ear.lines)
    monkeypatch.setenv("DENSEBENCH_MEMORY", "1000")
    with pytest.raises(DensebenchError, match=r"this run needs .*lower memory_size"):
        evaluate(options("hog_s14"))


def test_what_does_not_fit_on_a_gpu_is_refused_in_one_line(monkeypatch):
    monkeypatch.setattr(checks, "free_on_gpu", lambda _: 12_000_000_000)
    with pytest.raises(DensebenchError) as told:
        checks._check_gpu(torch.device("cuda"), PLAN)
    assert str(told.value) == (
        "this run needs 15.73 GB on the GPU (memory features in half precision), and "
        "12.00 GB are free; lower memory_size, the number of images (--limit) or input_size"
    )


def test_what_fits_and_what_needs_nothing_goes_on(monkeypatch):
    monkeypatch.setattr(checks, "free_on_gpu", lambda _: 16_000_000_000)
    checks._check_gpu(torch.device("cuda"), PLAN)
    monkeypatch.setattr(checks, "free_on_gpu", lambda _: 0)
    checks._check_gpu(torch.device("cpu"), {})
