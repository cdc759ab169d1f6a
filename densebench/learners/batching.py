"""Batches of one size from batches of any: a head need not train on what is extracted at once."""

from collections.abc import Iterable, Iterator

import torch

from densebench.features.source import PatchBatch


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
