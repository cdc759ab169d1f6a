"""Images of a training: found, ordered, loaded; and those that cannot be read."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from densebench.backbones.base import IMAGENET_MEAN, IMAGENET_STD
from densebench.host.errors import DensebenchError
from densebench.posttrain.photographs import (
    Photographs,
    Portion,
    Schedule,
    ViewDataset,
    find_photographs,
    portions,
    step_seed,
    too_many_unreadable,
)
from densebench.posttrain.views import MultiCrop, Views, ViewSettings

Write = Callable[..., Path]
VIEWS = MultiCrop(
    ViewSettings(global_size=28, local_size=14, local_crops=1), IMAGENET_MEAN, IMAGENET_STD
)


class TestFinding:
    def test_recursive_sorted_without_hidden_ones(
        self, tmp_path: Path, write_photographs: Write
    ) -> None:
        write_photographs(tmp_path / "b", 1, first=3)
        write_photographs(tmp_path / "a/deep", 2)
        write_photographs(tmp_path / ".thumbnails", 1)
        (tmp_path / "a/deep/photo001.png").rename(tmp_path / "a/deep/photo001.JPG")
        (tmp_path / "a/._photo000.png").write_bytes(b"of another system")
        (tmp_path / "a/notes.txt").write_text("no image")
        found = find_photographs([tmp_path])
        assert [str(file.relative_to(tmp_path)) for file in found.files] == [
            "a/deep/photo000.png",
            "a/deep/photo001.JPG",
            "b/photo003.png",
        ]

    def test_sources_in_their_order_each_file_once(
        self, tmp_path: Path, write_photographs: Write
    ) -> None:
        first, second = (write_photographs(tmp_path / name, 2) for name in ("z", "a"))
        (first / "again.png").symlink_to(second / "photo000.png")
        detour = second / ".." / "a"
        found = find_photographs([second, first, detour, first])
        assert [file.parent.name for file in found.files] == ["a", "a", "z", "z"]
        assert found.sources == tuple(map(str, (second, first, detour, first)))

    def test_a_link_back_ends(self, tmp_path: Path, write_photographs: Write) -> None:
        folder = write_photographs(tmp_path / "in/side", 2)
        (folder / "up").symlink_to(tmp_path / "in")
        (folder / "up2").symlink_to(tmp_path / "in")
        assert len(find_photographs([tmp_path / "in"])) == 2

    def test_a_list_is_relative_to_its_own_folder(
        self, tmp_path: Path, write_photographs: Write, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = write_photographs(tmp_path / "pictures", 3)
        file = tmp_path / "list.txt"
        file.write_text(f"pictures/photo002.png\n\n{folder / 'photo000.png'}\r\n")
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        found = find_photographs([Path("../list.txt")])
        assert [file.name for file in found.files] == ["photo002.png", "photo000.png"]
        assert all(file.is_file() for file in found.files)

    def test_bad_sources(self, tmp_path: Path, write_photographs: Write) -> None:
        folder = write_photographs(tmp_path / "pictures", 1)
        missing, empty = tmp_path / "missing.txt", tmp_path / "empty"
        missing.write_text("pictures/photo000.png\nno.png\nneither.png\n")
        empty.mkdir()
        for source, told in (
            (tmp_path / "nothing", f"{tmp_path / 'nothing'}: no such folder or list of images"),
            (empty, f"no images in {empty}; looked for .jpg"),
            (folder / "photo000.png", "photo000.png: no text; give a folder, or a list"),
            (missing, f"{missing}: 2 files are missing, first {tmp_path / 'no.png'}"),
        ):
            with pytest.raises(DensebenchError) as caught:
                find_photographs([source])
            assert told in str(caught.value)

    def test_the_fingerprint_is_of_names_and_sizes_in_order(
        self, tmp_path: Path, write_photographs: Write
    ) -> None:
        one = find_photographs([write_photographs(tmp_path / "one", 3)])
        two = find_photographs([write_photographs(tmp_path / "two", 3)])
        assert one.fingerprint == two.fingerprint
        assert one.fingerprint != Photographs(one.files[::-1], one.sources).fingerprint
        (tmp_path / "two/photo001.png").write_bytes(b"other")
        assert one.fingerprint != find_photographs([tmp_path / "two"]).fingerprint


class TestSchedule:
    @given(
        batch=st.integers(1, 7),
        more=st.integers(0, 20),
        seed=st.integers(0, 2**32),
        epoch=st.integers(0, 3),
    )
    def test_an_epoch_shows_every_image_at_most_once(
        self, batch: int, more: int, seed: int, epoch: int
    ) -> None:
        schedule = Schedule(images=batch + more, batch_size=batch, seed=seed, length=100)
        steps = range(epoch * schedule.per_epoch, (epoch + 1) * schedule.per_epoch)
        shown = [index for step in steps for index in schedule.indices(step)]
        assert len(shown) == len(set(shown)) == schedule.per_epoch * batch
        assert set(shown) <= set(range(batch + more))
        assert {schedule.epoch(step) for step in steps} == {epoch}

    def test_the_order_is_another_in_every_epoch_and_of_every_seed(self) -> None:
        orders = [
            Schedule(50, 50, seed, 9).indices(epoch) for seed in (0, 1) for epoch in (0, 1, 2)
        ]
        assert len({tuple(order) for order in orders}) == 6
        assert all(sorted(order) == list(range(50)) for order in orders)

    def test_seeds_differ_by_step_and_purpose(self) -> None:
        seeds = {step_seed(s, step, p) for s in (0, 1) for step in range(20) for p in range(6)}
        assert len(seeds) == 240


def loaded(
    photographs: Photographs,
    first: int = 0,
    part: tuple[int, int] = (0, 1),
    accumulation: int = 1,
    workers: int = 0,
) -> list[list[Portion]]:
    schedule = Schedule(len(photographs), 4, seed=3, length=5)
    dataset = ViewDataset(photographs, VIEWS, seed=3)
    return list(portions(dataset, schedule, first, part, accumulation, workers))


def assert_same(one: list[list[Portion]], other: list[list[Portion]]) -> None:
    assert len(one) == len(other)
    for ours, theirs in zip(one, other, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert torch.equal(a.indices, b.indices)
            assert all(torch.equal(x, y) for x, y in zip(a.images, b.images, strict=True))
            assert all(torch.equal(x, y) for x, y in zip(a.boxes, b.boxes, strict=True))


class TestPortions:
    def test_shapes(self, photographs: Photographs) -> None:
        steps = loaded(photographs)
        assert len(steps) == 5
        (portion,) = steps[0]
        assert [tuple(view.shape) for view in portion.images] == [
            (4, 3, 28, 28),
            (4, 3, 28, 28),
            (4, 3, 14, 14),
        ]
        assert portion.boxes.in_global.shape == (4, 2, 3, 4)
        assert portion.boxes.in_view.shape == (4, 3, 2, 4)
        assert portion.skipped == []

    def test_workers_change_nothing(self, photographs: Photographs) -> None:
        assert_same(loaded(photographs), loaded(photographs, workers=2))

    def test_what_torch_is_to_do_comes_view_by_view(self, photographs: Photographs) -> None:
        knobs = ViewSettings(global_size=28, local_size=14, local_crops=1, engine="torch")
        views = MultiCrop(knobs, IMAGENET_MEAN, IMAGENET_STD)
        dataset, schedule = ViewDataset(photographs, views, seed=3), Schedule(10, 4, 3, 2)
        alone, shared = (
            [*portions(dataset, schedule, 0, (0, 1), 1, workers)] for workers in (0, 2)
        )
        assert_same(alone, shared)
        for (portion,), (again,) in zip(alone, shared, strict=True):
            assert [len(of_view) for of_view in portion.distortions] == [4, 4, 4]
            assert portion.distortions == again.distortions
            assert {image.dtype for image in portion.images} == {torch.uint8}
            for place, index in enumerate(portion.indices.tolist()):
                own = dataset[schedule.epoch(0), index].views
                assert own is not None
                assert [d[place] for d in portion.distortions] == own.distortions
                assert torch.equal(portion.images[2][place], own.images[2])

    def test_a_step_does_not_depend_on_where_the_run_began(self, photographs: Photographs) -> None:
        assert_same(loaded(photographs)[3:], loaded(photographs, first=3))

    def test_processes_and_portions_share_out_a_step(self, photographs: Photographs) -> None:
        whole = loaded(photographs)
        parts = [loaded(photographs, part=(rank, 2), accumulation=2) for rank in (0, 1)]
        for step, (portion,) in enumerate(whole):
            pieces = [piece for part in parts for piece in part[step]]
            assert [len(piece.indices) for piece in pieces] == [1] * 4
            assert torch.equal(portion.indices, torch.cat([p.indices for p in pieces]))
            for view, images in enumerate(portion.images):
                assert torch.equal(images, torch.cat([p.images[view] for p in pieces]))

    def test_views_are_others_in_another_epoch(self, photographs: Photographs) -> None:
        dataset = ViewDataset(photographs, VIEWS, seed=3)
        first, again, later = dataset[0, 2], dataset[0, 2], dataset[1, 2]
        assert torch.equal(first.views.images[0], again.views.images[0])
        assert not torch.equal(first.views.images[0], later.views.images[0])


class TestUnreadable:
    def test_gives_its_place_to_the_next_and_is_told(
        self, tmp_path: Path, write_photographs: Write
    ) -> None:
        found = find_photographs([write_photographs(tmp_path / "pictures", 200)])
        found.files[7].write_bytes(b"broken")
        found.files[8].write_bytes(found.files[8].read_bytes()[:60])
        sample = ViewDataset(found, VIEWS, 0)[0, 7]
        assert sample.index == 9
        assert [bad.file for bad in sample.skipped] == [str(file) for file in found.files[7:9]]
        assert all("not a readable image" in bad.reason for bad in sample.skipped)
        alone = ViewDataset(found, VIEWS, 0)[0, 9]
        assert torch.equal(sample.views.images[0], alone.views.images[0])

    def test_the_last_ones_place_goes_to_the_first(
        self, tmp_path: Path, write_photographs: Write
    ) -> None:
        found = find_photographs([write_photographs(tmp_path / "pictures", 100)])
        found.files[99].write_bytes(b"broken")
        assert ViewDataset(found, VIEWS, 0)[0, 99].index == 0

    def test_the_search_ends_when_there_are_too_many(
        self, tmp_path: Path, write_photographs: Write
    ) -> None:
        found = find_photographs([write_photographs(tmp_path / "pictures", 150)])
        for file in found.files[:40]:
            file.write_bytes(b"broken")
        sample = ViewDataset(found, VIEWS, 0)[0, 0]
        assert sample.views is None
        assert len(sample.skipped) == 2
        assert too_many_unreadable(2, 150)
        assert not too_many_unreadable(1, 150)
        portion = next(step for step in loaded(found) if not step[0].images)[0]
        assert len(portion.skipped) >= 2

    def test_an_image_without_such_crops_counts_too(
        self, tmp_path: Path, write_photographs: Write
    ) -> None:
        def refuse_narrow(image: Image.Image, generator: torch.Generator) -> Views:
            if image.size[0] < 10:
                raise DensebenchError("no crop of scale (0.25, 1.0) overlaps")
            return VIEWS(image, generator)

        found = find_photographs([write_photographs(tmp_path / "pictures", 100)])
        Image.new("RGB", (5, 40)).save(found.files[5])
        sample = ViewDataset(found, refuse_narrow, 0)[0, 5]
        assert sample.index == 6
        assert sample.skipped == [
            (str(found.files[5]), "no crop of scale (0.25, 1.0) overlaps"),
        ]
