"""The features of several layers of a backbone, kept from one pass over the images."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from itertools import accumulate
from math import prod

from densebench.backbones.in_memory import giving
from densebench.features.entries import Entry
from densebench.features.loading import Views
from densebench.features.rounds import Part
from densebench.features.source import PatchSource, shapes_of
from densebench.features.storing import given
from densebench.features.writing import EntryWriter
from densebench.host.device import device_name
from densebench.host.memory import available_bytes

COPIES = 3  # of a batch's features at once: as the backbone gives them, as maps, side by side
SHARE = 4  # of the memory that is free, all layers of a batch take one such part at most


@dataclass
class LayersSource(PatchSource):
    """The patches of one layer; while they are extracted, those of others are kept as well.

    A view that is not worth a place in the cache is extracted for the one layer alone. ``others``
    are blocks after it, so that several processes take the locks of entries in one order.
    """

    others: tuple[int, ...] = ()

    def _through(self, entry: Entry, views: Views, order: Sequence[int] | None) -> Iterator[Part]:
        if entry.missing:
            self._fill(entry, views)
        yield from super()._through(entry, views, order)

    def _fill(self, own: Entry, views: Views) -> None:
        """Put what is missing into the entries of all layers for which there is a place."""
        layers = self.backbone.layers
        assert layers is not None and len(layers) == 1  # one layer is a run
        with ExitStack() as stack:
            entries = {layers[0]: own}
            for layer in self._at_once(layers[0], views):
                entry = stack.enter_context(self._opened(layer, views))
                if entry is not None and entry.missing:
                    entries[layer] = entry
            self._extract(entries, views)

    def _at_once(self, own: int, views: Views) -> list[int]:
        """The others that fit into memory beside the layer itself, from the first on."""
        widths, shape = self.backbone.layer_widths(), shapes_of(self, views).patches[:2]
        number = COPIES * 4 * min(self.batch_size, len(self)) * prod(shape)
        sums = accumulate(number * widths[layer] for layer in (own, *self.others))
        room = available_bytes() // SHARE
        found = [layer for layer, n in zip((own, *self.others), sums, strict=True) if n <= room]
        if len(found) <= len(self.others):
            self.watcher.say("not all layers of a batch fit into memory: there are several passes")
        return found[1:]

    def _opened(self, layer: int, views: Views) -> AbstractContextManager[Entry | None]:
        """The entry of another layer; everything but the layer is as it is for this one."""
        assert self.cache is not None  # its own entry is of it
        spec = self._spec(views.transform, views.seed, views.epoch) | {"layers": [layer]}
        with giving(self.backbone, layer):
            shapes, form = shapes_of(self, views), given(self, views.transform)
        sizes = (len(self), *shapes.patches), (len(self), *shapes.mask)
        return self.cache.open(spec, *sizes, self.split.target.dtype, form)

    def _extract(self, entries: dict[int, Entry], views: Views) -> None:
        widths = [self.backbone.layer_widths()[layer] for layer in entries]
        missing = [set(entry.missing) for entry in entries.values()]
        order = sorted(set().union(*missing))
        for entry in entries.values():
            entry.note_device(device_name(self.device))
        with ExitStack() as stack, giving(self.backbone, tuple(entries)):
            advance = stack.enter_context(self.watcher.phase(_told(len(entries)), len(order)))
            writers = [stack.enter_context(EntryWriter(entry)) for entry in entries.values()]
            for part in self.extracted(views, order, self.batch_size, late=False):
                if part is None:
                    continue
                indices, patches, masks = part
                maps = patches.cpu().split(widths, dim=-1)
                for writer, wanted, one in zip(writers, missing, maps, strict=True):
                    kept = [n for n, index in enumerate(indices.tolist()) if index in wanted]
                    if kept:
                        kept_ones = (of[kept].numpy() for of in (indices, one, masks))
                        numbers, features, targets = kept_ones
                        writer.put(numbers, features, targets, self.unreadable)
                advance(len(indices))
        for entry in entries.values():
            if entry.filled < len(self):
                entry.unreadable |= self.unreadable
                entry.commit(len(self))


def _told(count: int) -> str:
    return f"{count} layer{'s' * (count > 1)}"
