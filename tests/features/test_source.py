import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from densebench.backbones import DenseBackbone
from densebench.cards import find_task
from densebench.datasets import Split, load_dataset
from densebench.datasets.transforms import JitteredCrop, Squash, Transform
from densebench.features.cache import FeatureCache
from densebench.features.source import FeatureSpec, PatchBatch, PatchSource
from densebench.host.errors import DensebenchError

pytestmark = pytest.mark.usefixtures("own_places")

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
VIEW = Squash(28, MEAN, STD)
N_IMAGES = 20


class Small(DenseBackbone):
    """A linear map of each 14x14 patch; counts images, and fails as it is told."""

    def __init__(self, seed: int = 0, dim: int = 5) -> None:
        super().__init__("small", 14, dim)
        self.project = nn.Conv2d(3, dim, 14, stride=14)
        generator = torch.Generator().manual_seed(seed)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator)
        self.seen = 0
        self.fits = 10**9
        self.stop_after = 10**9

    def patch_map(self, images: Tensor) -> Tensor:
        if len(images) > self.fits:
            raise torch.cuda.OutOfMemoryError("as told")
        if self.seen >= self.stop_after:
            raise KeyboardInterrupt
        self.seen += len(images)
        return self.project(images).permute(0, 2, 3, 1)


class Uncut(Squash):
    """A view whose masks are smaller than its images, as where images are padded."""

    mask_shape = (20, 30)

    def _view(self, image: Image.Image, mask: np.ndarray, seed: int) -> tuple[Tensor, Tensor]:
        pixels, labels = super()._view(image, mask, seed)
        return pixels, labels[:20, :30]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory, write_dataset: Callable[..., Path]) -> Path:
    return write_dataset(tmp_path_factory.mktemp("features") / "data", N_IMAGES, 1).parent


def split_of(folder: Path) -> Split:
    found = find_task(folder / "retrieval.toml")
    card, file = found.card, found.file
    return load_dataset(card.dataset, card_path=file).train


@pytest.fixture
def split(pictures: Path) -> Split:
    return split_of(pictures)


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(tmp_path / "kept", 10**9)


def source(split: Split, cache: FeatureCache | None = None, **changes: Any) -> PatchSource:
    options = {"backbone": Small(), "batch_size": 6, "cache": cache, **changes}
    return PatchSource(split, **options)


def joined(batches: Iterator[PatchBatch]) -> PatchBatch:
    found = list(batches)
    fields = ("indices", "patches", "masks")
    return PatchBatch(*(torch.cat([getattr(batch, f) for batch in found]) for f in fields))


def same(a: PatchBatch, b: PatchBatch) -> bool:
    return all(torch.equal(getattr(a, f), getattr(b, f)) for f in ("indices", "patches", "masks"))


def expected(split: Split, order: Sequence[int], view: Transform = VIEW) -> PatchBatch:
    """The definition: image by image, without loader, cache or batches."""
    model, views = Small(), [view(split.image(i), split.mask(i)) for i in order]
    with torch.no_grad():
        patches = torch.cat([model(pixels[None]) for pixels, _ in views])
    return PatchBatch(torch.tensor(order), patches, torch.stack([mask for _, mask in views]))


