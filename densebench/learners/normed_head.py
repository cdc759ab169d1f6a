"""DINOv3's linear head on frozen patches: channel dropout, batch normalisation, a 1x1 convolution.

Source: facebookresearch/dinov3 at 6876159, dinov3/eval/segmentation and dinov3/eval/depth.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from densebench.host.device import one_thread
from densebench.host.errors import DensebenchError
from densebench.learners.heads import Head
from densebench.learners.onecycle import WarmupOneCycle

SPREAD = 0.01  # of the convolution's first weights


class NormedHead(Head):
    """A ``bn_linear`` head that begins as DINOv3's does, and can leave channels out."""

    def __init__(self, embed_dim: int, n_outputs: int) -> None:
        super().__init__(embed_dim, n_outputs, "bn_linear")
        nn.init.normal_(self.classify.weight, std=SPREAD)
        assert self.classify.bias is not None
        nn.init.zeros_(self.classify.bias)

    def forward(
        self, patches: Float[Tensor, "b h w d"], kept: Float[Tensor, "b d"] | None = None
    ) -> Float[Tensor, "b c h w"]:
        """Outputs on the patch grid; ``kept`` is what each image's channels are multiplied by."""
        # Channel by channel in memory, as there: how the sums of a batch are rounded depends on it.
        mapped = patches.permute(0, 3, 1, 2).contiguous()
        if kept is not None:
            mapped = mapped * kept[:, :, None, None]
        outputs: Tensor = self.classify(self.norm(mapped))
        return outputs


def seeded_normed_head(embed_dim: int, n_outputs: int, seed: int) -> NormedHead:
    """A head that has learnt nothing yet, the same for the same seed; no other draw is touched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NormedHead(embed_dim, n_outputs)


def kept_channels(batch: int, width: int, dropout: float, seed: int) -> Float[Tensor, "b d"]:
    """What channel dropout multiplies the channels of each image by: 0, or what makes up for it."""
    draws = torch.rand(batch, width, generator=torch.Generator().manual_seed(seed))
    return (draws >= dropout).float() / (1.0 - dropout)


class HeadSteps:
    """A head with AdamW, step by step; all of it can be saved and restored.

    Args:
        head: what is trained.
        schedule: rate and beta1 of each step.
        weight_decay: of all parameters, the normalisation's and biases too.
        betas: AdamW's; the schedule may say otherwise of the first.
        clip: the largest norm of the gradients.

    Attributes:
        done: how many steps were made.
    """

    def __init__(
        self,
        head: NormedHead,
        schedule: WarmupOneCycle,
        weight_decay: float,
        betas: tuple[float, float] = (0.9, 0.999),
        clip: float = float("inf"),
    ) -> None:
        self.head, self.done = head, 0
        self._schedule, self._clip = schedule, clip
        self._optimiser = torch.optim.AdamW(
            head.parameters(), lr=0.0, betas=betas, weight_decay=weight_decay
        )

    @one_thread()
    def step(self, loss_of: Callable[[NormedHead], Float[Tensor, ""]]) -> float:
        """One step down a loss of the head; returns that loss.

        On a processor by one thread: sums of several are rounded by how many they are.

        Raises:
            DensebenchError: the loss is not finite.
        """
        self.head.train()
        self._schedule.set(self._optimiser, self.done)
        self._optimiser.zero_grad()
        loss = loss_of(self.head)
        if not torch.isfinite(loss):
            raise DensebenchError(
                f"the head's loss is {loss.item()}; lower lr, or check the features and targets"
            )
        loss.backward()
        if self._clip < float("inf"):
            nn.utils.clip_grad_norm_(self.head.parameters(), self._clip)
        self._optimiser.step()
        self.done += 1
        return loss.item()

    def state(self) -> dict[str, Any]:
        """All that the next step depends on."""
        return {
            "head": self.head.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "done": self.done,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a saved state.

        Raises:
            ValueError: the state is another head's.
        """
        self.head.load_state_dict(state["head"])
        self._optimiser.load_state_dict(state["optimiser"])
        self.done = state["done"]
        for parameter, kept in self._optimiser.state.items():  # at which torch does not look
            shapes = [v.shape for v in kept.values() if isinstance(v, Tensor) and v.ndim]
            if any(shape != parameter.shape for shape in shapes):
                raise ValueError("the optimiser's state is another head's")
