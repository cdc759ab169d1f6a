"""Tiny models and cards, and the golden arrays of the official DINO and DINOv2 code."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, safe_open
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from densebench.backbones.base import IMAGENET_MEAN, IMAGENET_STD
from densebench.cards import BackboneCard

TESTS = Path(__file__).parents[1]
Open = Callable[[Path], dict[str, np.ndarray]]


class Golden:
    """One family of golden arrays: config, weights in the official naming, inputs and outputs."""

    def __init__(self, folder: Path, name: str, open_golden: Open) -> None:
        self.weights = folder / f"{name}.safetensors"
        self.arrays = open_golden(folder / f"{name}.npz")
        with safe_open(self.weights, "pt") as file:
            self.config = json.loads(file.metadata()["config"])
        assert json.loads(str(self.arrays["config"])) == self.config
        self.sizes = sorted({key.split("/")[0] for key in self.arrays if key.endswith("img_u8")})

    def state(self) -> dict[str, Tensor]:
        return load_file(self.weights)

    def images(self, size: str) -> Tensor:
        image = self.arrays[f"{size}/img_u8"].astype(np.float64) / 255
        image = (image - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD)
        return torch.from_numpy(image).permute(2, 0, 1)[None].float()

    def tokens(self, size: str) -> Tensor:
        if f"{size}/last_normed" in self.arrays:
            return torch.from_numpy(self.arrays[f"{size}/last_normed"][1:])
        return torch.from_numpy(self.arrays[f"{size}/x_norm_patchtokens"])

    def prefix(self, size: str) -> Tensor:
        """Class token and registers after the final norm."""
        if f"{size}/last_normed" in self.arrays:
            return torch.from_numpy(self.arrays[f"{size}/last_normed"][:1])
        names = ("x_norm_clstoken", "x_norm_regtokens")
        cls, registers = (torch.from_numpy(self.arrays[f"{size}/{name}"]) for name in names)
        return torch.cat([cls[None], registers])

    def vit(self) -> VisionTransformer:
        side = self.config["img_size"]
        registers = self.config.get("num_register_tokens", 0)
        return VisionTransformer(
            img_size=side[0] if isinstance(side, list) else side,
            patch_size=self.config["patch_size"],
            embed_dim=self.config["embed_dim"],
            depth=self.config["depth"],
            num_heads=self.config["num_heads"],
            init_values=self.config.get("init_values"),
            reg_tokens=registers,
            no_embed_class=registers > 0,
            num_classes=0,
            dynamic_img_size=True,
        )

    def card(self, rule: str, **changes: object) -> BackboneCard:
        return tiny_card(
            patch_size=self.config["patch_size"],
            embed_dim=self.config["embed_dim"],
            prefix_tokens=1 + self.config.get("num_register_tokens", 0),
            position_embedding=rule,
            drop_keys=("mask_token",),
            **changes,
        )


def tiny_card(**changes: object) -> BackboneCard:
    values: dict[str, object] = {
        "name": "tiny",
        "source": "timm",
        "id": "tiny",
        "patch_size": 16,
        "embed_dim": 64,
        "prefix_tokens": 1,
        "mean": IMAGENET_MEAN,
        "std": IMAGENET_STD,
        "position_embedding": "timm",
        "license": "none",
        "training_data": "none",
    }
    return BackboneCard.model_validate({**values, **changes})


@pytest.fixture
def make_card() -> Callable[..., BackboneCard]:
    """A card of a tiny model, with changes by key."""
    return tiny_card


@pytest.fixture(scope="session")
def official(open_golden: Open) -> Callable[[str], Golden]:
    """The golden arrays kept with the tests: ``arch_dino`` and ``arch_dinov2_reg4``."""
    return lambda name: Golden(TESTS / "golden", name, open_golden)


@pytest.fixture(scope="session")
def every_golden(open_golden: Open) -> Callable[[str], Golden]:
    """The complete golden arrays, which are too large to be kept with the tests."""
    folder = TESTS.parents[1] / "shared" / "goldens"
    if not folder.is_dir():
        pytest.skip("the complete golden arrays (../shared/goldens) are not here")
    return lambda name: Golden(folder, name, open_golden)


@pytest.fixture
def write_card(tmp_path: Path) -> Callable[..., Path]:
    """A card of timm's smallest vision transformer as a TOML file."""

    def write(name: str = "tiny", **changes: object) -> Path:
        card = tiny_card(name=name, id="test_vit", drop_keys=("head.", "fc_norm."), **changes)
        values = card.model_dump(exclude_none=True, exclude={"weights"})
        lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        if card.weights is not None:
            lines.append("[weights]")
            stated = card.weights.model_dump(exclude_none=True)
            lines += [f"{key} = {json.dumps(value)}" for key, value in stated.items()]
        path = tmp_path / f"{name}.toml"
        path.write_text("\n".join(lines), encoding="utf-8")
        return path

    return write
