"""Depth in metres from outside: a dataset, a protocol, a metric and a task, none of them ours."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import Ridge

import densebench

PACKAGE = Path(__file__).with_name("depth")
ROOT = Path(densebench.__file__).parents[1]
TASK = "depth_rooms"
SIZE, PATCH = 112, 14

# Not by `find_spec("pip")`: setuptools takes that for a start of pip, and leaves the process
# without its own distutils, which torch.compile needs.
INSTALLED = {distribution.name for distribution in distributions()}
pytestmark = pytest.mark.skipif(
    not {"pip", "hatchling"} <= INSTALLED,
    reason="installing a package needs pip and hatchling",
)

# What tells nothing of depth: the same for every patch.
BLIND = """
import torch

class Blind(torch.nn.Module):
    patch_size, embed_dim = 14, 2

    def forward(self, images):
        rows, columns = images.shape[-2] // 14, images.shape[-1] // 14
        return torch.ones(len(images), rows, columns, 2)

def build():
    return Blind()
"""
DIES = (
    "import os, signal, densebench_depth.ridge as r\n"
    "r.DepthRidge.predict = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
    "from densebench import cli; cli.main()\n"
)
WHOLE = "from densebench import cli; cli.main()\n"
LISTED = (
    "import sys\n"
    "from densebench import cli\n"
    "try:\n"
    "    cli.main()\n"
    "except SystemExit:\n"
    "    print('torch' in sys.modules)\n"
)

Call = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to work in, with the package installed in ``site``."""
    folder = tmp_path_factory.mktemp("depth")
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", "--disable-pip-version-check"]
    done = subprocess.run(
        [*command, "--target", str(folder / "site"), str(PACKAGE)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (folder / "blind.py").write_text(BLIND)
    return folder


@pytest.fixture(scope="module")
def call(place: Path) -> Call:
    def run(
        *words: str, code: str = WHOLE, cache: str = "cache"
    ) -> subprocess.CompletedProcess[str]:
        own = {k: v for k, v in os.environ.items() if not k.startswith("DENSEBENCH_")}
        paths = {
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(place / "site")]),
            "DENSEBENCH_CACHE": str(place / cache),
            "DENSEBENCH_HOME": str(place / "home"),
        }
        return subprocess.run(
            [sys.executable, "-c", code, *words],
            cwd=place,
            env={**own, **paths},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def run_words(backbone: str, results: str = "results") -> list[str]:
    words = ["run", "--backbone", backbone, "--task", TASK, "--results", results]
    return [*words, "--device", "cpu", "--save-panels", "2"]


def record_of(folder: Path) -> dict[str, Any]:
    (file,) = [f for f in folder.rglob("*.json") if "profile" not in f.name]
    return json.loads(file.read_text())


@pytest.fixture(scope="module")
def ran(place: Path, call: Call) -> Path:
    """A good backbone whose run was killed once, and a blind one."""
    killed = call(*run_words("rgb_s14"), code=DIES)
    assert killed.returncode == -signal.SIGKILL
    assert not list((place / "results").rglob("*.json"))
    assert list((place / "cache" / "features").glob("*/meta.json"))
    for backbone in ("rgb_s14", "blind.py:build"):
        done = call(*run_words(backbone))
        assert done.returncode == 0, done.stderr
        assert "no panels: they show labels" in done.stderr
    return place / "results"


def test_the_record(ran: Path) -> None:
    record = record_of(ran / "rgb_s14")
    assert (record["dataset"]["kind"], record["dataset"]["target"]) == ("rooms", "depth")
    assert record["dataset"]["classes"] == []
    assert record["dataset"]["ignore_index"] is None
    for score in record["scores"]:
        (metric,) = score["metrics"]
        assert (metric["name"], metric["unit"], metric["higher"]) == ("rmse", "m", False)
        assert metric["interval"]["low"] < metric["value"] < metric["interval"]["high"]
        assert not score["classes"] and not score["confusion"]
    assert not list(ran.rglob("*.panels"))


def test_the_number_is_that_of_another_implementation(ran: Path, place: Path) -> None:
    rooms = place / "cache" / "rooms-v1"
    train, val = (read(rooms, split) for split in ("train", "val"))
    patches = np.concatenate([features(image) for image, _ in train])
    means = np.concatenate([mean_depths(nearest(depth)) for _, depth in train])
    seen = ~np.isnan(means)
    ridge = Ridge(alpha=1.0).fit(patches[seen], means[seen])
    errors = [
        error(ridge.predict(features(image)), depth) for image, depth in val if (depth > 0).any()
    ]
    assert len(errors) == len(val) - 1
    (metric,) = record_of(ran / "rgb_s14")["scores"][0]["metrics"]
    assert metric["value"] == pytest.approx(np.mean(errors), abs=1e-4)


def read(rooms: Path, split: str) -> list[tuple[Image.Image, np.ndarray]]:
    names = (rooms / f"{split}.txt").read_text().split()
    return [
        (
            Image.open(rooms / f"images/{name}.png"),
            np.asarray(Image.open(rooms / f"depth/{name}.png")) / 1000,
        )
        for name in names
    ]


def features(image: Image.Image) -> np.ndarray:
    """Mean and deviation of the colour of every patch."""
    pixels = np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR)) / 255
    tiles = pixels.reshape(SIZE // PATCH, PATCH, SIZE // PATCH, PATCH, 3)
    parts = [tiles.mean(axis=(1, 3)), tiles.std(axis=(1, 3))]
    return np.concatenate(parts, axis=-1).reshape(-1, 6)


def nearest(depth: np.ndarray) -> np.ndarray:
    """To the input's size, rounding down."""
    rows, columns = (np.arange(SIZE) * side // SIZE for side in depth.shape)
    return depth[np.ix_(rows, columns)]


def mean_depths(depth: np.ndarray) -> np.ndarray:
    tiles = depth.reshape(SIZE // PATCH, PATCH, SIZE // PATCH, PATCH)
    count = (tiles > 0).sum(axis=(1, 3))
    return np.where(count > 0, tiles.sum(axis=(1, 3)) / np.maximum(count, 1), np.nan).ravel()


def error(predicted: np.ndarray, depth: np.ndarray) -> float:
    grid = predicted.reshape(SIZE // PATCH, SIZE // PATCH).astype(np.float32)
    size = depth.shape[::-1]
    whole = np.asarray(Image.fromarray(grid).resize(size, Image.Resampling.BILINEAR))
    return float(np.sqrt(np.square(whole - depth)[depth > 0].mean()))


def test_a_run_that_was_killed_gives_what_an_unbroken_one_gives(
    ran: Path, place: Path, call: Call
) -> None:
    done = call(*run_words("rgb_s14", "unbroken"), cache="other")
    assert done.returncode == 0, done.stderr
    resumed, unbroken = record_of(ran / "rgb_s14"), record_of(place / "unbroken")
    assert resumed["run_id"] == unbroken["run_id"]
    assert resumed["scores"] == unbroken["scores"]
    kept = [
        next(folder.rglob("*.evidence.npz")) for folder in (ran / "rgb_s14", place / "unbroken")
    ]
    first, second = (np.load(file) for file in kept)
    assert first.files == second.files
    assert all(np.array_equal(first[name], second[name]) for name in first.files)


def test_a_run_that_is_done_is_told_without_torch(ran: Path, call: Call) -> None:
    done = call(*run_words("rgb_s14"), code=LISTED)
    assert "already done: results/rgb_s14/depth_rooms" in done.stderr
    assert done.stdout.splitlines()[-1] == "False"
    assert "RMSE m" in done.stdout
    assert "mIoU" not in done.stdout


def test_it_is_listed_without_torch(call: Call) -> None:
    done = call("list", code=LISTED)
    assert "depth_rooms" in done.stdout
    assert done.stdout.splitlines()[-1] == "False"
    assert not done.stderr


def test_two_are_compared_and_the_smaller_error_is_the_better(ran: Path, call: Call) -> None:
    words = ["compare", "rgb_s14", "blind.py:build", "--task", TASK, "--results", str(ran)]
    shown, told = call(*words), call(*words, "--json")
    assert "RMSE: lower is better" in shown.stdout
    assert "mIoU" not in shown.stdout
    found = json.loads(told.stdout)
    assert found["metric"]["higher"] is False
    assert found["first"]["rmse"] < found["second"]["rmse"]
    assert found["difference"] == found["first"]["rmse"] - found["second"]["rmse"]
    assert found["p"] < 0.01


@pytest.fixture(scope="module")
def board(ran: Path, place: Path, call: Call) -> Callable[[str], str]:
    """The text of each format."""
    files = {"csv": "board.csv", "latex": "board.tex", "html": "board.html", "out": "BOARD.md"}
    words = [word for kind, file in files.items() for word in (f"--{kind}", file)]
    done = call("leaderboard", "--results", str(ran), "--model-index", "rgb_s14", *words)
    assert done.returncode == 0, done.stderr
    read = {kind: (place / file).read_text() for kind, file in files.items()}
    return {**read, "index": done.stdout}.__getitem__


def test_the_table_for_programs(board: Callable[[str], str]) -> None:
    rows = list(csv.DictReader(io.StringIO(board("csv"))))
    assert [row["backbone"] for row in rows] == ["rgb_s14", "blind.py:build"]
    assert [(row["metric"], row["unit"], row["better"]) for row in rows] == [
        ("rmse", "m", "lower")
    ] * 2
    assert [(row["better_than"], row["worse_than"]) for row in rows] == [("1", "0"), ("0", "1")]
    assert float(rows[0]["rmse"]) < float(rows[1]["rmse"])


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("out", ["RMSE in m, lower is better", "| RMSE (m) |", "1 / 0"]),
        ("latex", ["RMSE in m, lower is better", r"rgb\_s14 & \textbf{0.7"]),
        ("html", ["RMSE", '"rmse"']),
        ("index", ["type: rmse", "name: RMSE, m", "type: rooms", "better_than: 1"]),
    ],
)
def test_every_format(board: Callable[[str], str], kind: str, told: list[str]) -> None:
    text = board(kind)
    assert not [words for words in told if words not in text]
    if kind != "html":  # whose code speaks of both
        assert "mIoU" not in text
        assert text.find("rgb_s14") < (text.find("blind") if "blind" in text else len(text))


BAD = [
    ("depth_ridge", "in_context", "protocol 'in_context' learns labels, and dataset kind"),
    ('"rooms"', '"rooms"\nmetre = 0.01', "'dataset.metre' (did you mean 'metres'?)"),
    ('"rooms"', '"rooms"\nmetres = -1', "key 'dataset.metres'"),
    ('"rooms"', '"rooms"\nclasses = ["a"]', "'dataset.classes' has no meaning"),
    ('"rooms"', '"room"', "(did you mean 'rooms'?)"),
    ("depth_ridge", "depth_rige", "(did you mean 'depth_ridge'?)"),
    ("penalty = 1.0", "penalti = 1.0", "(did you mean 'penalty'?)"),
]
REFUSED = """
import sys
from densebench.host.errors import DensebenchError
from densebench.api import evaluate_run
from densebench.run.options import RunOptions
for card in sys.argv[1:]:
    try:
        evaluate_run(RunOptions("rgb_s14", card, device="cpu"))
    except DensebenchError as error:
        print(error)
"""


def test_what_does_not_fit_is_told_in_one_line(place: Path, call: Call) -> None:
    text = (PACKAGE / "densebench_depth/tasks/depth_rooms.toml").read_text()
    for number, (old, new, _) in enumerate(BAD):
        assert old in text
        (place / f"bad{number}.toml").write_text(text.replace(old, new))
    done = call(*[f"bad{number}.toml" for number in range(len(BAD))], code=REFUSED)
    lines = done.stdout.splitlines()
    assert len(lines) == len(BAD), done.stderr
    for line, (_, _, told) in zip(lines, BAD, strict=True):
        assert told in line


def test_nothing_of_it_is_in_the_package() -> None:
    code = [f.read_text() for f in Path(densebench.__file__).parent.rglob("*.py")]
    own = ("densebench_depth", "depth_ridge", "rooms-v1", "Ridge")
    assert not [text for text in code if any(word in text for word in own)]
