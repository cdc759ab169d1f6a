"""Records that vary a real one, with the counts of their images where a test gives them.

For the page, boards of records with panels, and one headless Chromium for all tests.
"""

import json
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from densebench.files.hashes import content_hash
from densebench.measures import metrics
from densebench.measures.base import Evidence, Metric, grouped
from densebench.measures.jackknife import interval, leave_one_out
from densebench.measures.segmentation import (
    MeanIoU,
    class_counts,
    iou_per_class,
    mean_iou,
    pixel_accuracy,
)
from densebench.records.schema import ProfileRecord, RunRecord
from densebench.records.store import Companions, load_record, save_profile, save_record

DRIVERS = ("chromedriver",)
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
AWKWARD = r'a_b&50%$#{x}~^\|<y>,"z"'
HOSTILE = "<script>document.title='taken'</script>"


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
        groups: tuple[str, ...] | None = None,
        **top: Any,
    ) -> Path:
        record = tiny_record.model_dump()
        record["backbone"] |= backbone or {}
        record["dataset"] |= dataset or {}
        record["protocol"] |= protocol or {}
        rescore(record, miou=miou, **(score or {}))
        record |= {"run_id": f"{next(ids):012d}", **top}
        if images is not None:
            return save_of_images(record, images, results, names, groups)
        return save_record(RunRecord.model_validate(record), results)

    return save


def vectors_of(images: Any) -> Any:
    """The evidence of images from their confusion matrices."""
    return np.stack([class_counts(image).ravel() for image in images])[None].astype(np.uint32)


def rescore(record: dict[str, Any], **values: Any) -> None:
    """Put other numbers into the first score of a record's values."""
    score = record["scores"][0]
    metrics = {metric["name"]: metric for metric in score["metrics"]}
    for key, value in values.items():
        if key in metrics:
            metrics[key]["value"] = value
        elif key in ("repeats", "interval"):
            metrics["miou"][key] = value
        else:
            score["classes" if key == "iou" else key] = value


def whole_scores(
    images: Any, classes: tuple[str, ...], groups: tuple[str, ...] | None
) -> dict[str, Any]:
    """The scores of a whole from the confusion matrices of its images."""
    whole = images.sum(axis=0)
    iou = iou_per_class(class_counts(whole))
    shares = [None if np.isnan(share) else float(share) for share in iou]
    miou = float(mean_iou(iou, "zero"))
    return {
        "miou": miou,
        "miou_absent_zero": miou,
        "miou_absent_left_out": float(mean_iou(iou, "nan")),
        "interval": interval_of(miou, images, groups),
        "repeats": [float(mean_iou(iou, "zero"))],
        "pixel_accuracy": pixel_accuracy(whole),
        "iou": dict(zip(classes, shares, strict=True)),
        "confusion": [whole.tolist()],
    }


def save_of_images(
    values: dict[str, Any],
    images: Any,
    results: Path,
    names: tuple[str, ...] | None = None,
    groups: tuple[str, ...] | None = None,
) -> Path:
    """Save a record whose numbers follow from the confusion matrices of images, and evidence."""
    rescore(values, **whole_scores(images, values["dataset"]["classes"], groups))
    known = names or tuple(f"image{i:03d}" for i in range(len(images)))
    evidence = Evidence(known, vectors_of(images), groups, "films")
    return save_record(RunRecord.model_validate(values), results, Companions(evidence))


@pytest.fixture(scope="session")
def save_images() -> Callable[..., Path]:
    """Saves a record that follows from the confusion matrices of images."""
    return save_of_images


@dataclass(frozen=True)
class RootMeanSquare(Metric):
    """A metric that no package has: its evidence is squared errors, and how many."""

    name: str = "rmse"
    title: str = "RMSE"
    unit: str = "m"
    higher: bool = False
    decimals: int = 3
    bounds: tuple[float, float] = (0.0, float("inf"))

    def finish(self, sums: Any) -> Any:
        return np.sqrt(sums[..., 0] / np.maximum(sums[..., 1], 1))