class TestExtraction:
    def test_equals_the_definition(self, split: Split) -> None:
        found, wanted = joined(source(split).batches(VIEW)), expected(split, range(N_IMAGES))
        assert torch.equal(found.indices, wanted.indices)
        assert torch.equal(found.masks, wanted.masks)
        torch.testing.assert_close(found.patches, wanted.patches, rtol=1e-5, atol=1e-5)
        assert found.patches.shape == (N_IMAGES, 2, 2, 5)
        assert found.patches.dtype == torch.float32
        assert found.masks.shape == (N_IMAGES, 28, 28)

    @pytest.mark.parametrize("kept", [True, False])
    def test_in_another_order(self, split: Split, cache: FeatureCache, kept: bool) -> None:
        order = [7, 3, 19, 0]
        found = joined(source(split, cache if kept else None).batches(VIEW, order=order))
        wanted = expected(split, order)
        assert found.indices.tolist() == order
        assert torch.equal(found.masks, wanted.masks)
        torch.testing.assert_close(found.patches, wanted.patches, rtol=1e-5, atol=1e-5)

    def test_workers_change_nothing(self, split: Split) -> None:
        crop = JitteredCrop(28, MEAN, STD)
        alone = joined(source(split).batches(crop, seed=3, epoch=1))
        assert same(alone, joined(source(split, workers=1).batches(crop, seed=3, epoch=1)))

    def test_random_views_follow_seed_and_epoch_not_order(self, split: Split) -> None:
        crop = JitteredCrop(28, MEAN, STD)
        first = joined(source(split).batches(crop, seed=3, epoch=1))
        backwards = joined(source(split).batches(crop, 3, 1, order=range(N_IMAGES)[::-1]))
        assert torch.equal(first.masks, backwards.masks.flip(0))
        for seed, epoch in ((3, 2), (4, 1)):
            other = joined(source(split).batches(crop, seed, epoch))
            assert not torch.equal(first.masks, other.masks)

    def test_progress_counts_images(self, split: Split, cache: FeatureCache, ear: Any) -> None:
        for _ in range(2):
            ear.counted.clear()
            joined(source(split, cache, watcher=ear, phase="fit").batches(VIEW))
            assert {phase for phase, _ in ear.counted} == {"fit"}
            assert sum(images for _, images in ear.counted) == N_IMAGES

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
    def test_a_gpu_is_asked_one_batch_late_and_in_the_end(self, split: Split) -> None:
        model = Small().to("cuda")
        model.project.weight.data.fill_(torch.nan)
        for n_images, given in ((N_IMAGES, 1), (3, 1)):
            batches = source(split, backbone=model, device=torch.device("cuda"))
            seen = []
            with pytest.raises(DensebenchError, match="not finite"):
                for batch in batches.batches(VIEW, order=range(n_images)):
                    seen.append(batch)
            assert len(seen) == given

    def test_masks_that_are_kept_keep_no_images(self, split: Split) -> None:
        for batch in source(split).batches(VIEW):
            assert batch.masks.untyped_storage().nbytes() == batch.masks.nbytes

    def test_short_memory_halves_the_batch_for_good(self, split: Split) -> None:
        model = Small()
        model.fits = 2
        halving = source(split, backbone=model, batch_size=8)
        found = joined(halving.batches(VIEW))
        assert halving.batch_size == 2
        assert model.seen == N_IMAGES
        torch.testing.assert_close(
            found.patches, expected(split, range(N_IMAGES)).patches, rtol=1e-5, atol=1e-5
        )

    def test_an_image_that_never_fits_is_given_up(self, split: Split) -> None:
        model = Small()
        model.fits = 0
        with pytest.raises(torch.cuda.OutOfMemoryError):
            joined(source(split, backbone=model).batches(VIEW))

    def test_lower_precision_gives_float32_that_is_near(self, split: Split) -> None:
        full = joined(source(split).batches(VIEW)).patches
        low = joined(source(split, precision="bf16").batches(VIEW)).patches
        assert low.dtype == torch.float32
        assert not torch.equal(full, low)
        torch.testing.assert_close(full, low, rtol=0.05, atol=0.5)

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_features_that_are_not_finite_are_refused(
        self, split: Split, cache: FeatureCache, value: float
    ) -> None:
        model = Small()
        model.project.bias.data[2] = value
        for kept in (cache, None):
            with pytest.raises(DensebenchError, match="not finite"):
                joined(source(split, kept, backbone=model).batches(VIEW))


