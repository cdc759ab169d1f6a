"""Several processes with one cache: they write it together, and all see what one alone sees."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from densebench.features import blocks, entries
from densebench.features.cache import FeatureCache
from densebench.features.source import PatchSource
from densebench.host.distributed import World

from .test_source import N_IMAGES, VIEW, Small, joined, same, source, split_of


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory, write_dataset: Callable[..., Path]) -> Path:
    return write_dataset(tmp_path_factory.mktemp("together") / "data", N_IMAGES, 1).parent


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("n", [2, 3])
def test_every_process_sees_all_or_its_own(
    n: int, kept: bool, pictures: Path, tmp_path: Path, in_threads: Callable
) -> None:
    split, order = split_of(pictures), [*range(N_IMAGES)][::-1]
    wanted = joined(source(split, batch_size=3).batches(VIEW, order=order))

    def work(world: World) -> tuple:
        cache = FeatureCache(tmp_path, 10**9) if kept else None
        ours = source(split, cache, batch_size=3, world=world)
        return (
            joined(ours.batches(VIEW, order=order)),
            joined(ours.batches(VIEW, order=order, reach="own")),
            ours.backbone.seen,
        )

    if kept:  # before, since to fill it is to hand batches to the first process alone
        joined(source(split, FeatureCache(tmp_path, 10**9), batch_size=3).batches(VIEW))
    found = in_threads(n, work)
    assert all(same(every, wanted) for every, *_ in found)
    own = torch.cat([part.indices for _, part, _ in found]).sort().values
    assert own.tolist() == [*range(N_IMAGES)]
    assert sum(seen for *_, seen in found) == (0 if kept else 2 * N_IMAGES)


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("reach", ["all", "own"])
def test_a_cache_that_all_fill(
    n: int,
    reach: str,
    pictures: Path,
    tmp_path: Path,
    in_threads: Callable,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (entries, blocks):
        monkeypatch.setattr(module, "BLOCK_IMAGES", 4)
    split = split_of(pictures)
    wanted = joined(source(split, FeatureCache(tmp_path / "a", 10**9)).batches(VIEW))

    def work(world: World) -> tuple:
        cache = FeatureCache(tmp_path / "b", 10**9)
        ours = source(split, cache, batch_size=4, world=world, backbone=Small())
        return joined(ours.batches(VIEW, reach=reach)), ours.backbone.seen

    found = in_threads(n, work)
    assert sum(seen for _, seen in found) == N_IMAGES
    assert all(seen >= 4 for _, seen in found)
    if reach == "all":
        assert all(same(part, wanted) for part, _ in found)
    (alone,), (together,) = ([*(tmp_path / x).glob("*/patches.npy")] for x in "ab")
    assert alone.read_bytes() == together.read_bytes()


def test_one_goes_on_with_what_several_left(
    pictures: Path, tmp_path: Path, in_threads: Callable
) -> None:
    """The first block is missing, the second is there."""
    split = split_of(pictures)
    plain = joined(source(split).batches(VIEW))

    def work(world: World) -> None:
        model = Small()
        model.stop_after = 0 if world.is_main else N_IMAGES
        cache = FeatureCache(tmp_path, 10**9)
        ours = source(split, cache, batch_size=4, world=world, backbone=model)
        with pytest.raises((KeyboardInterrupt, threading.BrokenBarrierError)):
            try:
                joined(ours.batches(VIEW))
            finally:
                if world.is_main:
                    time.sleep(0.5)
                    world._met.abort()  # type: ignore[attr-defined]

    in_threads(2, work)
    model = Small()
    found = joined(source(split, FeatureCache(tmp_path, 10**9), backbone=model).batches(VIEW))
    assert model.seen == 16
    assert same(found, plain)
    assert torch.equal(found.indices, plain.indices)


def test_a_cache_that_not_all_see_is_not_used(
    pictures: Path, tmp_path: Path, in_threads: Callable, ear: object
) -> None:
    split = split_of(pictures)
    wanted = joined(source(split).batches(VIEW))
    joined(source(split, FeatureCache(tmp_path / "0", 10**9)).batches(VIEW))

    def work(world: World) -> object:
        cache = FeatureCache(tmp_path / str(world.rank), 10**9)
        ours: PatchSource = source(split, cache, world=world, backbone=Small())
        if world.is_main:
            ours.watcher = ear
        return joined(ours.batches(VIEW))

    assert all(same(found, wanted) for found in in_threads(2, work))
    assert any("DENSEBENCH_CACHE" in line for line in ear.lines)