@pytest.fixture
def keep_depth(
    results: Path, tiny_record: RunRecord, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Path]:
    """Saves a run that is ranked by an error in metres, of a score without classes.

    ``error`` is about that of each image; with its spread over them.
    """
    monkeypatch.setitem(metrics.OWN, "rmse", RootMeanSquare)

    def save(
        name: str, error: float, task: str = "depth", spread: float = 0.01, **changes: Any
    ) -> Path:
        rng = np.random.default_rng(len(name))
        errors = np.abs(error + spread * rng.standard_normal(40))
        vectors = np.stack([100 * errors**2, np.full(40, 100.0)], axis=-1)[None]
        value = float(RootMeanSquare().of(vectors.sum(axis=1))[0])
        low, high = interval(value, leave_one_out([vectors], RootMeanSquare()), (0.0, np.inf))
        around = {"low": low, "high": high, "level": 0.95, "n": 40}
        near = {"name": "near", "title": "within 25%", "unit": "%", "scale": 100.0}
        rmse, record = facts_of(RootMeanSquare()), tiny_record.model_dump()
        record["scores"] = [
            {
                "resolution": "original",
                "metrics": [
                    {
                        **rmse,
                        "value": value,
                        "repeats": [value],
                        "interval": around,
                    },
                    {**near, "value": 1 - error, "repeats": [1 - error]},
                ],
            }
        ]
        record["backbone"] |= {"name": name, **changes.pop("backbone", {})}
        record["protocol"] |= {"name": "ridge", "hash": "d" * 64}
        record["dataset"] |= {"classes": (), **changes.pop("dataset", {})}
        record |= {"task": task, "run_id": content_hash([name, task, error, str(changes)])[:12]}
        evidence = Evidence(tuple(f"image{i:03d}" for i in range(40)), vectors)
        valid = RunRecord.model_validate({**record, **changes})
        return save_record(valid, results, Companions(evidence))

    return save


def facts_of(metric: Metric) -> dict[str, Any]:
    """What a record says of a metric."""
    names = ("name", "title", "unit", "higher", "scale", "decimals")
    return {name: getattr(metric, name) for name in names}


@pytest.fixture
def mixed(
    keep: Callable[..., Path],
    keep_depth: Callable[..., Path],
    pictures: Callable[..., Any],
    results: Path,
) -> Path:
    """Two tasks of mIoU and two of RMSE; who is best by the one is worst by the other."""
    for name, skill, error in (("sharp", 0.8, 0.6), ("flat", 0.5, 0.4)):
        card = {"card": {"adapted_from": "flat"} if name == "sharp" else {}}
        for task in ("colours", "shapes"):
            keep(backbone={"name": name, **card}, images=pictures(skill), task=task)
        for task in ("depth", "far"):
            keep_depth(name, error, task, backbone=card)
    return results


def interval_of(miou: float, images: Any, groups: tuple[str, ...] | None) -> dict[str, Any]:
    vectors = vectors_of(images)
    units = vectors if groups is None else grouped(vectors, groups)
    low = high = None
    if (n := units.shape[1]) > 1:
        low, high = interval(miou, leave_one_out([units], MeanIoU()), (0.0, 1.0))
    over = "images" if groups is None else "films"
    return {"low": low, "high": high, "level": 0.95, "over": over, "n": n}


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
        return save_profile(ProfileRecord.model_validate({**values, **changes}), results)

    return save


def _program(names: tuple[str, ...]) -> str:
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip(f"the page is tested in a browser, and there is no {names[0]} here")
    return found


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A Chromium under Selenium's control, its console and its requests recorded."""
    selenium = pytest.importorskip("selenium.webdriver", reason="selenium drives the browser")
    from selenium.webdriver.chrome.service import Service

    options = selenium.ChromeOptions()
    options.binary_location = _program(BROWSERS)
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = selenium.Chrome(options=options, service=Service(_program(DRIVERS)))
    yield driver
    driver.quit()


@pytest.fixture(scope="session")
def hostile() -> str:
    """The name of a backbone that would like to be a script."""
    return HOSTILE


