"""Windows over whole images equal DINOv3's: logits, probabilities, predictions, at several scales."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import avg_pool2d

from densebench.backbones.base import DenseBackbone
from densebench.datasets.base import Split
from densebench.datasets.masks import PlainMasks
from densebench.datasets.targets import labels
from densebench.features.source import PatchSource
from densebench.learners.normed_head import NormedHead

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TTA = (0.9, 0.95, 1.0, 1.05, 1.1)


class Colours(DenseBackbone):
    """The goldens' backbone: the mean colour of each patch less half of the window's, mapped."""

    def __init__(self, arrays, case: str) -> None:
        super().__init__("colours", int(arrays[f"{case}/patch"]), len(arrays[f"{case}/Wf"]))
        self.register_buffer("weights", torch.from_numpy(arrays[f"{case}/Wf"]))

    def patch_map(self, images: torch.Tensor) -> torch.Tensor:
        colours = avg_pool2d(images, self.patch_size)
        colours = colours - 0.5 * colours.mean(dim=(2, 3), keepdim=True)
        return torch.einsum("dc,bchw->bhwd", self.weights, colours)


def head_of(arrays, case: str) -> NormedHead:
    names = {"W": "classify.weight", "b": "classify.bias", "bn_w": "norm.weight"}
    names |= {"bn_b": "norm.bias", "bn_mean": "norm.running_mean", "bn_var": "norm.running_var"}
    state = {name: torch.from_numpy(arrays[f"{case}/{key}"]) for key, name in names.items()}
    state["classify.weight"] = state["classify.weight"][:, :, None, None]
    head = NormedHead(*reversed(state["classify.weight"].shape[:2]))
    head.load_state_dict({**head.state_dict(), **state})
    return head.eval()


def source_of(folder: Path, images: list[np.ndarray], backbone: DenseBackbone) -> PatchSource:
    files = [folder / f"{number}.png" for number in range(len(images))]
    for file, image in zip(files, images, strict=True):
        Image.fromarray(image).save(file)
    paths, names = tuple(map(str, files)), tuple(file.stem for file in files)
    split = Split("val", names, paths, paths, PlainMasks(5, 255), labels(tuple("abcde"), 255))
    return PatchSource(split, backbone, batch_size=3)
