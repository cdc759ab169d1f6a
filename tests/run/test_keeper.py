"""Panels: what a run keeps is what it computed, traced back to the very patches."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from densebench.backbones import load_backbone
from densebench.cards import find_task
from densebench.datasets import load_dataset
from densebench.datasets.transforms import JitteredCrop, Squash
from densebench.features.loading import Views
from densebench.host.errors import DensebenchError
from densebench.host.watcher import Watcher
from densebench.records.panels import INDEX, Panel, contact_sheet, load_panels, panel_folder
from densebench.records.schema import RunRecord
from densebench.records.store import load_records
from densebench.run import keeper
from densebench.run.execute import Run, evaluate
from densebench.run.keeper import QUERIES, SHOWN, principal_colours, query_places, tiled
from densebench.run.options import RunOptions

AUGMENTED = {"augment": True, "augmentation_epochs": 2, "memory_size": 20, "n_neighbours": 4}


def options(task: Path, results: Path, **changes: Any) -> RunOptions:
    return RunOptions(
        "hog_s14", str(task), results=results, device="cpu", cache="off", panels=2, **changes
    )


def kept(path: Path) -> tuple[Path, list[Panel]]:
    folder = panel_folder(path)
    index = load_panels(folder)
    assert index is not None
    return folder, index.panels


class TestPictures:
    def test_each_image_has_its_own_of_bounded_size(
        self, kept_runs: dict[str, tuple[RunRecord, Path]]
    ) -> None:
        folder, panels = kept(kept_runs["hog_s14"][1])
        assert [panel.name for panel in panels] == ["picture06", "picture08"]
        for panel in panels:
            assert panel.size == (56, 42)
            sizes = {"image": (28, 28), "truth": (28, 28), "prediction": (28, 28), "pca": (2, 2)}
            for kind, size in sizes.items():
                with Image.open(folder / getattr(panel, kind)) as picture:
                    assert picture.size == size
        named = {getattr(p, kind) for p in panels for kind in sizes}
        sprites = {panel.memory.sprite for panel in panels if panel.memory}
        assert {file.name for file in folder.iterdir()} == named | sprites | {INDEX}
        assert sum(file.stat().st_size for file in folder.iterdir()) < 2 * 200_000

    def test_the_prediction_is_the_one_that_was_scored(
        self, kept_runs: dict[str, tuple[RunRecord, Path]], colour_task: Path, tmp_path: Path
    ) -> None:
        run = replace(options(colour_task, tmp_path), panels=9)
        record, path = evaluate(run)
        folder, panels = kept(path)
        assert len(panels) == record.dataset.n_val
        confusion = np.zeros((3, 3), dtype=np.int64)
        for panel in panels:
            with (
                Image.open(folder / panel.truth) as truth,
                Image.open(folder / panel.prediction) as prediction,
            ):
                labels = np.asarray(truth), np.asarray(prediction)
            scored = labels[0] != record.dataset.ignore_index
            np.add.at(confusion, (labels[0][scored], labels[1][scored]), 1)
        assert confusion.tolist() == record.score.confusion[0]

    def test_numbers_are_the_same_without_and_nothing_is_kept(
        self, kept_runs: dict[str, tuple[RunRecord, Path]], colour_task: Path, tmp_path: Path
    ) -> None:
        plain = Run(replace(options(colour_task, tmp_path), panels=0), Watcher())
        record, path = plain.record()
        assert record.scores == kept_runs["hog_s14"][0].scores
        assert record.protocol == kept_runs["hog_s14"][0].protocol
        assert not panel_folder(path).exists()
        assert not plain.protocol._origins._patches  # type: ignore[attr-defined]

    @pytest.mark.parametrize("card", ["linear.toml", "overclustering"])
    def test_protocols_without_a_memory_have_the_rest(
        self, card: str, colour_task: Path, tmp_path: Path
    ) -> None:
        task = colour_task.with_name(card)
        if card == "overclustering":
            task = tmp_path / "clusters.toml"
            text = colour_task.read_text().replace('"in_context"', '"overclustering"')
            text = text.replace('root = "."', f'root = "{colour_task.parent}"')
            params = 'input_size = 28\nK = "classes"\npca_dim = 3\nseeds = 2\nmask_size = 28\n'
            task.write_text(text.partition("[params]")[0] + "[params]\n" + params)
        _, path = evaluate(options(task, tmp_path / "results"))
        folder, panels = kept(path)
        assert [panel.memory for panel in panels] == [None, None]
        assert all((folder / panel.pca).is_file() for panel in panels)


@pytest.fixture(scope="module")
def traced(colour_task: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunRecord, Path]:
    """A bounded memory of augmented views, where a row's origin is least obvious."""
    folder = tmp_path_factory.mktemp("traced")
    return evaluate(options(colour_task, folder, params={**AUGMENTED, "input_size": 56}, seed=5))