@pytest.fixture(scope="session")
def put() -> Callable[..., Path]:
    """Saves a variation of a record under a folder, with its panels."""
    ids = iter(range(10**6))

    def save(results: Path, source: Path, miou: float, name: str = "", **changes: Any) -> Path:
        values = load_record(source).model_dump()
        backbone, dataset = changes.pop("backbone", {}), changes.pop("dataset", {})
        values["backbone"] |= {**backbone, **({"name": name} if name else {})}
        values["backbone"]["fingerprint"] = name or values["backbone"]["fingerprint"]
        values["dataset"] |= dataset
        around = values["scores"][0]["metrics"][0]["interval"]
        bounds = {**around, "low": max(0.0, miou - 0.02), "high": miou + 0.02}
        rescore(values, miou=miou, interval=bounds, **changes.pop("score", {}))
        values |= {"run_id": f"{next(ids):012d}", **changes}
        path = save_record(RunRecord.model_validate(values), results)
        panels = source.with_suffix(".panels")
        if panels.is_dir():
            path.with_suffix(".panels").symlink_to(panels)
        return path

    return save


@pytest.fixture(scope="session")
def board(
    tmp_path_factory: pytest.TempPathFactory,
    kept_runs: dict[str, tuple[RunRecord, Path]],
    put: Callable[..., Path],
) -> Path:
    """Four backbones, one of them post-trained and one with a hostile name; shares; two tasks."""
    results = tmp_path_factory.mktemp("board") / "results"
    rgb, hog = kept_runs["rgb_s14"][1], kept_runs["hog_s14"][1]
    card = {**json.loads(rgb.read_text())["backbone"]["card"], "adapted_from": "rgb_s14"}
    put(results, rgb, 0.50, backbone={"parameters": 86_000_000})
    put(results, hog, 0.30, backbone={"parameters": 22_000_000})
    iou = {"score": {"iou": {"red": 0.9, "green": 0.1, "blue": None}}}
    put(results, hog, 0.62, "tuned", backbone={"card": card, "parameters": 86_000_000}, **iou)
    put(results, rgb, 0.10, HOSTILE, backbone={"parameters": 300_000_000})
    for share, miou in (("1/2", 0.4), ("1/8", 0.3)):
        data = {"subset": share, "subset_seed": 42, "n_train": 1}
        put(results, rgb, miou, dataset=data)
    put(results, rgb, 0.7, task="another")
    return results


@pytest.fixture(scope="session")
def crowd(
    tmp_path_factory: pytest.TempPathFactory,
    kept_runs: dict[str, tuple[RunRecord, Path]],
    put: Callable[..., Path],
) -> Path:
    """Fifty backbones on twelve tasks of 27 classes, each with panels."""
    results = tmp_path_factory.mktemp("crowd") / "results"
    draw, source = random.Random(3), kept_runs["hog_s14"][1]
    classes = tuple(f"class {number}" for number in range(27))
    for task in range(12):
        for backbone in range(50):
            put(
                results,
                source,
                draw.random(),
                f"backbone_{backbone:02d}",
                task=f"task_{task:02d}",
                backbone={"parameters": draw.randrange(10**7, 10**9)},
                dataset={"classes": classes},
                score={"iou": {name: draw.random() for name in classes}},
            )
    return results


@pytest.fixture
def papers(
    keep: Callable[..., Path], results: Path, pictures: Callable[..., Any], awkward: str
) -> Path:
    """A base and what was adapted from it on one task, two seeds of a third on two tasks."""
    keep(backbone={"name": "base"}, images=pictures(0.6, seed=4))
    card = {"adapted_from": "base"}
    keep(backbone={"name": awkward, "card": card}, images=pictures(0.7, seed=4))
    for seed in range(2):
        keep(backbone={"name": "seeds"}, images=pictures(0.65, seed=seed), seed=seed)
        keep(0.5 + 0.1 * seed, backbone={"name": "seeds"}, task="t2", seed=seed)
    return results


@pytest.fixture(scope="session")
def awkward() -> str:
    """The name of a backbone with all that formats give a meaning to."""
    return AWKWARD