class TestCaching:
    def test_the_second_time_nothing_is_extracted_and_all_is_equal(
        self, split: Split, cache: FeatureCache
    ) -> None:
        first, second = Small(), Small()
        plain = joined(source(split).batches(VIEW))
        assert same(plain, joined(source(split, cache, backbone=first).batches(VIEW)))
        assert same(plain, joined(source(split, cache, backbone=second).batches(VIEW)))
        assert (first.seen, second.seen) == (N_IMAGES, 0)

    def test_a_rectangular_view_whose_mask_has_a_size_of_its_own(
        self, split: Split, cache: FeatureCache
    ) -> None:
        view = Uncut((28, 56), MEAN, STD)
        plain = joined(source(split).batches(view))
        assert plain.patches.shape == (N_IMAGES, 2, 4, 5)
        assert plain.masks.shape == (N_IMAGES, 20, 30)
        for _ in range(2):
            kept = joined(source(split, cache).batches(view))
            assert torch.equal(kept.patches, plain.patches)
            assert torch.equal(kept.masks, plain.masks)

    def test_half_precision_is_the_same_when_filled_and_when_read(
        self, split: Split, tmp_path: Path
    ) -> None:
        half = FeatureCache(tmp_path / "kept", 10**9, "float16")
        rounded = joined(source(split).batches(VIEW)).patches.half().float()
        for _ in range(2):
            assert torch.equal(joined(source(split, half).batches(VIEW)).patches, rounded)

    def test_half_precision_refuses_features_that_it_cannot_hold(
        self, split: Split, tmp_path: Path
    ) -> None:
        model = Small()
        model.project.bias.data[0] = 1e5
        half = FeatureCache(tmp_path / "kept", 10**9, "float16")
        with pytest.raises(DensebenchError, match="fp16"):
            joined(source(split, half, backbone=model).batches(VIEW))

    def test_not_kept_when_not_worth_it(self, split: Split, cache: FeatureCache) -> None:
        joined(source(split, cache).batches(VIEW, keep=False))
        assert cache.entries() == []

    def test_without_room_it_works_without(self, split: Split, tmp_path: Path, ear: Any) -> None:
        tiny = FeatureCache(tmp_path / "kept", 10, watcher=ear)
        plain = joined(source(split).batches(VIEW))
        assert same(plain, joined(source(split, tiny).batches(VIEW)))
        assert "are not kept" in ear.lines[0]

    def test_whole_entries_are_not_written_again(self, split: Split, cache: FeatureCache) -> None:
        joined(source(split, cache).batches(VIEW))
        (before,) = cache.entries()
        inode = (before.folder / "meta.json").stat().st_ino
        joined(source(split, cache).batches(VIEW))
        joined(source(split, cache).batches(VIEW, order=[1]))
        assert (before.folder / "meta.json").stat().st_ino == inode

    def test_stopped_in_the_middle_it_goes_on(self, split: Split, cache: FeatureCache) -> None:
        stopped, rest = Small(), Small()
        stopped.stop_after = 18
        with pytest.raises(KeyboardInterrupt):
            joined(source(split, cache, backbone=stopped).batches(VIEW))
        found = joined(source(split, cache, backbone=rest).batches(VIEW))
        assert rest.seen == N_IMAGES - 16
        assert same(found, joined(source(split).batches(VIEW)))

    def test_left_in_the_middle_it_goes_on(self, split: Split, cache: FeatureCache) -> None:
        batches = source(split, cache).batches(VIEW)
        next(batches)
        batches.close()
        plain = joined(source(split).batches(VIEW))
        assert same(plain, joined(source(split, cache).batches(VIEW)))

    def test_damage_is_mended(self, split: Split, tmp_path: Path, ear: Any) -> None:
        plain = joined(source(split).batches(VIEW))
        joined(source(split, FeatureCache(tmp_path / "kept", 10**9)).batches(VIEW))
        (file,) = (tmp_path / "kept").glob("*/patches.npy")
        file.write_bytes(file.read_bytes()[:-100])
        later = FeatureCache(tmp_path / "kept", 10**9, watcher=ear)
        assert same(plain, joined(source(split, later).batches(VIEW)))
        assert "damaged" in ear.lines[0]


