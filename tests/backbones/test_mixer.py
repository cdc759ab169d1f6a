"""The trainable baseline."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from densebench.backbones import load_backbone
from densebench.host.errors import DensebenchError

IMAGES = torch.randn(2, 3, 42, 56, generator=torch.Generator().manual_seed(0))


def test_before_training_it_is_the_descriptor() -> None:
    with torch.no_grad():
        torch.testing.assert_close(
            load_backbone("hog_mixer_s14")(IMAGES), load_backbone("hog_s14")(IMAGES), rtol=0, atol=0
        )


def test_it_is_the_same_every_time_and_all_of_it_trains() -> None:
    first = load_backbone("hog_mixer_s14")
    torch.manual_seed(7)
    assert first.fingerprint == load_backbone("hog_mixer_s14").fingerprint
    first.requires_grad_(True)(IMAGES).square().mean().backward()
    leaving = [p for name, p in first.named_parameters() if ".leave." in name]
    assert len(leaving) == 4
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in leaving)
    assert len(first.blocks()) == 2


def test_weights_are_loaded_strictly(tmp_path: Path) -> None:
    state = load_backbone("hog_mixer_s14").state_dict()
    moved = {name: tensor + 0.1 for name, tensor in state.items()}
    save_file(moved, tmp_path / "moved.safetensors")
    again = load_backbone("hog_mixer_s14", weights=tmp_path / "moved.safetensors").state_dict()
    assert all(torch.equal(again[name], moved[name]) for name in moved)
    moved.pop("mixer.0.leave.bias")
    save_file(moved, tmp_path / "short.safetensors")
    with pytest.raises(DensebenchError, match=r"missing: mixer\.0\.leave\.bias"):
        load_backbone("hog_mixer_s14", weights=tmp_path / "short.safetensors")


def test_a_descriptor_without_parameters_takes_none(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    with pytest.raises(DensebenchError, match="takes no weights"):
        load_backbone("hog_s14", weights=tmp_path / "a.safetensors")
