"""Several processes with one model: what each of them is, and sums over all of them.

Data is exchanged by index, never by order of arrival: every process fills its own places of a
tensor of zeros, and the sum over processes holds everything.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, distributed

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """The processes that `torchrun` started, or this one alone."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, in place."""
        if self.size > 1:
            distributed.all_reduce(tensor)
        return tensor

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace every tensor by its mean over all processes, in one exchange."""
        if self.size == 1:
            return
        together = list(tensors)
        flat = torch.cat([tensor.flatten() for tensor in together])
        self.sum(flat).div_(self.size)
        parts = flat.split([tensor.numel() for tensor in together])
        for tensor, part in zip(together, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def any(self, here: bool, device: torch.device) -> bool:
        """Whether it is so in any process."""
        return bool(self.sum(torch.tensor(int(here), device=device)).item())

    def together(self, items: list[T], device: torch.device) -> list[T]:
        """The items of all processes; nothing is exchanged while there are none."""
        if self.size == 1 or not self.any(bool(items), device):
            return items
        gathered: list[list[T]] = [[] for _ in range(self.size)]
        distributed.all_gather_object(gathered, items)
        return [item for part in gathered for item in part]

    def barrier(self) -> None:
        """Wait until every process is here."""
        if self.size > 1:
            distributed.barrier()


def is_main_process() -> bool:
    """Whether this process is the only or the first one, as `torchrun` tells it."""
    return int(os.environ.get("RANK", "0")) == 0


@contextmanager
def joined(device: torch.device) -> Iterator[World]:
    """The processes of this run, as `torchrun` tells them through the environment."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World()
        return
    rank, local_rank = int(os.environ["RANK"]), int(os.environ.get("LOCAL_RANK", "0"))
    if device.type == "cuda":
        torch.cuda.set_device(local_rank)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield World(rank, size, local_rank)
    finally:
        distributed.destroy_process_group()
