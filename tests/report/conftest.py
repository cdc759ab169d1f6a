"""One headless Chromium for all tests of the page, and boards of records for it to show."""

import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from densebench.results import RunRecord, load_record, save_record

DRIVERS = ("chromedriver",)
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
HOSTILE = "<script>document.title='taken'</script>"


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
def kept_runs(
    tmp_path_factory: pytest.TempPathFactory, colour_task: Path
) -> dict[str, tuple[RunRecord, Path]]:
    """Real runs of both baselines, with panels of two images."""
    from densebench.evaluate import RunOptions, evaluate

    folder = tmp_path_factory.mktemp("kept")
    return {
        name: evaluate(
            RunOptions(name, str(colour_task), device="cpu", results=folder, cache="off", panels=2)
        )
        for name in ("rgb_s14", "hog_s14")
    }


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
        values["scores"][0] |= {"miou": miou, **changes.pop("score", {})}
        low, high = max(0.0, miou - 0.02), miou + 0.02
        values["scores"][0]["interval"] |= {"low": low, "high": high}
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
        data = {"fingerprint": share, "subset": f"{share}, seed 42", "n_train": 1}
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
