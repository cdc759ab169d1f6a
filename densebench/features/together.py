"""Patches of a split that several processes extract together, and keep in one feature cache.

On one machine each process writes the blocks that it extracts; on several the first one writes all
of them. What is whole is read by each.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from densebench.features.blocks import BlockNotes, noted, shares
from densebench.features.entries import DAMAGE, Entry, read_meta
from densebench.features.rounds import Part, Reach, Rounds, Shapes
from densebench.features.storing import given
from densebench.features.writing import EntryWriter
from densebench.host.device import device_name
from densebench.host.ranks import process_count, processes_here

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
        missing = world.from_main(None if entry is None else entry.missing)
        if missing is None:
            return None
        if missing:
            self._fill(entry, missing)
        world.barrier()  # what all wrote is there
        if entry is None:
            entry = cache.whole(spec)
        if world.any(entry is None or bool(entry.missing), torch.device("cpu")):
            source.watcher.say(NOT_HERE)
            return None
        return entry

    def _fill(self, entry: Entry | None, missing: Sequence[int]) -> None:
        """Extract what is missing; each process writes its own blocks where all see one folder."""
        parts = shares(missing, self._rounds.size, self._world.size)
        own = self._opened(entry) if all(parts) else None  # few images are extracted by batches
        if own is None:
            self._hand_over(entry, missing)
            return
        self._write(own, parts[self._world.rank])
        self._world.barrier()
        if entry is not None:
            entry.take(noted(entry.folder), verify=False)

    def _opened(self, entry: Entry | None) -> Entry | None:
        """The first process's entry, if each of them can write it.

        On several machines none does: a page that two of them change is one of theirs afterwards.
        """
        place = self._world.from_main(None if entry is None else _identity(entry.folder))
        assert place is not None  # in the first process, and so in all
        folder = Path(place[0])
        with suppress(*DAMAGE):
            if entry is None and _identity(folder) == place:
                entry = Entry(folder, read_meta(folder))
        apart = processes_here() < process_count()
        none = self._world.any(entry is None or apart, torch.device("cpu"))
        return None if none else entry

    def _write(self, entry: Entry, images: Sequence[int]) -> None:
        source, device = self._source, device_name(self._source.device)
        notes = BlockNotes(entry, str(self._world.rank), images, device)
        with EntryWriter(entry, notes.commit) as writer:
            for part in source.extracted(self._views, images, self._rounds.size, late=False):
                if part is not None:
                    indices, patches, masks = part
                    arrays = indices.numpy(), patches.cpu().numpy(), masks.numpy().copy()
                    writer.put(*arrays, source.unreadable)
        entry.unreadable |= source.unreadable
        notes.commit(len(entry))

    def _hand_over(self, entry: Entry | None, missing: Sequence[int]) -> None:
        """Extract what is missing; the first process has the entry and writes it."""
        batches = self._extracted(missing, "main")
        if entry is None:
            for _ in batches:  # which are none here
                pass
        else:
            entry.note_device(device_name(self._source.device))
            for _ in self._source.filled(entry, batches):
                pass


def _identity(folder: Path) -> tuple[str, int, int]:
    """What tells a folder from those of the same name on other file systems."""
    status = folder.stat()
    return str(folder.absolute()), status.st_dev, status.st_ino
