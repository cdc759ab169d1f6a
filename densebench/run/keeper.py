"""Keeps panels while a run goes on: pictures of some validation images, bounded in size.

Each image takes about 20 kB, and with its nearest memory patches up to about 400 kB: pictures are
at most ``LARGEST`` pixels wide. Every patch has ``SHOWN`` neighbours (of grids beyond ``MOST`` x
``MOST``, so many patches); those of ``QUERIES`` x ``QUERIES`` of them are pictures as well.
"""

import io
import shutil
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped, UInt8
from PIL import Image
from torch import Tensor

from densebench.datasets import Dataset
from densebench.datasets.sizes import Size, side_of
from densebench.datasets.transforms import Squash
from densebench.features.loading import Views
from densebench.features.source import PatchBatch, PatchSource
from densebench.files.atomic import write_atomically
from densebench.host.distributed import World
from densebench.host.watcher import Advance
from densebench.measures.scoring import Prediction
from densebench.protocols.base import Nearest, Protocol
from densebench.records.called import safe_name
from densebench.records.panels import MemoryPanel, Panel, PanelIndex, Place
from densebench.records.scales import bar
from densebench.records.store import INDEX, PANELS
from densebench.run.painting import BAR, Painter, predicted_map, shrunk

LARGEST = 256
MOST, QUERIES, SHOWN = 40, 8, 5
CONTEXT = 3  # patches on a side of a tile
TILE, TILE_COLUMNS = 48, 16
QUALITY = 75
PERCENTILES = (1, 99)


@dataclass
class WatchedSource(PatchSource):
    """A source that lets somebody see every batch that passes."""

    see: Callable[[PatchBatch], None] = lambda _: None

    def batches(self, *args: Any, **kwargs: Any) -> Iterator[PatchBatch]:
        """The same batches."""
        for batch in super().batches(*args, **kwargs):
            self.see(batch)
            yield batch


