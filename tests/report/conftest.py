"""Records that vary a real one, with the counts of their images where a test gives them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from densebench.counts import ImageCounts, save_counts
from densebench.metrics import class_counts, iou_per_class, mean_iou, pixel_accuracy
from densebench.results import ProfileRecord, RunRecord, save_record


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "board" / "results"


@pytest.fixture
def keep(results: Path, tiny_record: RunRecord) -> Callable[..., Path]:
    """Saves a variation of a real record; each has an id of its own.

    ``images`` are confusion matrices of single images, which the scores then follow from.
    """
    ids = iter(range(1000))

    def save(
        miou: float = 0.5,
        backbone: dict[str, Any] | None = None,
        dataset: dict[str, Any] | None = None,
        protocol: dict[str, Any] | None = None,
        score: dict[str, Any] | None = None,
        images: Any = None,
        names: tuple[str, ...] | None = None,
        **top: Any,
    ) -> Path:
        record = tiny_record.model_dump()
        record["backbone"] |= backbone or {}
        record["dataset"] |= dataset or {}
        record["protocol"] |= protocol or {}
        record["scores"][0] |= {"miou": miou, **(score or {})}
        if images is not None:
            record["scores"][0] |= scores_of(images, record["dataset"]["classes"])
        record |= {"run_id": f"{next(ids):012d}", **top}
        path = save_record(RunRecord.model_validate(record), results)
        if images is not None:
            pixels = np.stack([class_counts(image) for image in images])[None].astype(np.uint32)
            known = names or tuple(f"image{i:03d}" for i in range(len(images)))
            save_counts(path, record["run_id"], ImageCounts(known, "zero", pixels))
        return path

    return save


def scores_of(images: Any, classes: tuple[str, ...]) -> dict[str, Any]:
    """The scores of a whole from the confusion matrices of its images."""
    whole = images.sum(axis=0)
    iou = iou_per_class(class_counts(whole))
    shares = [None if np.isnan(share) else float(share) for share in iou]
    return {
        "miou": float(mean_iou(iou, "zero")),
        "repeats": [float(mean_iou(iou, "zero"))],
        "pixel_accuracy": pixel_accuracy(whole),
        "iou": dict(zip(classes, shares, strict=True)),
        "confusion": [whole.tolist()],
    }


@pytest.fixture
def pictures() -> Callable[..., Any]:
    """Confusion matrices of images with three classes that a backbone gets right so often."""

    def make(skill: float, n_images: int = 40, seed: int = 0) -> Any:
        rng = np.random.default_rng(seed)
        right = rng.binomial(100, np.clip(rng.normal(skill, 0.05, (n_images, 3)), 0, 1))
        images = np.zeros((n_images, 3, 3), dtype=np.int64)
        for c in range(3):
            images[:, c, c] = right[:, c]
            images[:, c, (c + 1) % 3] = 100 - right[:, c]
        return images

    return make


@pytest.fixture
def keep_profile(results: Path, tiny_record: RunRecord) -> Callable[..., Path]:
    """Saves a profile that fits the tiny record."""

    def save(**changes: Any) -> Path:
        values = {
            "created": tiny_record.created,
            "backbone": tiny_record.backbone.name,
            "fingerprint": tiny_record.backbone.fingerprint,
            "parameters": 0,
            "size": tiny_record.protocol.input_size,
            "precision": "fp32",
            "device": "cpu (some)",
            "batch_size": 16,
            "images_per_second": 123.45,
            "latency_median": 0.01,
            "latency_p95": 0.02,
            "gflops": 6.78,
            "peak_rss_bytes": 1000,
            "peak_cuda_bytes": None,
            "versions": {},
        }
        return save_record(ProfileRecord.model_validate({**values, **changes}), results)

    return save
