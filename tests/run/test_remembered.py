"""A run that is done opens no weights, and is told apart as soon as they change."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import save_file

from densebench.backbones import load_backbone
from densebench.host.watcher import Watcher
from densebench.records.schema import RunRecord
from densebench.run import inputs
from densebench.run.execute import Run, evaluate
from densebench.run.options import RunOptions
from densebench.run.plan import plan_run
from densebench.run.remembered import recall

LONG_AGO = 1_500_000_000
Go = Callable[..., RunRecord]


def write_weights(file: Path, scale: float = 1.0) -> None:
    """Of one length whatever their values; as old as a file must be for an index to trust it."""
    state = load_backbone("hog_mixer_s14").state_dict()
    state = {name: value + 0.1 * scale for name, value in state.items()}
    save_file(state, file)
    os.utime(file, (LONG_AGO, LONG_AGO))


@pytest.fixture
def weights(tmp_path: Path, settled: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DENSEBENCH_CACHE", str(tmp_path / "cache"))
    write_weights(tmp_path / "mine.safetensors")
    return tmp_path / "mine.safetensors"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The backbones that were loaded."""
    names: list[str] = []

    def load(name: str, **options: object) -> object:
        names.append(name)
        return load_backbone(name, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(inputs, "load_backbone", load)
    return names


@pytest.fixture
def go(colour_task: Path, tmp_path: Path, weights: Path, opened: list[str]) -> Go:
    def call(**changes: object) -> RunRecord:
        given = {"backbone": "hog_mixer_s14", "weights": weights, "results": tmp_path / "results"}
        options = RunOptions(**{"task": str(colour_task), "cache": "off", **given, **changes})
        return evaluate(options)[0]

    return call


def test_the_second_time_no_weights_are_opened(
    go: Go, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = go()
    assert first.backbone.name == "hog_mixer_s14@mine"
    monkeypatch.setattr("densebench.files.hashes._file_hash", lambda *_: pytest.fail("was read"))
    assert go() == first
    assert len(opened) == 1


def test_a_run_that_is_not_done_loads_them(go: Go, opened: list[str]) -> None:
    first = go()
    assert go(seed=1).run_id != first.run_id
    assert go(overwrite=True).run_id == first.run_id
    assert len(opened) == 3


def test_other_weights_of_one_size_and_date_are_another_run(
    go: Go, opened: list[str], weights: Path
) -> None:
    first, size = go(), weights.stat().st_size
    write_weights(weights, 2.0)
    assert (weights.stat().st_size, weights.stat().st_mtime) == (size, LONG_AGO)
    other = go()
    assert other.run_id != first.run_id
    assert other.backbone.fingerprint != first.backbone.fingerprint
    assert len(opened) == 2


def test_a_memory_that_is_damaged_is_none(go: Go, opened: list[str], tmp_path: Path) -> None:
    first = go()
    (file,) = (tmp_path / "cache" / "fingerprints").iterdir()
    for content in ("", "[]", '{"name": "x"}', '{"name": "x", "fingerprint": "y", "z": 1}'):
        file.write_text(content)
        assert go() == first
    assert len(opened) == 5
    assert go() == first
    assert len(opened) == 5


def test_a_load_corrects_an_index_that_is_wrong(
    go: Go, tmp_path: Path, weights: Path, colour_task: Path
) -> None:
    first = go()
    (index,) = [
        file
        for file in (tmp_path / "cache" / "hashes").iterdir()
        if weights.name in file.read_text()
    ]
    digits = index.read_text()
    index.write_text(digits.replace(digits.partition('], "')[2][:64], "0" * 64))
    options = RunOptions("hog_mixer_s14", str(colour_task), weights=weights, device="cpu")
    assert recall(plan_run(options)) is None
    assert go() == first
    assert index.read_text() == digits
    known = recall(plan_run(options))
    assert known is not None and known.fingerprint == first.backbone.fingerprint


def test_weights_that_change_while_they_are_loaded_are_not_remembered(
    weights: Path, colour_task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(name: str, **options: object) -> object:
        loaded = load_backbone(name, **options)  # type: ignore[arg-type]
        write_weights(weights, 3.0)
        return loaded

    monkeypatch.setattr(inputs, "load_backbone", load)
    options = RunOptions("hog_mixer_s14", str(colour_task), weights=weights, cache="off")
    assert Run(options, Watcher()).inputs.weights.name == "hog_mixer_s14@mine"
    assert recall(plan_run(options)) is None


PLUGIN = """
import torch

class Plain(torch.nn.Module):
    patch_size, embed_dim = 14, 3

    def forward(self, images):
        return torch.nn.functional.avg_pool2d(images, 14).permute(0, 2, 3, 1)

def build():
    return Plain()
"""


def test_of_a_plug_in_nothing_is_remembered(go: Go, opened: list[str], tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text(PLUGIN)
    for _ in range(2):
        go(backbone=f"{tmp_path}/plain.py:build", weights=None)
    assert len(opened) == 2
    assert not (tmp_path / "cache" / "fingerprints").exists()
