"""What is measured: trained weights on PASCAL VOC where both are given, else a drawn stand-in.

Given are the folder VOC2012, with lists `memory` and `query` of its images beside the official
ones, and a checkpoint of DINOv2 ViT-S/14 with registers. Else the drawn scenes are seen by a
ViT-S/16 whose weights nothing has trained, which is as fast as any other.
"""

from pathlib import Path

import timm
import torch
from jaxtyping import Float
from torch import Tensor, nn

from densebench.backbones import DenseBackbone
from densebench.datasets import Dataset
from densebench.run.images import load_images
from densebench.run.inputs import load_inputs
from densebench.run.options import RunOptions
from densebench.run.plan import plan_run

INPUT, BATCH = 224, 16
TIMM = "vit_small_patch16_224"
# Each image once, as it is, and all of its patches are remembered.
PARAMS = {
    "input_size": INPUT,
    "memory_size": "unbounded",
    "augment": False,
    "augmentation_epochs": 1,
}


class Untrained(nn.Module):
    """A ViT-S/16 whose weights nothing has trained."""

    patch_size, embed_dim = 16, 384

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.model = timm.create_model(TIMM, num_classes=0)

    def forward(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b h w d"]:
        """Patch tokens of the last layer."""
        side = images.shape[-1] // self.patch_size
        tokens: Tensor = self.model.forward_features(images)  # type: ignore[operator]
        return tokens[:, 1:].unflatten(1, (side, side))


def build() -> nn.Module:
    """Of this file as a plug-in."""
    return Untrained()


def options_of(voc: str = "", weights: str = "") -> RunOptions:
    """A run of in-context retrieval without feature cache."""
    if not voc:
        plugin = f"{__file__}:{build.__name__}"
        return RunOptions(plugin, "scenes_incontext", cache="off", params=PARAMS, batch_size=BATCH)
    return RunOptions(
        "dinov2_reg_s14",
        "voc_incontext",
        cache="off",
        params=PARAMS,
        batch_size=BATCH,
        weights=Path(weights),
        data_root=Path(voc),
        train_list=Path("memory"),
        val_list=Path("query"),
    )


def loaded(options: RunOptions) -> tuple[DenseBackbone, Dataset, torch.device]:
    """What such a run works on, and where."""
    plan = plan_run(options)
    inputs = load_inputs(plan, load_images(plan.task, options))
    return inputs.backbone, inputs.dataset, plan.device
