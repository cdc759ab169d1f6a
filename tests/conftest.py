"""What the tests share: golden arrays of the published code, and the real data where present."""

import os

# Before numpy and torch, and for every process that a test starts: workers share the cores.
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))

import copy
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from densebench.host.distributed import World
from densebench.host.watcher import Watcher

GOLDEN = Path(__file__).parent / "golden"
MOST_WORKERS = 8
SHARED = Path(__file__).parents[2] / "shared"

# Cards are listed while tests are collected, before any fixture; not the user's own.
os.environ["DENSEBENCH_HOME"] = os.devnull


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """A worker for each core that this process may use; none where one file is asked for."""
    if len(config.args) == 1 and ".py" in config.args[0]:
        config.option.dist = "no"
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(MOST_WORKERS, cores or 1)


class Ear(Watcher):
    """Keeps what is told: lines, statuses, and how many units of which phase."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.statuses: list[str] = []
        self.counted: list[tuple[str, int]] = []

    def say(self, line: str) -> None:
        self.lines.append(line)

    def status(self, text: str) -> None:
        self.statuses.append(text)

    def advance(self, phase: str, done: int) -> None:
        self.counted.append((phase, done))


@pytest.fixture
def ear() -> Ear:
    return Ear()


class GoldenArrays(dict[str, np.ndarray]):
    """Arrays of the published code by key; says which keys are read, where that is asked for.

    Only ``arrays[key]`` is a read: what goes over the arrays in bulk checks nothing by itself.
    """

    def __init__(self, path: Path) -> None:
        with np.load(path) as arrays:
            super().__init__(arrays)
        self._name = path.stem

    def __getitem__(self, key: str) -> np.ndarray:
        array = super().__getitem__(key)
        if kept := os.environ.get("GOLDEN_READS"):
            with Path(kept).open("a", encoding="utf-8") as file:
                file.write(f"{self._name}\t{key}\n")
        return array


@pytest.fixture(scope="session")
def open_golden() -> Callable[[Path], GoldenArrays]:
    """Opens a file of golden arrays; a test is skipped where the file is not here."""

    def load(path: Path) -> GoldenArrays:
        if not path.exists():
            pytest.skip(f"golden arrays {path.name} are not here")
        return GoldenArrays(path)

    return load


@pytest.fixture(scope="session")
def golden(open_golden: Callable[[Path], GoldenArrays]) -> Callable[[str], GoldenArrays]:
    """Arrays that the published implementations computed, by the name of their file."""

    def load(name: str) -> GoldenArrays:
        kept = GOLDEN / f"{name}.npz"
        return open_golden(kept if kept.exists() else SHARED / "goldens" / f"{name}.npz")

    return load


@pytest.fixture(scope="session")
def full_golden(open_golden: Callable[[Path], GoldenArrays]) -> Callable[[str], GoldenArrays]:
    """The same, where it is complete: the arrays kept with the tests are a part of some files."""
    return lambda name: open_golden(SHARED / "goldens" / f"{name}.npz")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real photographs with masks."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip("real photographs with masks (../shared/data) are not here")
    return folder


CARD = """
name = "{name}"
description = "six small pictures"
protocol = "{protocol}"

[dataset]
kind = "folder"
root = "."
images = "images"
masks = "masks"
train = "train.txt"
val = "val.txt"
classes = ["red", "green", "blue"]

[params]
input_size = 28
{params}
"""
IN_CONTEXT = """n_neighbours = 4
memory_size = "unbounded"
augmentation_epochs = 1
augment = false"""
LINEAR = """mask_size = 14
batch_size = 2
epochs = 2"""


def write_pictures(folder: Path, n_train: int, n_val: int) -> None:
    """Noisy pictures of 56x42 pixels whose masks are blocks of three classes under void rows."""
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    rng = np.random.default_rng(5)
    names = [f"picture{number:02d}" for number in range(n_train + n_val)]
    for name in names:
        mask = rng.integers(0, 3, (3, 4)).repeat(14, 0).repeat(14, 1).astype(np.uint8)
        colours = 180 * np.eye(3)[mask] + rng.normal(30, 15, (42, 56, 3))
        mask[:2] = 255
        Image.fromarray(colours.clip(0, 255).astype(np.uint8)).save(folder / f"images/{name}.png")
        Image.fromarray(mask).save(folder / f"masks/{name}.png")
    (folder / "train.txt").write_text("\n".join(names[:n_train]))
    (folder / "val.txt").write_text("\n".join(names[n_train:]))


@pytest.fixture(scope="session")
def write_dataset() -> Callable[..., Path]:
    """Writes a tiny labelled dataset with its task cards; gives the retrieval's card.

    ``linear.toml`` beside it is the linear task on the same pictures.
    """

    def write(folder: Path, n_train: int = 4, n_val: int = 2) -> Path:
        write_pictures(folder, n_train, n_val)
        tasks = (("retrieval", "in_context", IN_CONTEXT), ("linear", "linear", LINEAR))
        for name, protocol, params in tasks:
            text = CARD.format(name=f"tiny_{name}", protocol=protocol, params=params)
            (folder / f"{name}.toml").write_text(text)
        return folder / "retrieval.toml"

    return write


BLOCKS = """
import torch
from densebench.backbones import load_backbone

class Times(torch.nn.Module):
    def __init__(self, start):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.arange(1.0 * start, start + 52) % 5)

    def forward(self, x):
        return x * self.weight

class Blocks(torch.nn.Module):
    patch_size = 14

    def __init__(self):
        super().__init__()
        self.hog = load_backbone("hog_s14")
        self.embed_dim = self.hog.embed_dim
        self.blocks = torch.nn.ModuleList(Times(start) for start in (1, 2, 4))

    def forward(self, images):
        x = self.hog(images)
        for block in self.blocks:
            x = block(x)
        return x