class TestKey:
    """What makes another entry of the cache, and what does not."""

    def n_entries(self, cache: FeatureCache, split: Split, **changes: Any) -> int:
        view = changes.pop("view", VIEW)
        draw = changes.pop("draw", (0, 0))
        joined(source(split, cache, **changes).batches(view, *draw))
        return len(cache.entries())

    @pytest.mark.parametrize(
        "changes",
        [
            {"backbone": Small(seed=1)},
            {"view": replace(VIEW, size=42)},
            {"view": replace(VIEW, std=(0.25, 0.25, 0.255))},
            {"view": replace(VIEW, centred_mask=True)},
            {"precision": "bf16"},
        ],
    )
    def test_what_changes_features_or_masks(
        self, split: Split, cache: FeatureCache, changes: dict[str, Any]
    ) -> None:
        assert self.n_entries(cache, split) == 1
        assert self.n_entries(cache, split, **changes) == 2

    def test_other_images(self, split: Split, cache: FeatureCache) -> None:
        assert self.n_entries(cache, split) == 1
        assert self.n_entries(cache, split.subset(split.names[:-1])) == 2

    def test_other_content(self, pictures: Path, cache: FeatureCache, tmp_path: Path) -> None:
        copied = tmp_path / "copied"
        shutil.copytree(pictures, copied)
        assert self.n_entries(cache, split_of(pictures)) == 1
        assert self.n_entries(cache, split_of(copied)) == 1  # another place is not another content
        mask = copied / "masks" / "picture03.png"
        shutil.copyfile(copied / "masks" / "picture04.png", mask)
        assert self.n_entries(cache, split_of(copied)) == 2

    def test_draws_of_random_views_alone(self, split: Split, cache: FeatureCache) -> None:
        assert self.n_entries(cache, split, draw=(0, 0)) == 1
        assert self.n_entries(cache, split, draw=(1, 5)) == 1
        crop = JitteredCrop(28, MEAN, STD)
        assert self.n_entries(cache, split, view=crop, draw=(0, 0)) == 2
        assert self.n_entries(cache, split, view=crop, draw=(0, 1)) == 3
        assert self.n_entries(cache, split, view=crop, draw=(1, 0)) == 4

    @pytest.mark.parametrize("changes", [{"batch_size": 3}, {"workers": 1}, {"skip_bad": True}])
    def test_how_it_runs_does_not_matter(
        self, split: Split, cache: FeatureCache, changes: dict[str, Any]
    ) -> None:
        assert self.n_entries(cache, split) == 1
        assert self.n_entries(cache, split, **changes) == 1


@pytest.fixture
def broken(pictures: Path, tmp_path: Path) -> Split:
    """Pictures 2 and 17 cannot be read; the mask of picture 5 holds what is no class."""
    folder = tmp_path / "broken"
    shutil.copytree(pictures, folder)
    (folder / "images" / "picture02.png").write_bytes(b"no picture")
    whole = (folder / "images" / "picture17.png").read_bytes()
    (folder / "images" / "picture17.png").write_bytes(whole[: len(whole) // 2])
    mask = np.full((42, 56), 9, dtype=np.uint8)
    Image.fromarray(mask).save(folder / "masks" / "picture05.png")
    return split_of(folder)


class TestUnreadable:
    GOOD = tuple(index for index in range(N_IMAGES) if index not in (2, 5, 17))

    def test_the_first_one_ends_the_run(self, broken: Split, cache: FeatureCache) -> None:
        for kept in (cache, None):
            with pytest.raises(DensebenchError, match=r"picture02\.png.*--skip-bad"):
                joined(source(broken, kept).batches(VIEW))

    @pytest.mark.parametrize("batch_size", [1, 3, 20])
    def test_skipped_and_told_from_extraction_and_cache_alike(
        self, broken: Split, cache: FeatureCache, batch_size: int
    ) -> None:
        wanted = expected(broken, self.GOOD)
        for kept in (None, cache, cache):
            one = source(broken, kept, skip_bad=True, batch_size=batch_size)
            found = joined(one.batches(VIEW))
            assert found.indices.tolist() == list(self.GOOD)
            assert torch.equal(found.masks, wanted.masks)
            torch.testing.assert_close(found.patches, wanted.patches, rtol=1e-5, atol=1e-5)
            assert sorted(one.unreadable) == ["picture02", "picture05", "picture17"]
            assert "ids that are no class: 9" in one.unreadable["picture05"]

    def test_in_another_order(self, broken: Split, cache: FeatureCache) -> None:
        one = source(broken, cache, skip_bad=True)
        assert joined(one.batches(VIEW, order=[17, 4, 2, 3])).indices.tolist() == [4, 3]

    def test_a_cache_that_skipped_still_ends_a_run_that_must_not(
        self, broken: Split, cache: FeatureCache
    ) -> None:
        joined(source(broken, cache, skip_bad=True).batches(VIEW))
        for order in (None, [3, 4]):
            with pytest.raises(DensebenchError, match="--skip-bad"):
                joined(source(broken, cache).batches(VIEW, order=order))


def test_attention_has_a_place_of_its_own_in_the_cache() -> None:
    """What is not attention has the key that it had before there was any."""
    spec = FeatureSpec("weights", "timm")
    assert spec.key() == {"backbone": "weights", "positions": "timm"}
    of_attention = replace(spec, output="attention")
    assert of_attention.key() == {**spec.key(), "output": "attention"}
