"""Whole runs on a GPU: repeatable, in halves where memory is short, several on one GPU."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool2d

from densebench.backbones.base import DenseBackbone
from densebench.features.source import PatchSource
from densebench.host.errors import DensebenchError
from densebench.host.watcher import Watcher
from densebench.learners.resident import Resident
from densebench.run.execute import Run
from densebench.run.options import RunOptions

from .conftest import shows

PLUGIN = """
import torch


class Net(torch.nn.Module):
    patch_size, embed_dim = 14, 3

    def forward(self, images):
        pooled = torch.nn.functional.avg_pool2d(images, 14)
        return (pooled + {pooled}).permute(0, 2, 3, 1)


def make():
    return Net()
"""
WIDE = 64  # channels at every pixel of an image, which is what does not fit
TASKS = ["retrieval.toml", "linear.toml"]


def numbers(record):
    return [score.model_dump() for score in record.scores]


@shows("--deterministic gives one number twice, for each protocol")
@pytest.mark.parametrize("task", TASKS)
def test_a_run_repeats(gpu, run, tiny_task, task):
    card = tiny_task.parent / task
    first, again = (run(gpu, card, place, deterministic=True) for place in ("one", "two"))
    assert numbers(first) == numbers(again)
    assert first.run_id == again.run_id
    assert first.deterministic


@shows("either engine of the search gives one number")
def test_engines(gpu, run, tiny_task):
    found = [run(gpu, tiny_task, name, search_engine=name) for name in ("faiss", "torch")]
    assert numbers(found[0]) == numbers(found[1])
    assert found[1].protocol.details["search"]["queries"] > 0


@shows("an operation without a repeatable algorithm ends --deterministic in one line", True)
def test_what_cannot_repeat_is_refused(gpu, run, tiny_task, own_places):
    (own_places / "counting.py").write_text(PLUGIN.format(pooled="pooled.kthvalue(2, 1, True)[0]"))
    with pytest.raises(DensebenchError, match=r"^--deterministic: kthvalue"):
        run(gpu, tiny_task, "out", backbone="counting.py:make", deterministic=True)


@shows("a training of a head goes on on a GPU where it was stopped")
def test_a_head_is_resumed(gpu, run, tiny_task, monkeypatch):
    card = tiny_task.parent / "linear.toml"
    whole = run(gpu, card, "whole", deterministic=True, params={"epochs": 4})
    extract, seen = PatchSource.forward, 0

    def stopped(source, images):
        nonlocal seen
        seen += len(images)
        if seen > 10:
            raise KeyboardInterrupt
        return extract(source, images)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(PatchSource, "forward", stopped)
        run(gpu, card, "killed", deterministic=True, params={"epochs": 4})
    again = run(gpu, card, "killed", deterministic=True, params={"epochs": 4})
    assert numbers(again) == numbers(whole)
    assert again.protocol.details == whole.protocol.details


class Linear(DenseBackbone):
    """A map of patches with random weights, always the same."""

    def __init__(self):
        super().__init__("linear", 14, 32)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.patches = torch.nn.Conv2d(3, 32, 14, 14)

    def patch_map(self, images):
        return self.patches(images).permute(0, 2, 3, 1)


@shows("features in bf16 are near those in fp32, and are another run")
def test_bf16_features(gpu, run, tiny_task):
    options = [
        RunOptions("rgb_s14", str(tiny_task), device=str(gpu), precision=p)
        for p in ("fp32", "bf16")
    ]
    runs = [Run(option, Watcher()) for option in options]
    assert runs[0].inputs.run_id != runs[1].inputs.run_id
    images = torch.randn(4, 3, 56, 56, generator=torch.Generator().manual_seed(0))
    single, half = (
        PatchSource(None, Linear().to(gpu), gpu, precision=p).forward(images)
        for p in ("fp32", "bf16")
    )
    assert 0 < (half.float() - single).abs().max() < 2**-6 * single.abs().max()


class Wide(DenseBackbone):
    """Takes WIDE times an image's own memory for a moment."""

    def __init__(self):
        super().__init__("wide", 14, 3)

    def patch_map(self, images):
        wide = images[:, :1].expand(-1, WIDE, -1, -1) * images[:, 1:2]
        return avg_pool2d(wide[:, :3], 14).permute(0, 2, 3, 1)


@shows("a batch that does not fit is halved, and gives the same features", own_memory=True)
def test_short_memory_halves_the_batch(gpu, ear):
    images = torch.randn(64, 3, 518, 518, generator=torch.Generator().manual_seed(0))
    whole, source = (
        PatchSource(None, Wide().to(gpu), gpu, batch_size=64, watcher=ear) for _ in range(2)
    )
    expected = whole.forward(images)
    torch.cuda.empty_cache()
    room = torch.cuda.memory_reserved() + 4 * images.nbytes
    torch.cuda.set_per_process_memory_fraction(room / torch.cuda.mem_get_info()[1])
    try:
        features = source.forward(images)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert whole.batch_size == 64
    assert source.batch_size < 16
    assert any("going on in batches of" in line for line in ear.lines)
    assert torch.equal(features, expected)


@shows("two processes share one GPU, and each gives the number of one alone")
def test_two_processes_on_one_gpu(gpu, run, tiny_task, own_places):
    alone = run(gpu, tiny_task, "alone")
    command = [sys.executable, "-m", "densebench", "run", "--backbone", "hog_s14", "--task"]
    command += [str(tiny_task), "--device", str(gpu), "--cache", "off", "--json", "--results"]
    root = os.environ.get("PYTHONPATH", "")
    started = [
        subprocess.Popen(
            [*command, place],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": root},
            text=True,
        )
        for place in ("left", "right")
    ]
    told = [process.communicate(timeout=300)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0]
    assert all(f'"run_id": "{alone.run_id}"' in text for text in told)
    values = {alone.score.value} | {type(alone).model_validate_json(t).score.value for t in told}
    assert len(values) == 1


@shows("validation features that fit stay on the GPU", True)
def test_validation_features_stay(gpu, run, tiny_task):
    kept = []
    before = Resident.batches

    def watched(resident, read):
        yield from before(resident, read)
        kept.append(len(resident._kept))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Resident, "batches", watched)
        resident = run(gpu, tiny_task.parent / "linear.toml", "kept")
    assert min(kept) > 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Resident, "_room", lambda _: 0)
        read = run(gpu, tiny_task.parent / "linear.toml", "read")
    np.testing.assert_allclose(read.score.value, resident.score.value, atol=1e-6)
