"""A step of NeCo on a GPU: its views, its waits, its optimiser, its checkpoints."""

import warnings
from collections.abc import Callable
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
from densebench.posttrain.batched_distortions import distort_batch
from densebench.posttrain.distortions import Adjustment, Distortion, distorted
from densebench.posttrain.journal import read_journal
from densebench.posttrain.photographs import ViewDataset, find_photographs, portions
from densebench.posttrain.recipe import Recipe
from densebench.posttrain.trainer import Place, Trainer

DEVICE = torch.device("cuda")
pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no GPU here: NeCo's step on one is not tried"
)
RECIPE: dict[str, Any] = {
    "name": "tiny",
    "views": {"global_size": 56, "local_size": 28, "local_crops": 2, "engine": "torch"},
    "loss": {"align_size": 3, "queue_size": 60},
    "model": {"head_layers": 2, "head_hidden": 16, "head_dim": 8},
    "optimiser": {"backbone_lr": 1e-3, "head_lr": 1e-3},
    "training": {"batch_size": 4, "steps": 4, "checkpoint_every": 2, "precision": "fp32"},
}


def photograph(seed: int) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((50, 40), Image.Resampling.BICUBIC)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Trainer]:
    """A trainer of a tiny backbone on ten photographs."""
    (tmp_path / "photos").mkdir()
    for number in range(10):
        photograph(number).save(tmp_path / f"photos/{number}.png")
    images = find_photographs([tmp_path / "photos"])

    def build(folder: str, device: torch.device = DEVICE, **tables: dict[str, Any]) -> Trainer:
        (tmp_path / folder).mkdir(exist_ok=True)
        torch.manual_seed(0)
        size = {"img_size": 56, "patch_size": 14, "embed_dim": 24, "depth": 2, "num_heads": 2}
        model = VisionTransformer(**size, num_classes=0, dynamic_img_size=True)
        norm = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD, "position_embedding": "timm"}
        about = {"license": "MIT", "training_data": "noise", "source": "timm", "id": "tiny"}
        shape = {"patch_size": 14, "embed_dim": 24, "prefix_tokens": 1}
        card = BackboneCard(name="tiny", **norm, **about, **shape)
        backbone = TimmBackbone(model.eval(), card)
        values = {key: {**RECIPE[key], **tables.get(key, {})} for key in RECIPE if key != "name"}
        recipe = Recipe.model_validate({"name": "tiny", **values})
        place = Place(tmp_path / folder, device)
        return Trainer(backbone.to(device), recipe, images, place, backbone.fingerprint)

    return build


def losses(trainer: Trainer) -> list[float]:
    return [line["loss"] for line in read_journal(trainer.place.folder / "log.jsonl")]


def test_distortions_are_pillow_s_to_one_level() -> None:
    """Of hue too: its 8 bits are found in float64, as on a processor."""
    random, images = np.random.default_rng(0), [photograph(number) for number in range(24)]
    by = []
    for _ in images:
        order = random.permutation(4)
        jitter = tuple(
            (Adjustment(k), float(random.uniform(0.3, 0.5 if k == 3 else 1.7))) for k in order
        )
        by.append(Distortion(jitter, bool(random.integers(2)), float(random.uniform(0, 2))))
    pixels = torch.stack([torch.from_numpy(np.array(i)) for i in images]).permute(0, 3, 1, 2)
    done = distort_batch(pixels.contiguous().to(DEVICE), by).cpu().int()
    theirs = np.stack([np.array(distorted(i, d)) for i, d in zip(images, by, strict=True)])
    apart = (done - torch.from_numpy(theirs).permute(0, 3, 1, 2).int()).abs()
    assert apart.max() <= 1
    assert (apart > 0).float().mean() < 1e-3


def test_a_step_waits_once(make: Callable[..., Trainer]) -> None:
    trainer = make("out")
    dataset = ViewDataset(trainer._photographs, trainer._views, 0)
    for number, batch in enumerate(
        portions(dataset, trainer.schedule, 0, (0, 1), 2, 0, pinned=True)
    ):
        assert all(image.is_pinned() for portion in batch for image in portion.images)
        with warnings.catch_warnings(record=True) as waits:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            trainer.learner.step(number, batch, lambda value, what: None)
            torch.cuda.set_sync_debug_mode("default")
        told = [str(w.message) for w in waits if "synchronizing" in str(w.message)]
        assert number == 0 or len(told) == 1, told  # the first step sets up the optimiser


def test_both_engines_and_the_processor_take_the_same_steps(make: Callable[..., Trainer]) -> None:
    found = {}
    for name, device, engine in (
        ("one", DEVICE, "torch"),
        ("two", DEVICE, "pillow"),
        ("three", torch.device("cpu"), "torch"),
    ):
        trainer = make(name, device, views={"engine": engine}, model={"drop_path": 0.0})
        trainer.run()
        found[name] = losses(trainer)
    assert found["one"] == pytest.approx(found["two"], rel=1e-3)
    assert found["one"] == pytest.approx(found["three"], rel=1e-2)


def test_a_fused_optimiser_goes_on_where_it_was(make: Callable[..., Trainer]) -> None:
    unbroken = make("unbroken")
    unbroken.run()
    assert all(group["fused"] for group in unbroken.learner.optimiser.param_groups)
    (unbroken.place.checkpoints / "step-00000004.pt").unlink()
    again = make("unbroken")
    again.resume()
    assert again.step == 2
    before = losses(unbroken)
    again.run()
    assert losses(again) == pytest.approx(before, rel=1e-3)


def test_a_checkpoint_changes_devices(make: Callable[..., Trainer]) -> None:
    for first, second in ((DEVICE, torch.device("cpu")), (torch.device("cpu"), DEVICE)):
        folder = f"from_{first.type}"
        make(folder, first).run()
        saved = folder, "step-00000004.pt"
        trainer = make(folder, second)
        (trainer.place.checkpoints / saved[1]).unlink()
        trainer.resume()
        trainer.run()
        assert len(losses(trainer)) == 4


def test_two_sizes_compile_and_train(make: Callable[..., Trainer]) -> None:
    plain, compiled = make("plain"), make("compiled", model={"compile": True})
    for trainer in (plain, compiled):
        trainer.run()
    assert losses(compiled) == pytest.approx(losses(plain), rel=1e-2)
