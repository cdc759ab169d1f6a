"""Patches of a split that several processes extract together, and keep in one feature cache.

The first process alone writes the cache, in the order of the split as one process does; what is
whole is read by each.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import torch

from densebench.features.entries import Entry
from densebench.features.rounds import Part, Reach, Rounds, Shapes
from densebench.features.storing import given
from densebench.host.device import device_name

if TYPE_CHECKING:
    from densebench.features.cache import FeatureCache
    from densebench.features.loading import Views
    from densebench.features.source import PatchSource

NOT_HERE = (
    "the first process's feature cache is not that of all; the run goes on without (give all of "
    "them one folder by DENSEBENCH_CACHE)"
)


class Together:
    """One pass of several processes through a split.

    Args:
        source: of the patches; its loader, its backbone and its cache are used.
        rounds: who extracts which batch.
        views: of all images.
        shapes: of what an image gives.
    """

    def __init__(
        self, source: "PatchSource", rounds: Rounds, views: "Views", shapes: Shapes
    ) -> None:
        self._source, self._world = source, source.world
        self._rounds, self._views, self._shapes = rounds, views, shapes

    def batches(
        self, order: Sequence[int], reach: Reach, spec: dict[str, Any] | None
    ) -> Iterator[Part]:
        """What is wanted here of all images in the order.

        ``spec`` describes the features in the cache; None for those that are not kept.
        """
        with ExitStack() as stack:
            cache = self._source.cache
            entry = None
            if cache is not None and spec is not None:
                entry = self._entry(stack, cache, spec)
            if entry is None:
                yield from self._extracted(order, reach)
            else:
                yield from self._stored(entry, order, reach)
        devices = self._world.each(set(self._source.produced_on))
        self._source.produced_on.update(*devices)

    def _extracted(self, order: Sequence[int], reach: Reach) -> Iterator[Part]:
        mine, size = self._rounds.own(order), self._rounds.size
        own = self._source.extracted(self._views, mine, size, late=False)
        unreadable = self._source.unreadable
        yield from self._rounds.exchanged(order, own, self._shapes, unreadable, reach)

    def _stored(self, entry: Entry, order: Sequence[int], reach: Reach) -> Iterator[Part]:
        own = order
        if reach == "own":
            own = self._rounds.own(order)
        elif reach == "main" and not self._world.is_main:
            own = []
        self._source.produced_on.update(entry.devices)
        yield from self._source.stored(entry, own)

    def _entry(self, stack: ExitStack, cache: "FeatureCache", spec: dict[str, Any]) -> Entry | None:
        """The entry, filled by all; None if there is no place, or not one that all of them see."""
        world, source = self._world, self._source
        n = len(source)
        sizes = (n, *self._shapes.patches), (n, *self._shapes.mask)
        entry = None
        if world.is_main:
            kinds = source.split.target.dtype, given(source, self._views.transform)
            entry = stack.enter_context(cache.open(spec, *sizes, *kinds))
        spec = world.from_main(spec)
        filled = world.from_main(None if entry is None else entry.filled)
        if filled is None:
            return None
        self._fill(entry, range(filled, n))
        world.barrier()  # what the first one wrote is there
        if entry is None:
            entry = cache.whole(spec)
        if world.any(entry is None, torch.device("cpu")):
            source.watcher.say(NOT_HERE)
            return None
        return entry

    def _fill(self, entry: Entry | None, missing: Sequence[int]) -> None:
        """Extract what is missing; the first process has the entry and writes it."""
        batches = self._extracted(missing, "main")
        if entry is None:
            for _ in batches:  # which are none here
                pass
        elif missing:
            entry.note_device(device_name(self._source.device))
            for _ in self._source.filled(entry, batches):
                pass
