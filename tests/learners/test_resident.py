"""A pass that is kept is read once; one that does not fit, as often as it is asked for."""

import pytest
import torch

from densebench.features.source import PatchBatch
from densebench.host.distributed import World
from densebench.learners.resident import Resident

CPU = torch.device("cpu")


class Reader:
    def __init__(self):
        self.times = 0

    def __call__(self):
        self.times += 1
        for start in (0, 2, 4):
            indices = torch.arange(start, start + 2)
            patches = indices[:, None, None, None].expand(-1, 2, 2, 5).float()
            yield PatchBatch(indices, patches, torch.zeros(2, 4, 4)), start == 4


def resident(monkeypatch, room, world=None):
    monkeypatch.setattr(Resident, "_room", lambda _: room)
    return Resident(CPU, world or World())


def seen(batches):
    return [(batch.indices.tolist(), batch.patches.sum().item(), told) for batch, told in batches]


@pytest.mark.parametrize(("room", "times"), [(3 * 160, 1), (3 * 160 - 1, 3), (0, 3)])
def test_what_fits_is_read_once(monkeypatch, room, times):
    kept, read = resident(monkeypatch, room), Reader()
    passes = [seen(kept.batches(read)) for _ in range(3)]
    assert read.times == times
    assert passes[0] == passes[1] == passes[2]
    assert [told for *_, told in passes[0]] == [False, False, True]


def test_it_is_kept_in_all_processes_or_in_none(monkeypatch):
    monkeypatch.setattr(World, "each", lambda _, here: [here, False])
    kept, read = resident(monkeypatch, 10_000, World(0, 2)), Reader()
    for _ in range(2):
        seen(kept.batches(read))
    assert read.times == 2


def test_a_processor_keeps_nothing():
    kept, read = Resident(CPU, World()), Reader()
    for _ in range(2):
        seen(kept.batches(read))
    assert read.times == 2
    assert kept._kept == []
