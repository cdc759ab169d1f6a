"""The class of every pixel: the largest of scores that are upsampled from the patch grid."""

from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import max_pool2d

from densebench.measures.scoring import upsampled

# Far above what upsampling rounds, of the largest score in size.
ROUNDING = 1e-5
TIE = 2e-6  # the same, tighter: what two roundings of one upsampled score can differ by, and more


def winning_classes(scores: Float[Tensor, "c h w"], size: tuple[int, ...]) -> Int64[Tensor, "H W"]:
    """The first class with the highest bilinearly upsampled score, pixel by pixel.

    Only classes that can win anywhere are upsampled. How a score is rounded depends on how many are
    upsampled at once; where two classes of a pixel are as near as that, all of them are.
    """
    kept = _possible(scores)
    values = upsampled(scores[kept], size)
    # Ten times as fast as `argmax`, which on a processor jumps from class to class.
    best = values.max(dim=0)
    near = values >= best.values - TIE * scores.abs().max()
    if (near.sum(dim=0) > 1).any():
        return upsampled(scores, size).argmax(dim=0)
    return kept[best.indices]


def _possible(scores: Float[Tensor, "c h w"]) -> Int64[Tensor, " k"]:
    """Classes that are the highest of some pixel, or nearly so.

    A pixel's scores are means of those at the four patches around it: between the smallest and the
    largest. A class whose largest is below another's smallest, at every four, wins nowhere.
    """
    around = min(2, scores.shape[1]), min(2, scores.shape[2])
    slack = ROUNDING * scores.abs().amax(dim=(1, 2), keepdim=True)
    largest = max_pool2d(scores[None], around, stride=1)[0] + slack
    smallest = -max_pool2d(-scores[None], around, stride=1)[0] - slack
    beaten = largest < smallest.amax(dim=0)  # never where a score is nan
    return (~beaten).flatten(start_dim=1).any(dim=1).nonzero()[:, 0]
