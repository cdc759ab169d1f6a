"""The published in-context retrieval (open-hummingbird-eval), where it is installed, as a rival."""

import tempfile
from pathlib import Path
from time import perf_counter

import torch
from PIL import Image
from torch import Tensor

from densebench.backbones import DenseBackbone
from densebench.datasets import Dataset, Split

PEER = "hbird"
WORKERS = 2


def published_seconds(
    data: Dataset, model: DenseBackbone, device: torch.device, size: int, batch: int
) -> float:
    """Of one evaluation with faiss, one pass over the training images and no bound."""
    from hbird.hbird_eval import hbird_evaluation

    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder), data)
        start = perf_counter()
        hbird_evaluation(
            model,
            d_model=model.embed_dim,
            patch_size=model.patch_size,
            dataset_name="voc",
            data_dir=folder,
            batch_size=batch,
            input_size=size,
            augmentation_epoch=1,
            device=str(device),
            nn_method="faiss",
            n_neighbours=30,
            ftr_extr_fn=_features,
            memory_size=None,
            num_workers=WORKERS,
        )
        return perf_counter() - start


def _features(model: DenseBackbone, images: Tensor) -> tuple[Tensor, None]:
    return model(images).flatten(1, 2), None


def _write(folder: Path, data: Dataset) -> None:
    """The pictures as the published code wants them, in the folders of PASCAL VOC."""
    for name in ("images", "SegmentationClass", "SegmentationClassAug", "sets"):
        (folder / name).mkdir()
    parts = (
        ("trainaug", "SegmentationClassAug", data.train),
        ("val", "SegmentationClass", data.val),
    )
    for names, masks, split in parts:
        (folder / "sets" / f"{names}.txt").write_text("\n".join(split.names))
        _write_split(folder, masks, split)


def _write_split(folder: Path, masks: str, split: Split) -> None:
    for index, name in enumerate(split.names):
        split.image(index).save(folder / "images" / f"{name}.jpg", quality=95)
        Image.fromarray(split.mask(index)).save(folder / masks / f"{name}.png")
