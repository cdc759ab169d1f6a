"""Tiny backbones, recipes and photographs to train with in a moment."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from timm.models.vision_transformer import VisionTransformer

from densebench.backbones.base import IMAGENET_MEAN, IMAGENET_STD
from densebench.backbones.timm_vit import TimmBackbone
from densebench.cards import BackboneCard
from densebench.posttrain.outcome import as_toml
from densebench.posttrain.photographs import Photographs, find_photographs
from densebench.posttrain.recipe import Recipe
from densebench.posttrain.trainer import Monitor, Place, Trainer

TINY: dict[str, dict[str, Any]] = {
    "views": {"global_size": 56, "local_size": 28, "local_crops": 1},
    "loss": {"align_size": 3, "queue_size": 60},
    "model": {"head_layers": 2, "head_hidden": 16, "head_dim": 8, "drop_path": 0.0},
    "optimiser": {"backbone_lr": 1e-3, "head_lr": 1e-3},
    "training": {"batch_size": 4, "steps": 4, "checkpoint_every": 2},
}


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tensors this small only lose time on several, and processes must compute alike."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def make_recipe() -> Callable[..., Recipe]:
    """A recipe of a few small steps; changes are by dotted key, with __ for the dot."""

    def make(**changes: Any) -> Recipe:
        values: dict[str, Any] = {"name": "tiny", **{k: dict(v) for k, v in TINY.items()}}
        for key, value in changes.items():
            table, _, name = key.partition("__")
            values.setdefault(table, {})[name] = value
        return Recipe.model_validate(values)

    return make


@pytest.fixture(scope="session")
def make_backbone() -> Callable[..., TimmBackbone]:
    """A vision transformer of two narrow blocks with patches of 14 pixels."""

    def make(seed: int = 0, depth: int = 2, **options: Any) -> TimmBackbone:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            size = {"img_size": 28, "patch_size": 14, "embed_dim": 24, "num_heads": 2}
            known = {"num_classes": 0, "dynamic_img_size": True, **options}
            model = VisionTransformer(**size, depth=depth, **known)
        card = BackboneCard(
            name="tiny",
            source="timm",
            id="tiny",
            patch_size=14,
            embed_dim=24,
            prefix_tokens=model.num_prefix_tokens,
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            position_embedding="timm",
            license="MIT",
            training_data="noise",
        )
        return TimmBackbone(model.eval(), card)

    return make


@pytest.fixture(scope="session")
def write_photographs() -> Callable[..., Path]:
    """Writes pictures of a few smooth colours, no two alike, into a folder."""

    def write(folder: Path, count: int, first: int = 0) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(first, first + count):
            coarse = np.random.default_rng(number).integers(0, 256, (4, 5, 3), dtype=np.uint8)
            picture = Image.fromarray(coarse).resize((50, 40), Image.Resampling.BILINEAR)
            picture.save(folder / f"photo{number:03d}.png")
        return folder

    return write


# A convolution with batch normalisation; PAUSE makes it slow enough to be interrupted.
PLUGIN = """
import os, time
import torch

class Net(torch.nn.Module):
    patch_size, embed_dim = 14, 6
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.patches, self.norm = torch.nn.Conv2d(3, 6, 14, 14), torch.nn.BatchNorm2d(6)
    def forward(self, images):
        time.sleep(float(os.environ.get("PAUSE", 0)))
        return self.norm(self.patches(images)).permute(0, 2, 3, 1)

def make():
    return Net()
"""


@pytest.fixture
def workplace(
    own_places: Path, write_photographs: Callable[..., Path], make_recipe: Callable[..., Recipe]
) -> Path:
    """A working directory with a plug-in net.py, a recipe tiny.toml and ten photos."""
    (own_places / "net.py").write_text(PLUGIN)
    (own_places / "tiny.toml").write_text(as_toml(make_recipe().model_dump(mode="json")))
    write_photographs(own_places / "photos", 10)
    return own_places


@pytest.fixture(scope="session")
def photographs(
    tmp_path_factory: pytest.TempPathFactory, write_photographs: Callable[..., Path]
) -> Photographs:
    """Ten pictures that no test changes."""
    return find_photographs([write_photographs(tmp_path_factory.mktemp("photographs"), 10)])


@pytest.fixture
def make_trainer(
    tmp_path: Path,
    photographs: Photographs,
    make_recipe: Callable[..., Recipe],
    make_backbone: Callable[..., TimmBackbone],
) -> Callable[..., Trainer]:
    """A trainer of a tiny backbone on the ten pictures."""

    def make(
        folder: str = "out",
        backbone: Any = None,
        images: Photographs = photographs,
        monitor: Monitor | None = None,
        place: dict[str, Any] | None = None,
        **changes: Any,
    ) -> Trainer:
        where = Place(tmp_path / folder, torch.device("cpu"), **(place or {}))
        where.folder.mkdir(exist_ok=True)
        backbone = backbone or make_backbone()
        recipe = make_recipe(**changes)
        return Trainer(backbone, recipe, images, where, backbone.fingerprint, monitor)

    return make