@dataclass
class PanelKeeper:
    """Keeps what panels need of the ``wanted`` validation images."""

    wanted: Collection[int]
    _predicted: dict[int, Shaped[np.ndarray, "H W"]] = field(default_factory=dict)
    _truth: dict[int, Shaped[np.ndarray, "H W"]] = field(default_factory=dict)
    _patches: dict[int, Float[Tensor, "h w d"]] = field(default_factory=dict)
    _nearest: dict[int, Nearest | None] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._predicted)

    def watching(self, source: PatchSource) -> PatchSource:
        """The source, so that patches are seen as they pass; itself where nothing is kept."""
        if not self.wanted:
            return source
        same = {part.name: getattr(source, part.name) for part in fields(PatchSource)}
        return WatchedSource(**same, see=self.see)

    def see(self, batch: PatchBatch) -> None:
        """Keep the patches of the images that are wanted: those of the first pass."""
        for index, patches in zip(batch.indices.tolist(), batch.patches, strict=True):
            if index in self.wanted:
                self._patches.setdefault(index, patches.float().cpu().clone())

    def add(self, prediction: Prediction) -> None:
        """Keep what is wanted of one prediction; of repeats, the first."""
        for position, index in enumerate(prediction.indices.tolist()):
            if index in self.wanted and prediction.repeat == 0:
                truth = prediction.masks[position].numpy()
                self._truth[index] = truth.copy()
                self._predicted[index] = predicted_map(prediction, position, truth.shape)

    def look(self, source: PatchSource, protocol: Protocol) -> None:
        """Keep the patches of images that were predicted from others, such as windows of them.

        Each is seen whole, as a square. Of several processes all go through it.
        """
        missing = sorted(self._predicted.keys() - self._patches.keys())
        missing = protocol.setting.world.from_main(missing)
        if missing:
            setting = protocol.setting
            view = Squash(side_of(protocol.input_shape), setting.mean, setting.std)
            for batch in source.batches(view, order=missing, keep=False):
                self.see(batch)

    def gather(self, world: World) -> None:
        """In the first process, keep what the others kept of their own images."""
        kept = self._predicted, self._truth, self._patches
        for predicted, truth, patches in world.at_main(kept)[1:]:
            self._predicted.update(predicted)
            self._truth.update(truth)
            self._patches.update(patches)

    def explain(self, protocol: Protocol, world: World) -> None:
        """Ask for the nearest memory patches of each panel, which takes all processes."""
        for index in world.from_main(sorted(self._predicted)):
            queries = world.from_main(self._queries(index, protocol) if world.is_main else None)
            assert queries is not None  # in the first process, and so in all
            self._nearest[index] = protocol.explain(queries.to(protocol.setting.device), SHOWN)

    def _queries(self, index: int, protocol: Protocol) -> Float[Tensor, "q d"]:
        rows, columns = zip(*query_places(protocol.grid_shape, MOST), strict=True)
        return self._patches[index][list(rows), list(columns)]

    def save(
        self,
        folder: Path,
        run_id: str,
        dataset: Dataset,
        mapping: Sequence[int],
        protocol: Protocol,
        advance: Advance = lambda _: None,
    ) -> None:
        """Write the folder whole or not at all, clusters renamed to their classes."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        place = folder.with_name(f".{uuid.uuid4().hex[:12]}.{PANELS}")
        place.mkdir()  # whoever may read it is for the umask to say
        try:
            panels = []
            painter = Painter.of(dataset, self._truth.values(), mapping)
            for index, components in zip(sorted(self._predicted), self._components(), strict=True):
                panels.append(self._save_one(place, index, components, dataset, painter, protocol))
                advance(1)
            if painter.scale is not None:
                bar(painter.scale, LARGEST).save(place / BAR, optimize=True)
            told = PanelIndex(
                run_id=run_id,
                grid=protocol.grid,
                columns=protocol.grid_shape[1],
                palette=list(painter.palette),
                panels=panels,
                scale=painter.scale,
            )
            write_atomically(place / INDEX, told.model_dump_json() + "\n")
            shutil.rmtree(folder, ignore_errors=True)
            place.rename(folder)
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise

    def _components(self) -> UInt8[np.ndarray, "n h w 3"]:
        return principal_colours(torch.stack([self._patches[i] for i in sorted(self._predicted)]))

    def _save_one(
        self,
        folder: Path,
        index: int,
        components: UInt8[np.ndarray, "h w 3"],
        dataset: Dataset,
        painter: Painter,
        protocol: Protocol,
    ) -> Panel:
        name = dataset.val.names[index]
        stem = f"{index}-{safe_name(name)}"
        height, width = shrunk(protocol.input_shape, LARGEST)
        photograph = dataset.val.image(index)
        small = photograph.resize((width, height), Image.Resampling.BILINEAR)
        small.save(folder / f"{stem}.image.webp", quality=QUALITY)
        Image.fromarray(components).save(folder / f"{stem}.pca.png", optimize=True)
        painted = painter.truth(self._truth[index]), painter.prediction(self._predicted[index])
        for kind, picture in zip(("truth", "prediction"), painted, strict=True):
            picture.save(folder / f"{stem}.{kind}.png", optimize=True)
        return Panel(
            name=name,
            size=photograph.size,
            image=f"{stem}.image.webp",
            truth=f"{stem}.truth.png",
            prediction=f"{stem}.prediction.png",
            pca=f"{stem}.pca.png",
            memory=self._memory(folder / f"{stem}.memory.webp", index, dataset, protocol),
        )

    def _memory(
        self, sprite: Path, index: int, dataset: Dataset, protocol: Protocol
    ) -> MemoryPanel | None:
        """The memory patches nearest to every patch, where the protocol has a memory."""
        shape, found = protocol.grid_shape, self._nearest.get(index)
        if found is None:
            return None
        queries = query_places(shape, MOST)
        distinct, nearest, pictured = _origins(found, queries, query_places(shape, QUERIES))
        crops = memory_crops(found, distinct[:pictured], dataset, protocol)
        write_atomically(sprite, _webp(tiled(crops)))
        images = distinct[:, 0].unique().tolist()
        return MemoryPanel(
            images=[dataset.train.names[image] for image in images],
            sprite=sprite.name,
            tile_side=TILE,
            sprite_columns=TILE_COLUMNS,
            tiles=[
                (images.index(image), epoch, *divmod(patch, shape[1]), label)
                for image, epoch, patch, label in distinct.tolist()
            ],
            pictured=pictured,
            queries=queries,
            nearest=nearest.tolist(),
            similarity=[[round(s, 4) for s in row] for row in found.similarity.tolist()],
        )


def _origins(
    found: Nearest, queries: Sequence[Place], pictured: Sequence[Place]
) -> tuple[Int64[Tensor, "n 4"], Int64[Tensor, "q k"], int]:
    """Image, epoch, patch and label of each memory patch once, those with a picture first.

    Returns:
        They; of each query which of them are its neighbours; how many have a picture.
    """
    origins = torch.stack([found.image, found.epoch, found.patch, found.label], dim=-1)
    distinct, nearest = origins.flatten(0, 1).unique(dim=0, return_inverse=True)
    nearest = nearest.reshape(found.image.shape)
    shown = torch.zeros(len(distinct), dtype=torch.bool)
    shown[nearest[[queries.index(place) for place in pictured]]] = True
    order = torch.cat([shown.nonzero()[:, 0], (~shown).nonzero()[:, 0]])
    return distinct[order], order.argsort()[nearest], int(shown.sum())


def query_places(shape: Size, most: int) -> list[Place]:
    """The patches in the middle of at most ``most`` x ``most`` equal parts of a grid."""
    rows, columns = (
        [(2 * part + 1) * grid // (2 * side) for part in range(side)]
        for grid, side in ((grid, min(most, grid)) for grid in shape)
    )
    return [(row, column) for row in rows for column in columns]


def principal_colours(patches: Float[Tensor, "n h w d"]) -> UInt8[np.ndarray, "n h w 3"]:
    """The first three principal components of all patches together, as red, green and blue.

    Each component goes from its 1st to its 99th percentile. Its sign is free; the largest weight
    is made positive, so that the same patches give the same colours.
    """
    rows = patches.flatten(0, 2).double().numpy()
    centred = rows - rows.mean(axis=0)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    vectors = vectors[:, ::-1][:, :3]
    largest = np.abs(vectors).argmax(axis=0)
    projected = centred @ (vectors * np.sign(vectors[largest, range(vectors.shape[1])]))
    low, high = np.percentile(projected, PERCENTILES, axis=0)
    scaled = np.clip((projected - low) / np.maximum(high - low, 1e-12), 0, 1)
    colours = np.zeros((len(rows), 3), dtype=np.uint8)
    colours[:, : scaled.shape[1]] = np.rint(255 * scaled)
    return colours.reshape(*patches.shape[:3], 3)


def memory_crops(
    found: Nearest, origins: Int64[Tensor, "n 4"], dataset: Dataset, protocol: Protocol
) -> list[Image.Image]:
    """Each patch with its neighbours around it, cut from the very view that was remembered.

    ``origins`` are image, epoch, patch and label, sorted; each view is made once.
    """
    crops: list[Image.Image] = []
    known, pixels = None, np.empty(0)
    columns = protocol.grid_shape[1]
    for image, epoch, patch, _ in origins.tolist():
        if known != (image, epoch):
            known = image, epoch
            pixels = _pixels(found, image, epoch, dataset, protocol)
        top, left = (place * protocol.setting.patch_size for place in divmod(patch, columns))
        side = CONTEXT * protocol.setting.patch_size
        crop = Image.fromarray(pixels[top : top + side, left : left + side])
        crops.append(crop.resize((TILE, TILE), Image.Resampling.BICUBIC))
    return crops


def _pixels(
    found: Nearest, image: int, epoch: int, dataset: Dataset, protocol: Protocol
) -> UInt8[np.ndarray, "h w 3"]:
    """A training view as pixels, with a border of its own edge."""
    view, seed = found.view, protocol.setting.seed
    item = Views(dataset.train, view, seed, epoch)[image]
    assert isinstance(item, tuple)  # it was readable when it was remembered
    mean, std = (torch.tensor(values)[:, None, None] for values in (view.mean, view.std))
    shades = (item[1] * std + mean).clamp(0, 1) * 255
    pixels = shades.round().to(torch.uint8).permute(1, 2, 0).numpy()
    border = CONTEXT // 2 * protocol.setting.patch_size
    return np.pad(pixels, ((border, border), (border, border), (0, 0)), mode="edge")


def tiled(tiles: Sequence[Image.Image]) -> Image.Image:
    """One picture of all tiles, row by row."""
    rows = -(-len(tiles) // TILE_COLUMNS)
    sheet = Image.new("RGB", (TILE_COLUMNS * TILE, rows * TILE))
    for number, tile in enumerate(tiles):
        row, column = divmod(number, TILE_COLUMNS)
        sheet.paste(tile, (column * TILE, row * TILE))
    return sheet


def _webp(image: Image.Image) -> bytes:
    content = io.BytesIO()
    image.save(content, format="WEBP", quality=QUALITY)
    return content.getvalue()
