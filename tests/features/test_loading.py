import multiprocessing
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from densebench.cards import find_task
from densebench.datasets import Split, load_dataset
from densebench.datasets.transforms import FlippedCrop, JitteredCrop, Squash, Transform
from densebench.features import loading
from densebench.features.loading import (
    ALIGNMENT,
    FEW_IMAGES,
    Loaded,
    Loader,
    Reader,
    Unreadable,
    Views,
    default_workers,
    normalised,
)

pytestmark = pytest.mark.usefixtures("own_places")

N_IMAGES, SIZE = 12, 28
HOW = SIZE, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TRANSFORMS: tuple[Transform, ...] = (Squash(*HOW), JitteredCrop(*HOW), FlippedCrop(*HOW))
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory, write_dataset: Callable[..., Path]) -> Split:
    folder = write_dataset(tmp_path_factory.mktemp("loading") / "data", N_IMAGES, 1).parent
    found = find_task(folder / "retrieval.toml")
    return load_dataset(found.card.dataset, card_path=found.file).train


def broken(split: Split, *indices: int) -> Split:
    files = list(split.image_files)
    for index in indices:
        files[index] += ".gone"
    return replace(split, image_files=tuple(files))


def read(
    loader: Loader, split: Split, transform: Transform, order: Sequence[int] = range(N_IMAGES)
) -> list[Loaded]:
    return list(loader.batches(Views(split, transform, 3, 1), order, 5))


def one_by_one(split: Split, transform: Transform, order: Sequence[int]) -> list[Any]:
    return [Views(split, transform, 3, 1)[index] for index in order]


def children() -> set[int]:
    return {process.pid or 0 for process in multiprocessing.active_children()}


class TestBatches:
    @pytest.mark.parametrize("workers", [0, 2])
    @pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda t: type(t).__name__)
    def test_are_the_images_one_by_one_bit_for_bit(
        self, split: Split, transform: Transform, workers: int
    ) -> None:
        order = [7, 3, 11, 0, 1, 2, 4, 4]
        batches = read(Loader(split, workers), split, transform, order)
        assert [len(batch.indices) for batch in batches] == [5, 3]
        assert [i for batch in batches for i in batch.indices] == order
        found = torch.cat([normalised(batch, transform, CPU) for batch in batches])
        masks = torch.cat([batch.masks for batch in batches])
        for place, (_, pixels, mask) in enumerate(one_by_one(split, transform, order)):
            assert torch.equal(found[place], pixels)
            assert torch.equal(masks[place], mask)

    def test_are_of_eight_bits_where_only_the_normalisation_is_left(self, split: Split) -> None:
        types = [read(Loader(split), split, how)[0].pixels.dtype for how in TRANSFORMS]
        assert types == [torch.uint8, torch.float32, torch.uint8]

    @pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
    def test_are_one_piece_of_memory(self, split: Split, dtype: str) -> None:
        class Other(Squash):
            def raw(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
                pixels, mask = super().raw(*args, **kwargs)
                return pixels, torch.from_numpy(mask.numpy().astype(dtype))

        batch, *_ = read(Loader(split), split, Other(*HOW))
        shared = [part.untyped_storage().data_ptr() for part in (batch.pixels, batch.masks)]
        assert set(shared) == {batch.block.untyped_storage().data_ptr()}
        assert batch.masks.dtype == torch.from_numpy(np.empty(0, dtype)).dtype
        n_bytes = batch.pixels.nbytes + batch.masks.nbytes
        assert n_bytes <= len(batch.block) < n_bytes + 2 * ALIGNMENT

    @pytest.mark.parametrize("workers", [0, 2])
    def test_tell_what_cannot_be_read(self, split: Split, workers: int) -> None:
        damaged = broken(split, 1, 5, 6, 7, 8, 9)
        first, second, third = read(Loader(damaged, workers), damaged, TRANSFORMS[0])
        assert (first.indices, second.indices, third.indices) == ((0, 2, 3, 4), (), (10, 11))
        assert [image.name for image in second.unreadable] == list(split.names[5:10])
        assert all(isinstance(image, Unreadable) for image in first.unreadable)
        assert len(third.masks) == 2


class TestWorkers:
    def test_stay_for_the_passes_to_come(self, split: Split) -> None:
        before, loader, seen = children(), Loader(split, 2), []
        for transform in TRANSFORMS:
            found = read(loader, split, transform)
            seen.append(children() - before)
            assert torch.equal(found[0].masks, read(Loader(split), split, transform)[0].masks)
        assert len(seen[0]) == 2
        assert seen[0] == seen[1] == seen[2]

    def test_end_with_their_loader(self, split: Split) -> None:
        before, loader = children(), Loader(split, 2)
        read(loader, split, TRANSFORMS[0])
        assert children() != before
        del loader
        assert children() == before

    def test_a_pass_that_is_given_up_does_not_disturb_the_next(self, split: Split) -> None:
        loader = Loader(split, 2)
        begun = loader.batches(Views(split, TRANSFORMS[0], 3, 1), range(N_IMAGES), 1)
        assert next(begun).indices == (0,)
        begun.close()
        found = read(loader, split, TRANSFORMS[2], range(N_IMAGES)[::-1])
        assert [i for batch in found for i in batch.indices] == list(range(N_IMAGES))[::-1]
        (_, pixels, _) = one_by_one(split, TRANSFORMS[2], [N_IMAGES - 1])[0]
        assert torch.equal(normalised(found[0], TRANSFORMS[2], CPU)[0], pixels)

    def test_two_passes_at_once(self, split: Split) -> None:
        loader, views = Loader(split, 2), Views(split, TRANSFORMS[0], 3, 1)
        both = [loader.batches(views, range(N_IMAGES), 4) for _ in range(2)]
        for one, other in zip(*both, strict=True):
            assert torch.equal(one.block, other.block)

    def test_none_for_a_single_batch(self, split: Split) -> None:
        before = children()
        loader = Loader(split, 2)
        assert len(list(loader.batches(Views(split, TRANSFORMS[0], 0, 0), range(4), 4))) == 1
        assert children() == before

    def test_read_ahead(self, split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
        """While the first batch is looked at, another has been read."""
        done = torch.zeros(N_IMAGES).share_memory_()
        read_one = Reader.__getitem__

        def noted(reader: Reader, batch: Any) -> Loaded:
            loaded = read_one(reader, batch)
            done[list(batch.indices)] = 1
            return loaded

        monkeypatch.setattr(Reader, "__getitem__", noted)
        batches = Loader(split, 1).batches(Views(split, TRANSFORMS[0], 0, 0), range(N_IMAGES), 1)
        next(batches)
        for _ in range(500):
            if done.sum() > 1:
                break
            multiprocessing.Event().wait(0.01)
        assert done.sum() > 1
        batches.close()


class TestByDefault:
    def test_as_many_as_the_process_has_cores(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(loading, "cores", lambda: 12)
        assert default_workers(FEW_IMAGES) == 12

    def test_none_for_few_images(self) -> None:
        assert default_workers(FEW_IMAGES - 1) == 0
