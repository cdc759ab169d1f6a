"""A bank that several fill is the one that one fills."""

from collections.abc import Callable

import pytest
import torch

from densebench.host.distributed import World
from densebench.learners import gathering
from densebench.learners.gathering import Gathering
from densebench.learners.memory_bank import MemoryBank, Origins


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("fp16", [False, True])
def test_rows_and_origins(
    n: int, fp16: bool, in_threads: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "IMAGES", 2)

    def work(world: World) -> tuple:
        bank, origins = MemoryBank(40, 5, 3, 1000, fp16), Origins()
        gathered = Gathering(world, bank, origins)
        for epoch in range(2):
            for index in range(world.rank, 7, world.size):
                generator = torch.Generator().manual_seed(10 * epoch + index)
                length = (index + epoch) % 4  # none of some images
                counts = torch.randint(1, 1000, (length, 3), generator=generator)
                rows = torch.randn(length, 5, generator=generator)
                gathered.add(epoch, index, torch.arange(length), rows, counts)
            gathered.end(epoch)
        every = torch.arange(len(bank.features))
        return bank.features.clone(), bank.soft_labels(every), torch.stack(origins.find(every))

    (wanted,) = in_threads(1, work)
    assert len(wanted[0]) == 21
    for found in in_threads(n, work):
        assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, wanted, strict=True))
