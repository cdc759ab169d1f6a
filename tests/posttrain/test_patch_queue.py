"""The queue of reference patches: what enters, what is drawn, what its counter counts."""

import pytest
import torch

from densebench.host.errors import DensebenchError
from densebench.posttrain.patch_queue import Draw, PatchQueue, random_draw


def seeded(seed: int) -> Draw:
    return random_draw(torch.Generator().manual_seed(seed))


def grids(seed: int = 0) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    return [torch.randn(2, 5, 5, 8, generator=random) for _ in range(2)]


def test_bad_settings() -> None:
    with pytest.raises(DensebenchError, match="no counter 'right'"):
        PatchQueue(2, 8, counter="right")  # type: ignore[arg-type]


def test_queue_takes_ten_random_patches_an_image_and_drops_the_oldest() -> None:
    queue = PatchQueue(global_crops=2, dim=1, capacity=50)
    random = seeded(0)
    for step in range(4):
        grid = torch.arange(2 * 5 * 5).view(2, 5, 5, 1) + 1000 * step + 1.0
        queue.enter([grid, -grid], random)
        assert queue.filled(0) == queue.filled(1) == min(20 * (step + 1), 50)
    held = queue.patches[0, :, 0]
    assert len(held.unique()) == 50
    assert [int(((held - 1) // 1000 == step).sum()) for step in range(4)] == [0, 10, 20, 20]
    assert (queue.patches[1] < 0).all()


def test_queue_draws_each_held_patch_before_any_twice() -> None:
    queue = PatchQueue(global_crops=1, dim=1, capacity=100)
    queue.enter([torch.arange(1.0, 31.0).view(1, 5, 6, 1)], seeded(0))
    held = set(queue.patches[0, :10, 0].tolist())
    assert set(queue.draw(0, 10, seeded(1))[:, 0].tolist()) == held
    counts = queue.draw(0, 25, seeded(2)).unique(return_counts=True)[1]
    assert sorted(counts.tolist()) == [2] * 5 + [3] * 5
    assert not torch.equal(queue.draw(0, 10, seeded(1)), queue.draw(0, 10, seeded(2)))


def test_queue_takes_the_foreground_only() -> None:
    queue = PatchQueue(global_crops=1, dim=1, capacity=100)
    mask = torch.zeros(1, 5, 6, dtype=torch.bool)
    mask[0, 2, 1:4] = True
    queue.enter([torch.arange(30.0).view(1, 5, 6, 1)], seeded(0), [mask])
    assert queue.filled(0) == 3
    assert sorted(queue.draw(0, 3)[:, 0].tolist()) == [13, 14, 15]


def test_published_counter_runs_ahead_into_rows_never_written() -> None:
    queues = [PatchQueue(2, 1, capacity=100, counter=kind) for kind in ("published", "exact")]
    for queue in queues:
        queue.enter([torch.ones(2, 5, 5, 1)] * 2, seeded(0))
    assert [queue.counted(0) for queue in queues] == [40, 20]
    drawn = [queue.draw(1, 60, seeded(1)) for queue in queues]
    assert 0 < (drawn[0] == 0).sum() < 60
    assert (drawn[1] == 1).all()
    for queue in queues:
        for _ in range(9):
            queue.enter([torch.ones(2, 5, 5, 1)] * 2, seeded(0))
    assert [queue.counted(1) for queue in queues] == [100, 100]
    assert torch.equal(*(queue.draw(0, 70, seeded(1)) for queue in queues))


def test_counts_stay_with_the_host() -> None:
    queue = PatchQueue(2, 8, capacity=40)
    moved = queue.to("meta")
    assert moved.patches.device.type == "meta"
    assert moved.entered.device.type == "cpu"
    assert [moved.counted(0), moved.filled(1)] == [0, 0]


def test_queue_survives_a_checkpoint() -> None:
    queue, copy = PatchQueue(2, 8, capacity=40), PatchQueue(2, 8, capacity=40)
    queue.enter(grids(), seeded(0))
    copy.load_state_dict(queue.state_dict())
    for held in (queue, copy):
        held.enter(grids(1), seeded(1))
    assert torch.equal(queue.draw(1, 40, seeded(2)), copy.draw(1, 40, seeded(2)))
    assert not list(queue.parameters())
