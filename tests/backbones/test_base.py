import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from densebench.backbones import load_backbone
from densebench.backbones.base import DenseBackbone, check_divisible, nearest_sizes
from densebench.host.errors import DensebenchError


class Averages(DenseBackbone):
    """Mean colour of a patch times a weight, with something wrong with it if asked for."""

    def __init__(self, flaw: str = "", **changes: object) -> None:
        super().__init__("averages", 4, 3, **changes)
        self.weight = nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))
        self.register_buffer("steps", torch.tensor(7))
        self.flaw = flaw

    def patch_map(self, images: Tensor) -> Tensor:
        features = nn.functional.avg_pool2d(images, 4).permute(0, 2, 3, 1) * self.weight
        if self.flaw == "prefix":
            return torch.cat([features[:, :1], features], dim=1)
        if self.flaw in ("meta", "sparse"):
            return features.to("meta") if self.flaw == "meta" else features.to_sparse()
        return features[..., :2] if self.flaw == "width" else features

    def choices(self) -> dict[str, object]:
        return {"flaw": self.flaw}


def test_the_grid_is_height_by_width() -> None:
    assert Averages()(torch.zeros(2, 3, 8, 20)).shape == (2, 2, 5, 3)


@pytest.mark.parametrize("flaw", ["prefix", "width"])
def test_anything_but_one_vector_per_patch_is_refused(flaw: str) -> None:
    with pytest.raises(DensebenchError, match=r"gave 1x.* expected 1x2x5x3"):
        Averages(flaw)(torch.zeros(1, 3, 8, 20))


@pytest.mark.parametrize(("flaw", "told"), [("meta", "without numbers"), ("sparse", "are sparse")])
def test_features_without_numbers_are_refused(flaw: str, told: str) -> None:
    with pytest.raises(DensebenchError, match=told):
        Averages(flaw)(torch.zeros(1, 3, 8, 20))


def test_a_size_that_does_not_divide_names_the_nearest() -> None:
    with pytest.raises(DensebenchError, match=r"500x375.*490 or 504.*364 or 378"):
        check_divisible(torch.zeros(1, 3, 500, 375), 14)


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 4, 8, 8), (1, 3, 0, 8)])
def test_anything_but_rgb_batches_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DensebenchError):
        Averages()(torch.zeros(shape))


@given(size=st.integers(1, 3000), patch=st.integers(1, 64))
def test_nearest_sizes_divide_and_enclose(size: int, patch: int) -> None:
    sizes = [int(word) for word in nearest_sizes(size, patch).split(" or ")]
    assert all(s > 0 and s % patch == 0 and abs(s - size) < patch for s in sizes)
    assert sizes == [size] if size % patch == 0 else max(sizes) > size


def test_the_fingerprint_follows_weights_and_choices() -> None:
    backbone = Averages()
    before = backbone.fingerprint
    assert before == Averages().fingerprint
    others = [Averages("width"), Averages(mean=(0.5, 0.5, 0.5)), Averages(std=(0.5, 0.5, 0.5))]
    assert len({before, *(other.fingerprint for other in others)}) == 4
    with torch.no_grad():
        backbone.weight.data[0] += 1e-6
    assert backbone.fingerprint != before


def test_the_fingerprint_tells_types_apart() -> None:
    assert Averages().bfloat16().fingerprint != Averages().fingerprint


PLUGIN = """
import torch

def build():
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 8, stride=8), torch.nn.BatchNorm2d(4))
    module.patch_size, module.embed_dim = 8, 4
    return module
"""


def test_the_fingerprint_is_the_same_in_another_process(tmp_path: Path) -> None:
    (tmp_path / "plugin.py").write_text(PLUGIN, encoding="utf-8")
    target = f"{tmp_path / 'plugin.py'}:build"
    code = "import sys; from densebench.backbones import load_backbone;"
    code += "print(load_backbone(sys.argv[1]).fingerprint)"
    run = subprocess.run(
        [sys.executable, "-c", code, target],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "99"},
    )
    assert run.stdout.strip() == load_backbone(target).fingerprint
