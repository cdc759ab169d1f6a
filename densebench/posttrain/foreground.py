"""Which patches show the foreground, from a backbone's own attention."""

from jaxtyping import Bool, Float
from torch import Tensor

from densebench.host.errors import DensebenchError
from densebench.learners import attention_masks
from densebench.learners.attention_masks import SMALLEST_GRID, SMALLEST_PART


def foreground(
    attention: Float[Tensor, "b heads h w"], mass: float = 0.6, smallest: int = SMALLEST_PART
) -> Bool[Tensor, "b h w"]:
    """The patches that hold most of the class token's attention.

    Heads are averaged, the mean is blurred, and of the most attended patches that together hold
    `mass` of the attention those are foreground that lie in parts of `smallest` patches or more
    (neighbours at the corner count as connected).

    Raises:
        DensebenchError: the grid is too small for the blur.

    Source: Leopart, whose masks NeCo offers; vpariza/NeCo trains with 0.6 and 3.
    """
    if min(attention.shape[-2:]) < SMALLEST_GRID:
        raise DensebenchError(
            f"loss.masks need global views of {SMALLEST_GRID}x{SMALLEST_GRID} patches or more, "
            f"not {attention.shape[-2]}x{attention.shape[-1]}; raise views.global_size"
        )
    return attention_masks.foreground(attention, mass, smallest)