class TestNeighbours:
    def test_similarities_follow_from_the_patches_that_are_named(
        self, traced: tuple[RunRecord, Path], colour_task: Path
    ) -> None:
        found = find_task(colour_task)
        card, file = found.card, found.file
        dataset = load_dataset(card.dataset, card_path=file)
        backbone = load_backbone("hog_s14")
        std = (0.229, 0.224, 0.255)  # the reference's own
        view = JitteredCrop(56, backbone.mean, std)

        @cache
        def features(split: Any, how: Any, seed: int, epoch: int, image: int) -> torch.Tensor:
            pixels = Views(split, how, seed, epoch)[image][1]  # type: ignore[index]
            patches = backbone(pixels[None])[0].float()
            return torch.nn.functional.normalize(patches, dim=-1)

        checked = 0
        for panel in kept(traced[1])[1]:
            memory = panel.memory
            assert memory is not None
            number = dataset.val.names.index(panel.name)
            query = features(dataset.val, Squash(56, backbone.mean, std), 0, 0, number)
            for place, tiles, similarity in zip(
                memory.queries, memory.nearest, memory.similarity, strict=True
            ):
                assert similarity == sorted(similarity, reverse=True)
                for number_of_tile, value in zip(tiles, similarity, strict=True):
                    name, epoch, row, column, _ = memory.tiles[number_of_tile]
                    image = dataset.train.names.index(memory.images[name])
                    patches = features(dataset.train, view, 5, epoch, image)
                    assert float(patches[row, column] @ query[place]) == pytest.approx(
                        value, abs=1e-4
                    )
                    checked += 1
        assert checked == 2 * 16 * SHOWN
        epochs = {t[1] for p in kept(traced[1])[1] if p.memory for t in p.memory.tiles}
        assert epochs == {0, 1}

    def test_tiles_are_distinct_and_show_the_patch_in_their_middle(
        self, traced: tuple[RunRecord, Path], colour_task: Path
    ) -> None:
        found = find_task(colour_task)
        card, file = found.card, found.file
        dataset = load_dataset(card.dataset, card_path=file)
        folder, panels = kept(traced[1])
        memory = panels[0].memory
        assert memory is not None
        assert len(set(memory.tiles)) == len(memory.tiles)
        view = JitteredCrop(56, (0.485, 0.456, 0.406), (0.229, 0.224, 0.255))
        mean, std = (torch.tensor(v)[:, None, None] for v in (view.mean, view.std))
        with Image.open(folder / memory.sprite) as picture:
            sprite = np.asarray(picture.convert("RGB")).astype(float)
        for number, (name, epoch, row, column, _) in enumerate(memory.tiles):
            image = dataset.train.names.index(memory.images[name])
            item = Views(dataset.train, view, 5, epoch)[image]
            pixels = (item[1] * std + mean).permute(1, 2, 0).numpy() * 255  # type: ignore[index]
            top, left = 14 * row, 14 * column
            patch = pixels[top : top + 14, left : left + 14].mean(axis=(0, 1))
            third = memory.tile_side // 3
            above, before = divmod(number, memory.sprite_columns)
            top, left = above * memory.tile_side + third, before * memory.tile_side + third
            middle = sprite[top : top + third, left : left + third].mean(axis=(0, 1))
            assert np.abs(middle - patch.clip(0, 255)).max() < 12

    def test_every_patch_has_neighbours_and_some_have_pictures(
        self, colour_task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(keeper, "QUERIES", 1)
        _, path = evaluate(options(colour_task, tmp_path, params={"input_size": 56}))
        folder, panels = kept(path)
        for panel in panels:
            memory = panel.memory
            assert memory is not None and memory.pictured is not None
            assert len(memory.queries) == len(memory.nearest) == 16
            middle = memory.nearest[memory.queries.index((2, 2))]
            assert sorted(middle) == list(range(memory.pictured))
            assert memory.pictured == SHOWN < len(memory.tiles) == len(set(memory.tiles))
            with Image.open(folder / memory.sprite) as picture:
                assert picture.size == (16 * 48, 48)

    def test_a_rectangle_has_rows_and_columns(
        self, tmp_path: Path, write_dataset: Callable[..., Path], write_depth: Callable[..., Path]
    ) -> None:
        folder = write_dataset(tmp_path / "data", 4, 2).parent
        how = "input_size = [28, 56]\nn_neighbours = 2\n"
        task = write_depth(folder, "depth_in_context", how)
        _, path = evaluate(options(task, tmp_path / "results"))
        index = load_panels(panel_folder(path))
        assert index is not None
        assert (index.grid, index.columns) == (2, 4)
        memory = index.panels[0].memory
        assert memory is not None
        assert memory.queries == [(row, column) for row in range(2) for column in range(4)]
        assert {tile[3] for tile in memory.tiles} == {0, 1, 2, 3}

    def test_the_label_is_the_most_frequent_class_of_the_patch(
        self, kept_runs: dict[str, tuple[RunRecord, Path]], colour_task: Path
    ) -> None:
        found = find_task(colour_task)
        card, file = found.card, found.file
        dataset = load_dataset(card.dataset, card_path=file)
        backbone = load_backbone("hog_s14")
        for panel in kept(kept_runs["hog_s14"][1])[1]:
            memory = panel.memory
            assert memory is not None
            for name, _, row, column, label in memory.tiles:
                image = dataset.train.names.index(memory.images[name])
                view = Squash(28, backbone.mean, backbone.std)
                mask = Views(dataset.train, view, 0, 0)[image][2].numpy()  # type: ignore[index]
                top, left = 14 * row, 14 * column
                patch = mask[top : top + 14, left : left + 14]
                counts = np.bincount(np.where(patch > 2, 0, patch).ravel())  # void counts as 0
                assert counts[label] == counts.max()


class TestWriting:
    def test_a_failure_leaves_the_old_panels_and_nothing_else(
        self, colour_task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _, path = evaluate(options(colour_task, tmp_path))
        before = {file.name: file.read_bytes() for file in panel_folder(path).iterdir()}
        around = sorted(path.parent.iterdir())
        monkeypatch.setattr(keeper, "tiled", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            evaluate(options(colour_task, tmp_path, overwrite=True))
        assert {f.name: f.read_bytes() for f in panel_folder(path).iterdir()} == before
        assert sorted(path.parent.iterdir()) == around

    def test_a_repeated_run_replaces_them_all(self, colour_task: Path, tmp_path: Path) -> None:
        _, path = evaluate(options(colour_task, tmp_path))
        (panel_folder(path) / "stray.png").write_bytes(b"")
        evaluate(options(colour_task, tmp_path, overwrite=True))
        assert not (panel_folder(path) / "stray.png").exists()

    def test_an_index_is_no_record(self, colour_task: Path, tmp_path: Path) -> None:
        _, path = evaluate(options(colour_task, tmp_path))
        assert [found for found, _ in load_records(tmp_path)] == [path]

    def test_older_panels_without_an_index_are_made_again(
        self, colour_task: Path, tmp_path: Path
    ) -> None:
        _, path = evaluate(options(colour_task, tmp_path))
        (panel_folder(path) / INDEX).unlink()
        assert load_panels(panel_folder(path)) is None
        evaluate(options(colour_task, tmp_path))
        assert len(kept(path)[1]) == 2


class TestIndex:
    @pytest.fixture
    def folder(self, kept_runs: dict[str, tuple[RunRecord, Path]], tmp_path: Path) -> Path:
        return Path(shutil.copytree(panel_folder(kept_runs["rgb_s14"][1]), tmp_path / "r.panels"))

    def change(self, folder: Path, **changes: Any) -> None:
        values = json.loads((folder / INDEX).read_text())
        values["panels"][0] |= changes.pop("panel", {})
        values["panels"][0]["memory"] |= changes.pop("memory", {})
        (folder / INDEX).write_text(json.dumps(values | changes))

    @pytest.mark.parametrize(
        ("changes", "told"),
        [
            ({"grids": 2}, "unknown key 'grids'"),
            ({"schema_version": 2}, "schema_version"),
            ({"panel": {"picture": "a.png"}}, r"unknown key 'panels\.0\.picture'"),
            ({"panel": {"image": "../secret.png"}}, r"panels\.0\.image"),
            ({"panel": {"image": "/etc/secret.png"}}, r"panels\.0\.image"),
            ({"panel": {"truth": ".."}}, r"panels\.0\.truth"),
            ({"memory": {"nearest": [[0]]}}, "of one length"),
            ({"memory": {"tiles": [{"image": 0, "epoch": 0}]}}, r"panels\.0\.memory\.tiles\.0"),
            ({"memory": {"queries": [[0, 0], [0, 1], [1, 1], [1, 0]]}}, "a grid, row by row"),
            ({"memory": {"pictured": -1}}, r"panels\.0\.memory\.pictured"),
            ({"panel": {"size": [0, 4]}}, r"panels\.0\.size"),
            ({"panel": {"size": [10**400, 4]}}, r"panels\.0\.size"),
            ({"columns": 0}, "columns"),
            ({"memory": {"images": []}}, "an image that is not there"),
            ({"memory": {"queries": [[0, 0]], "nearest": [[9999]], "similarity": [[1.0]]}}, "tile"),
        ],
    )
    def test_what_it_may_not_say(self, folder: Path, changes: dict[str, Any], told: str) -> None:
        self.change(folder, **changes)
        with pytest.raises(DensebenchError, match=told):
            load_panels(folder)

    @pytest.mark.parametrize("text", ["", "{", "[]", "\x00"])
    def test_what_is_none(self, folder: Path, text: str) -> None:
        (folder / INDEX).write_text(text)
        with pytest.raises(DensebenchError, match="not an index of panels"):
            load_panels(folder)

    def test_a_sheet_shows_every_backbone(
        self, kept_runs: dict[str, tuple[RunRecord, Path]], tmp_path: Path
    ) -> None:
        folders = {name: panel_folder(path) for name, (_, path) in kept_runs.items()}
        sheet = contact_sheet(folders, 50)
        assert sheet.size == (4 * 56 + 6, 22 + 2 * 56)
        with pytest.raises(DensebenchError, match="no panels"):
            contact_sheet({"a": tmp_path}, 50)


class TestComponents:
    def test_are_fitted_jointly_and_find_what_varies_most(self) -> None:
        generator = torch.Generator().manual_seed(2)
        patches = torch.randn(3, 4, 4, 12, generator=generator) * 0.01
        ramp = torch.linspace(-1, 1, 48).reshape(3, 4, 4)
        patches[..., 7] += 5 * ramp
        colours = principal_colours(patches)
        assert colours.shape == (3, 4, 4, 3)
        red = colours[..., 0].ravel().astype(int)
        assert np.all(np.diff(red) >= 0)
        assert red[0] == 0
        assert red[-1] == 255
        np.testing.assert_array_equal(colours, principal_colours(patches))

    @pytest.mark.parametrize("width", [1, 2])
    def test_narrow_features_leave_colours_out(self, width: int) -> None:
        colours = principal_colours(torch.rand(1, 3, 3, width))
        assert colours[..., :width].any()
        assert not colours[..., width:].any()

    def test_equal_patches_are_of_one_colour(self) -> None:
        colours = principal_colours(torch.ones(2, 3, 3, 5))
        assert len(np.unique(colours.reshape(-1, 3), axis=0)) == 1


@given(st.integers(1, 80))
def test_queries_are_distinct_inside_and_spread(grid: int) -> None:
    assert set(query_places((grid, 3), 100)) == {(r, c) for r in range(grid) for c in range(3)}
    places = query_places((grid, grid), QUERIES)
    assert len(set(places)) == len(places) == min(QUERIES, grid) ** 2
    rows = sorted({row for row, _ in places})
    assert rows[0] >= 0
    assert rows[-1] < grid
    assert all(
        abs(row - (grid - 1 - mirror)) <= 1 for row, mirror in zip(rows, rows[::-1], strict=True)
    )


def test_tiles_lie_row_by_row() -> None:
    tiles = [Image.new("RGB", (48, 48), (number, 0, 0)) for number in range(17)]
    sheet = tiled(tiles)
    assert sheet.size == (16 * 48, 2 * 48)
    assert sheet.getpixel((15 * 48, 0)) == (15, 0, 0)
    assert sheet.getpixel((5, 48 + 5)) == (16, 0, 0)
