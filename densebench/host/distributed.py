"""Several processes with one model: what each of them is, and exchanges between all of them.

Data is exchanged by index, never by order of arrival: every process fills its own places of a
tensor of zeros, and the sum over processes holds everything.

When one process fails, the others find their connection to it closed and end as well. Of them all
the first one tells the user why, in one line.
"""

import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import Tensor, distributed
from torch.distributed.distributed_c10d import Store
from torch.distributed.rendezvous import rendezvous

from densebench.host.console import explained
from densebench.host.errors import DensebenchError
from densebench.host.ranks import local_rank, process_count

T = TypeVar("T")

# Of a process that answers no more, though its connection is open; others wait while one clusters.
PATIENCE = timedelta(hours=2)
FAILURE = "densebench_failure"


class LostProcessError(DensebenchError):
    """A process with which data was to be exchanged has ended."""


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
            with _exchanging():
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
        return [item for part in self.each(items) for item in part]

    def each(self, item: T) -> list[T]:
        """What each process has, by rank, in all of them."""
        if self.size == 1:
            return [item]
        gathered: list[T] = [item] * self.size
        with _exchanging():
            distributed.all_gather_object(gathered, item)
        return gathered

    def at_main(self, item: T) -> list[T]:
        """What each process has, by rank, in the first one; nothing in the others."""
        if self.size == 1:
            return [item]
        gathered: list[T] | None = [item] * self.size if self.is_main else None
        with _exchanging():
            distributed.gather_object(item, gathered)
        return gathered or []

    def from_main(self, item: T) -> T:
        """What the first process has, in all of them."""
        if self.size == 1:
            return item
        held = [item if self.is_main else None]
        with _exchanging():
            distributed.broadcast_object_list(held)
        return held[0]  # type: ignore[return-value]

    def spread(self, tensor: Tensor, source: int) -> None:
        """Replace the values of a contiguous tensor by those of one process."""
        if self.size > 1:
            with _exchanging():
                distributed.broadcast(tensor, source)

    def hand_over(self, tensor: Tensor, source: int) -> None:
        """Replace the values of a contiguous tensor of the first process by another one's."""
        with _exchanging():
            if self.is_main:
                distributed.recv(tensor, source)
            elif self.rank == source:
                distributed.send(tensor, 0)

    def barrier(self) -> None:
        """Wait until every process is here."""
        if self.size > 1:
            with _exchanging():
                distributed.barrier()


@contextmanager
def joined(device: torch.device, patience: timedelta | None = None) -> Iterator[World]:
    """The processes of this run, as `torchrun` tells them through the environment.

    Raises:
        DensebenchError: in the first process, what another one failed of.
        LostProcessError: another process has ended, for no reason that it could tell.
    """
    size = process_count()
    if size == 1:
        yield World()
        return
    if device.type == "cuda":
        torch.cuda.set_device(local_rank())
    store, rank, size = next(iter(rendezvous("env://")))
    backend = "nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(
        backend, store=store, rank=rank, world_size=size, timeout=patience
    )
    try:
        yield World(rank, size, local_rank())
    except BaseException as error:
        _ignore_signals()
        if rank:
            _note(store, error)
        elif isinstance(error, LostProcessError | KeyboardInterrupt):
            _raise_noted(store, error)
        raise
    finally:
        distributed.destroy_process_group()


@contextmanager
def _exchanging() -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise LostProcessError(
            "another process of this run has ended or does not answer; "
            "run the same command again to go on"
        ) from error


def _ignore_signals() -> None:
    """`torchrun` ends all processes when one has failed; this one is about to end anyway."""
    with suppress(ValueError):  # signals are for the main thread alone
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)


def _note(store: Store, error: BaseException) -> None:
    """Leave the reason to the first process, before it sees that the connection is closed."""
    if isinstance(error, LostProcessError) or not isinstance(error, Exception):
        return
    told = explained(error)
    with suppress(RuntimeError):  # the first process may have gone
        if told is not None and store.add(f"{FAILURE}s", 1) == 1:
            store.set(FAILURE, told)


def _raise_noted(store: Store, error: BaseException) -> None:
    with suppress(RuntimeError):
        if store.check([FAILURE]):
            told = store.get(FAILURE).decode()
            raise DensebenchError(told) from error