def make():
    return Blocks()
"""


@pytest.fixture(scope="session")
def blocks(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A plug-in of three blocks, whose features do not round by the shape of a batch."""
    file = tmp_path_factory.mktemp("blocks") / "blocks.py"
    file.write_text(BLOCKS)
    return f"{file}:make"


@pytest.fixture(scope="session")
def write_depth() -> Callable[..., Path]:
    """Puts depth beside the pictures of a dataset, and a card of a protocol on it; gives the card.

    Red is 2 m away, green 4 m and blue 6 m, a little more to the right; void has no depth.
    """

    def write(folder: Path, protocol: str, params: str) -> Path:
        (folder / "depth").mkdir(exist_ok=True)
        for file in (folder / "masks").iterdir():
            mask = np.asarray(Image.open(file)).astype(int)
            metres = 2 + 2 * mask + np.linspace(0, 1, mask.shape[1])
            steps = np.where(mask == 255, 0, np.rint(1000 * metres)).astype(np.uint16)
            Image.fromarray(steps).save(folder / "depth" / file.name)
        text = CARD.format(name=f"tiny_{protocol}", protocol=protocol, params="")
        text = text.replace('"folder"', '"depth_folder"').replace('"masks"', '"depth"')
        head = text.replace('classes = ["red", "green", "blue"]\n', "").split("[params]")[0]
        (folder / f"{protocol}.toml").write_text(f"{head}[params]\n{params}")
        return folder / f"{protocol}.toml"

    return write


@pytest.fixture(scope="session")
def tiny_task(tmp_path_factory: pytest.TempPathFactory, write_dataset: Callable[..., Path]) -> Path:
    """The card of a tiny dataset that no test changes."""
    return write_dataset(tmp_path_factory.mktemp("tiny") / "data")


@pytest.fixture
def own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing of the user's: an empty working directory, its own cache, no setting."""
    for name in [name for name in os.environ if name.startswith("DENSEBENCH_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DENSEBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DENSEBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def tiny_record(
    tmp_path_factory: pytest.TempPathFactory, tiny_task: Path
) -> Any:  # a RunRecord, whose module not every test needs
    """The record of a real run on the tiny dataset, with nothing beside it."""
    from densebench.records.store import load_record, save_record
    from densebench.run.execute import evaluate
    from densebench.run.options import RunOptions

    folder = tmp_path_factory.mktemp("record")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DENSEBENCH_CACHE", str(folder / "cache"))
        options = RunOptions("rgb_s14", str(tiny_task), device="cpu", results=folder / "results")
        return load_record(save_record(evaluate(options)[0], folder / "alone"))


@pytest.fixture(scope="session")
def colour_task(
    tmp_path_factory: pytest.TempPathFactory, write_dataset: Callable[..., Path]
) -> Path:
    """The card of six training and four validation pictures, enough for a head to learn."""
    return write_dataset(tmp_path_factory.mktemp("colours") / "data", 6, 4)


@pytest.fixture(autouse=True)
def _shared_cache(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No test touches the user's cache or cards; what is made is shared by the session's tests."""
    monkeypatch.setenv("DENSEBENCH_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("DENSEBENCH_HOME", str(tmp_path_factory.getbasetemp() / "home"))
    monkeypatch.delenv("DENSEBENCH_PATH", raising=False)


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Indexes trust files that were written just now, as if they had long been there."""
    monkeypatch.setattr("densebench.files.archives.YOUNG_NS", -1)


@pytest.fixture(scope="session")
def kept_runs(
    tmp_path_factory: pytest.TempPathFactory, colour_task: Path
) -> dict[str, tuple[Any, Path]]:
    """Real runs of both baselines, with panels of two images."""
    from densebench.run.execute import evaluate
    from densebench.run.options import RunOptions

    folder = tmp_path_factory.mktemp("kept")
    return {
        name: evaluate(
            RunOptions(name, str(colour_task), device="cpu", results=folder, cache="off", panels=2)
        )
        for name in ("rgb_s14", "hog_s14")
    }


class ThreadWorld(World):
    """A process that is a thread: what is exchanged lies in one list for all of them."""

    def __init__(self, rank: int, places: list[Any], met: threading.Barrier) -> None:
        super().__init__(rank, len(places))
        object.__setattr__(self, "_places", places)
        object.__setattr__(self, "_met", met)

    def each(self, item: Any) -> list[Any]:
        self._places[self.rank] = copy.deepcopy(item)
        self._met.wait(60)
        found = copy.deepcopy(self._places)
        self._met.wait(60)
        return found

    def sum(self, tensor: Any) -> Any:
        tensor.copy_(sum(self.each(tensor)))
        return tensor

    def at_main(self, item: Any) -> list[Any]:
        found = self.each(item)
        return found if self.is_main else []

    def from_main(self, item: Any) -> Any:
        return self.each(item)[0]

    def spread(self, tensor: Any, source: int) -> None:
        tensor.copy_(self.each(tensor)[source])

    def hand_over(self, tensor: Any, source: int) -> None:
        raise NotImplementedError

    def barrier(self) -> None:
        self._met.wait(60)


@pytest.fixture
def in_threads() -> Callable[..., list[Any]]:
    """Runs work in as many threads, each of which is a process of one world; gives what each did.

    Nothing is handed from one to another alone (``reach="main"``).
    """

    def run(size: int, work: Callable[[World], Any]) -> list[Any]:
        places, met = [None] * size, threading.Barrier(size)
        worlds = [ThreadWorld(rank, places, met) for rank in range(size)]
        with ThreadPoolExecutor(size) as pool:
            return list(pool.map(work, worlds))

    return run
