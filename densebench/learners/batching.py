"""Batches of one size from batches of any: a head need not train on what is extracted at once."""

from collections import deque
from collections.abc import Iterable, Iterator

import torch
from jaxtyping import Bool
from torch import Tensor

from densebench.datasets.transforms import Transform
from densebench.features.source import PatchBatch, PatchSource


def in_batches(batches: Iterable[PatchBatch], size: int) -> Iterator[PatchBatch]:
    """The same images in the same order, ``size`` at a time, and what is left over at the end.

    Each batch is given as soon as its last image is there, so that never more than one of them and
    one of the incoming ones are in memory. Its tensors are copies of their own: how they lie in
    memory, which can decide how a product is rounded, does not depend on what came in.
    """
    held, room = list[PatchBatch](), size
    for batch in batches:
        left = batch
        while len(left.indices):
            part, left = _split(left, room)
            held.append(part)
            room -= len(part.indices)
            if not room:
                full, held, room = _joined(held), [], size
                yield full
    if held:
        yield _joined(held)


def complete(batches: Iterable[PatchBatch], size: int) -> Iterator[PatchBatch]:
    """Batches of ``size``; a last one with fewer images is dropped, unless it is the only one."""
    for number, batch in enumerate(in_batches(batches, size)):
        if number == 0 or len(batch.indices) == size:
            yield batch


def last_apart(
    source: PatchSource, view: Transform, size: int
) -> Iterator[tuple[PatchBatch, bool]]:
    """Batches that this process extracted, and whether a loader in batches of ``size`` drops them.

    It drops the last incomplete batch of all images that can be read, in the order of their list,
    unless that is the only one. Which images these are is known at the end of a pass; until then
    the last ``size`` - 1 of this process are kept back.
    """
    held, n_held = deque[PatchBatch](), 0
    for batch in source.batches(view, order=source.split.order, reach="own"):
        held.append(batch)
        n_held += len(batch.indices)
        while held and n_held - len(held[0].indices) >= size - 1:
            n_held -= len(held[0].indices)
            yield held.popleft(), False
    if held:
        rest = _joined(list(held))
        dropped = torch.isin(rest.indices, torch.tensor(_dropped(source, size), dtype=torch.int64))
        for drops in (False, True):
            part = _chosen(rest, dropped == drops)
            if len(part.indices):
                yield part, drops


def _dropped(source: PatchSource, size: int) -> list[int]:
    """The images of the last incomplete batch, once all were read."""
    split = source.split
    order = range(len(source)) if split.order is None else split.order
    read = [index for index in order if split.names[index] not in source.unreadable]
    whole = len(read) // size * size
    return read[whole:] if whole else []


def _chosen(batch: PatchBatch, which: Bool[Tensor, " b"]) -> PatchBatch:
    return PatchBatch(batch.indices[which], batch.patches[which], batch.masks[which])


def _split(batch: PatchBatch, size: int) -> tuple[PatchBatch, PatchBatch]:
    parts = (slice(None, size), slice(size, None))
    first, rest = (PatchBatch(batch.indices[p], batch.patches[p], batch.masks[p]) for p in parts)
    return first, rest


def _joined(parts: list[PatchBatch]) -> PatchBatch:
    return PatchBatch(
        torch.cat([part.indices for part in parts]),
        torch.cat([part.patches for part in parts]),
        torch.cat([part.masks for part in parts]),
    )
