"""Milliseconds an image from class scores on the patch grid to counts, both ways in turn.

`plainly` upsamples every class and takes argmax, `densebench` what a run does; counting alone is
told apart. The scores are of smooth regions, as those of photographs, at the size of a VOC mask.

python benchmarks/scoring.py [CLASSES ...]
"""

import sys
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int64
from timing import alternating, machine
from torch import Tensor
from torch.nn.functional import interpolate

from densebench.measures.scoring import upsampled
from densebench.measures.segmentation import confusion_matrix
from densebench.measures.winners import winning_classes

GRID, SIZE, REPEATS = 37, (375, 500), 9
REGIONS, SHARPNESS, PRESENT = 5, 4.0, 6


def main(*classes: int) -> None:
    print(f"{machine()}; best of {REPEATS}")
    print(f"{'classes':>7} {'plainly':>11} {'densebench':>11} {'counting':>11}")
    for count in classes or (21, 151):
        scores = _scores(count)
        labels = winning_classes(scores, SIZE)
        if not torch.equal(labels, _plainly(scores)):
            raise SystemExit("the two differ")
        truth, found = labels.numpy().astype(np.uint8), labels.numpy()
        times = alternating(
            {
                "plainly": partial(_plainly, scores),
                "densebench": partial(winning_classes, scores, SIZE),
                "counting": partial(confusion_matrix, truth, found, count, count, 255),
            },
            REPEATS,
        )
        print(f"{count:>7} " + " ".join(f"{1000 * s:>8.2f} ms" for s in times.values()))


def _plainly(scores: Float[Tensor, "c h w"]) -> Int64[Tensor, "H W"]:
    return upsampled(scores, SIZE).argmax(dim=0)


def _scores(classes: int) -> Float[Tensor, "c h w"]:
    """Soft labels of an image with a few classes, the class the innermost axis as in a run."""
    random = torch.Generator().manual_seed(0)
    coarse = torch.randn(1, classes, REGIONS, REGIONS, generator=random) * SHARPNESS
    coarse[:, torch.randperm(classes, generator=random)[PRESENT:]] -= 3 * SHARPNESS
    scores = interpolate(coarse, size=(GRID, GRID), mode="bicubic")[0].softmax(dim=0)
    return scores.permute(1, 2, 0).contiguous().permute(2, 0, 1)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
