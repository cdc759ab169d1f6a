"""Every layer of a backbone, from one pass over the images, as if each had been run alone."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from densebench.features.source import PatchSource
from densebench.host.errors import DensebenchError
from densebench.records.schema import RunRecord
from densebench.records.store import load_evidence
from densebench.run.by_layer import evaluate_layers
from densebench.run.execute import evaluate
from densebench.run.options import RunOptions

IMAGES = 6  # one view of each is kept


class Count:
    """Images through the backbone; may end like a user who is tired of waiting."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen, self.most = 0, 10**9
        forward = PatchSource.forward

        def counted(source: PatchSource, images: Tensor) -> Tensor:
            self.seen += len(images)
            if self.seen > self.most:
                raise KeyboardInterrupt
            return forward(source, images)

        monkeypatch.setattr(PatchSource, "forward", counted)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Count:
    return Count(monkeypatch)


@pytest.fixture
def base(
    blocks: str, tiny_task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> RunOptions:
    monkeypatch.setenv("DENSEBENCH_CACHE", str(tmp_path / "cache"))
    return RunOptions(
        blocks, str(tiny_task), device="cpu", results=tmp_path / "results", batch_size=2
    )


def facts(record: RunRecord, path: Path) -> dict[str, Any]:
    evidence = load_evidence(path, record)
    assert evidence is not None
    return {
        "id": record.run_id,
        "name": record.backbone.name,
        "layers": record.backbone.layers,
        "scores": record.scores,
        "evidence": evidence.vectors.tolist(),
    }


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_each_is_the_run_of_that_layer_alone(
    base: RunOptions,
    counted: Count,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    precision: Any,
) -> None:
    base = replace(base, precision=precision)
    together = evaluate_layers(base)
    once = counted.seen
    assert [record.backbone.layers for record, _ in together] == [(0,), (1,), (2,)]
    monkeypatch.setenv("DENSEBENCH_CACHE", str(tmp_path / "another cache"))
    alone = [
        evaluate(replace(base, layers=(layer,), results=tmp_path / "alone")) for layer in range(3)
    ]
    assert [facts(*run) for run in together] == [facts(*run) for run in alone]
    assert len({record.score.value for record, _ in together}) == 3
    if precision == "fp32":  # else single images show which form features have
        assert once == IMAGES
        assert counted.seen == once + 3 * IMAGES


def test_what_is_done_is_read(base: RunOptions, counted: Count) -> None:
    first = evaluate_layers(base, (1,))
    seen = counted.seen
    again = evaluate_layers(base, (0, 1, 2))
    assert again[1] == first[0]
    assert counted.seen == seen + IMAGES
    assert evaluate_layers(base) == again
    assert counted.seen == seen + IMAGES


@pytest.mark.parametrize("most", [1, 3, 5])
def test_an_interruption(base: RunOptions, counted: Count, tmp_path: Path, most: int) -> None:
    counted.most = most
    with pytest.raises(KeyboardInterrupt):
        evaluate_layers(base)
    counted.most = 10**9
    after = [facts(*run) for run in evaluate_layers(base)]
    whole = evaluate_layers(replace(base, results=tmp_path / "whole", cache="fp32"))
    assert after == [facts(*run) for run in whole]


@pytest.mark.parametrize("setting", ["DENSEBENCH_CACHE_LIMIT", "memory"])
def test_without_room_for_all_there_are_more_passes(
    base: RunOptions, counted: Count, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, setting: str
) -> None:
    expected = [facts(*run) for run in evaluate_layers(base)]
    monkeypatch.setenv("DENSEBENCH_CACHE", str(tmp_path / "small cache"))
    if setting == "memory":
        monkeypatch.setattr("densebench.features.layers_together.available_bytes", lambda: 10)
    else:
        monkeypatch.setenv(setting, "2e-5")
    small = evaluate_layers(replace(base, results=tmp_path / "small"))
    assert [facts(*run) for run in small] == expected
    assert counted.seen > 2 * IMAGES


def test_what_cannot_be(base: RunOptions) -> None:
    with pytest.raises(DensebenchError, match="rgb_s14: gives no features of single blocks"):
        evaluate_layers(replace(base, backbone="rgb_s14"))
    with pytest.raises(DensebenchError, match="through the cache of features; it is off"):
        evaluate_layers(replace(base, cache="off"))
    with pytest.raises(DensebenchError, match="in ascending order"):
        evaluate_layers(base, (2, 1))
    assert not base.results.exists()
    assert torch.is_grad_enabled()
