"""In-context depth: hbird's retrieval, with metres in place of labels."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from densebench.host.errors import DensebenchError
from densebench.host.watcher import Watcher
from densebench.protocols.depth_in_context import DepthInContext
from densebench.run.execute import Run, evaluate
from densebench.run.options import RunOptions

PARAMS = 'input_size = [42, 56]\nn_neighbours = 4\nmemory_size = "unbounded"\n'


@pytest.fixture(scope="module")
def task(tmp_path_factory, write_dataset, write_depth) -> Path:
    folder = write_dataset(tmp_path_factory.mktemp("depth") / "data", 6, 3).parent
    return write_depth(folder, "depth_in_context", PARAMS)


def options(task, results, **changes):
    run = RunOptions("rgb_s14", str(task), results=results, device="cpu", cache="off")
    return replace(run, **changes)


def patches_of(source, protocol):
    """Features and mean depth of every patch, and which of them have depth."""
    batches = list(source.batches(protocol._view()))
    features = torch.cat([b.patches for b in batches]).numpy().astype(np.float64)
    tiles = torch.cat([b.masks for b in batches]).numpy().reshape(-1, 3, 14, 4, 14)
    seen = tiles > 0
    counts = seen.sum(axis=(2, 4))
    depth = (tiles * seen).sum(axis=(2, 4)) / np.maximum(counts, 1)
    return features, depth, counts > 0


def test_it_is_the_mean_of_the_neighbours_depth_under_the_attention(task, tmp_path):
    """Against the definition, in float64."""
    run = Run(options(task, tmp_path), Watcher())
    protocol, train, val = run.protocol, run._source("train", "fit"), run._source("val", "predict")
    protocol.fit(train, val)
    found = torch.cat([p.values for p in protocol.predict(val)])[:, 0].numpy()
    memory, depth, known = patches_of(train, protocol)
    memory, depth = memory[known], depth[known]
    memory /= np.linalg.norm(memory, axis=1, keepdims=True)
    queries = patches_of(val, protocol)[0].reshape(-1, memory.shape[1])
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    similarity = queries @ memory.T
    nearest = np.argsort(-similarity, axis=1)[:, :4]
    chosen = np.take_along_axis(similarity, nearest, axis=1)
    attention = np.exp((chosen - chosen.max(axis=1, keepdims=True)) / 0.02)
    wanted = (attention * depth[nearest]).sum(axis=1) / attention.sum(axis=1)
    np.testing.assert_allclose(found.ravel(), wanted, rtol=1e-3)


def test_variants_differ_as_those_of_labels_do(task, tmp_path):
    published, _ = evaluate(options(task, tmp_path))
    clean, _ = evaluate(options(task, tmp_path, variant="clean"))
    assert [score.resolution for score in published.scores] == ["input"]
    assert [score.resolution for score in clean.scores] == ["input", "original"]
    assert published.protocol.hash != clean.protocol.hash
    assert published.score.main.name == "rmse"
    assert published.score.value < 1.0
    assert published.protocol.details["memory_rows"] == 6 * 12


def test_shuffled_depth_is_worse(task, tmp_path, monkeypatch):
    learnt, _ = evaluate(options(task, tmp_path / "whole"))
    values = DepthInContext._values

    def shuffled(protocol, masks):
        depth = values(protocol, masks)
        order = torch.randperm(depth.shape[1], generator=torch.Generator().manual_seed(0))
        return depth[:, order]

    with monkeypatch.context() as patch:
        patch.setattr(DepthInContext, "_values", shuffled)
        other, _ = evaluate(options(task, tmp_path / "shuffled"))
    assert other.score.value > 1.5 * learnt.score.value


def test_a_bounded_memory_takes_patches_that_have_depth(task, tmp_path):
    record, _ = evaluate(options(task, tmp_path, params={"memory_size": 24}))
    assert record.protocol.details["memory_rows"] == 24


def test_what_cannot_be_is_told(task, tmp_path):
    for params, told in (
        ({"input_size": [40, 56]}, "not divisible by the patch size 14"),
        ({"min_depth": 11.0}, "min_depth must be below max_depth"),
        ({"max_depth": 1.0}, "none of their patches has a depth"),
    ):
        with pytest.raises(DensebenchError, match=told):
            evaluate(options(task, tmp_path, params=params))
