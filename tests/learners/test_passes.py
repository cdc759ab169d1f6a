"""Which images the head sees, and in which batches: whatever is extracted at once."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from densebench.datasets.targets import labels
from densebench.features.source import PatchBatch
from densebench.host.distributed import World
from densebench.host.errors import DensebenchError
from densebench.learners.projection import Projection
from densebench.protocols.base import Setting
from densebench.protocols.linear import Linear, LinearParams

ONE = (1.0, 1.0, 1.0)
PATCH, WIDTH = 7, 3


class NumberedPatches:
    """A source whose patches and masks are the images' numbers; some cannot be read."""

    def __init__(self, n, extraction_batch, bad=(), order=None):
        self.split = SimpleNamespace(order=order, names=[str(i) for i in range(n)])
        self.world = World()
        self.unreadable = {str(index): "bad" for index in bad}
        self.largest_lead = 0  # images given out before the head has seen them
        self._n, self._size, self._bad = n, extraction_batch, set(bad)

    def __len__(self):
        return self._n

    def batches(self, transform, seed=0, epoch=0, order=None, keep=True, reach="all"):
        self._given = self._taken = 0
        order = list(range(self._n) if order is None else order)
        for start in range(0, len(order), self._size):
            read = [i for i in order[start : start + self._size] if i not in self._bad]
            if read:
                self._given += len(read)
                self.largest_lead = max(self.largest_lead, self._given - self._taken)
                indices = torch.tensor(read)
                patches = indices.float()[:, None, None, None].expand(-1, 1, 1, WIDTH)
                yield PatchBatch(indices, patches, indices.byte()[:, None, None].expand(-1, 7, 7))

    def take(self, images):
        self._taken += images


class Recorded:
    """Stands for the head's training, and notes the images of each step."""

    def __init__(self, source):
        self.batches, self._source = [], source

    def step(self, patches, masks, mask_size):
        images = patches[:, 0, 0, 0].long().tolist()
        assert masks[:, 0, 0].tolist() == images
        assert patches.data_ptr() % 64 == 0
        self._source.take(len(images))
        self.batches.append(images)
        return 1.0

    def end_epoch(self):
        pass


def _linear(variant="reference", **params):
    setting = Setting(labels(("a", "b"), 255), PATCH, WIDTH, ONE, ONE, variant)
    return Linear(LinearParams(input_size=PATCH, augment=False, **params), setting)


def _seen(source, epochs, variant, **params):
    protocol = _linear(variant, **params)
    protocol._epochs.training = Recorded(source)
    seen = []
    for epoch in range(epochs):
        protocol._train_epoch(source, epoch)
        seen.append(protocol._epochs.training.batches)
        protocol._epochs.training.batches = []
    return seen


@st.composite
def datasets(draw):
    n = draw(st.integers(1, 40))
    bad = draw(st.one_of(st.just(set()), st.sets(st.integers(0, n - 1), max_size=n - 1)))
    order = draw(st.one_of(st.none(), st.permutations(range(n)).map(tuple)))
    return n, bad, order


@given(
    datasets(),
    st.tuples(st.integers(1, 50), st.integers(1, 50)),
    st.integers(1, 50),
    st.booleans(),
    st.booleans(),
    st.integers(1, 3),
    st.sampled_from(["reference", "clean", "cached"]),
)
@settings(max_examples=200, deadline=None)
def test_every_image_is_seen_as_often_as_it_should_be(
    data, extraction, size, drop_last, shuffle, epochs, variant
):
    n, bad, order = data
    readable = [i for i in (order or range(n)) if i not in bad]
    params = {"batch_size": size, "drop_last": drop_last, "shuffle": shuffle}
    sources = [NumberedPatches(n, batch, bad, order) for batch in extraction]
    if drop_last and len(readable) < size:
        for source in sources:
            with pytest.raises(DensebenchError, match=f"only {len(readable)} of the {n} "):
                _seen(source, epochs, variant, **params)
        return
    seen, other = (_seen(source, epochs, variant, **params) for source in sources)
    assert seen == other
    for batches in seen:
        images = [image for batch in batches for image in batch]
        assert len(set(images)) == len(images)
        assert set(images) <= set(readable)
        missing = len(readable) % size if drop_last else 0
        assert len(images) == len(readable) - missing
        assert all(len(batch) == size for batch in batches[:-1])
        if not shuffle and variant == "reference":
            assert images == readable[: len(images)]
    for source, batch in zip(sources, extraction, strict=True):
        assert source.largest_lead < size + batch


def test_shuffled_epochs_differ_and_unshuffled_ones_do_not():
    how = {"batch_size": 4, "drop_last": False}
    first, second = _seen(NumberedPatches(20, 6), 2, "reference", **how)
    assert first != second
    first, second = _seen(NumberedPatches(20, 6), 2, "reference", shuffle=False, **how)
    assert first == second
    first, second = _seen(NumberedPatches(20, 6), 2, "clean", shuffle=False, **how)
    assert first != second


def test_nothing_readable_is_said_so():
    source = NumberedPatches(6, 4, bad=range(6))
    with pytest.raises(DensebenchError, match="none of the 6 training images can be read"):
        _seen(source, 1, "reference", drop_last=False)


@given(datasets(), st.tuples(st.integers(1, 50), st.integers(1, 50)), st.integers(1, 50))
@settings(max_examples=100, deadline=None)
def test_validation_drops_the_images_that_the_published_loader_drops(data, extraction, size):
    n, bad, order = data
    readable = [i for i in (order or range(n)) if i not in bad]
    complete = len(readable) // size * size or len(readable)
    for batch in extraction:
        source = NumberedPatches(n, batch, bad, order)
        protocol = _linear(batch_size=size, drop_last_val=True)
        counted, left_out = [], []
        for prediction in protocol.predict(source):
            (left_out if prediction.left_out else counted).extend(prediction.indices.tolist())
        assert counted == readable[:complete]
        assert left_out == readable[complete:]
        sizes = protocol.scoring.resolutions
        assert sizes == (100, PATCH, "original")
        protocol._epochs.scores = [0.5]
        told = protocol.details()["scored_images"]
        assert told == {"100": complete, "7": len(readable), "original": len(readable)}

        projection = Projection(source, protocol._passes.val_view, size)
        for batches in (projection._for_main(), projection._own()):
            assert [i for b in batches for i in b.indices.tolist()] == readable[:complete]
