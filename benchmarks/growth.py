"""Peak memory and time of each protocol as the images grow: once, 4 and 16 times as many.

Each run is a process of its own, of `rgb_s14` without feature cache, so that what grows is the
protocol's. Photographs (drawn pictures where no folder of them is given) are made small and
repeated under other names. Memory is the resident set's peak, less that of the smallest run in
`grown`; `planned` is what the run said before its work, and the last line says how far it was from
the peak at most: a fifth is allowed. Without bound only the training images grow: with the queries
as well, an exact search is quadratic.

python benchmarks/growth.py [FOLDER OF PHOTOGRAPHS]
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

import numpy as np
from PIL import Image
from timing import recorded

from densebench.host.memory import peak_rss
from densebench.host.watcher import Watcher
from densebench.run.execute import evaluate
from densebench.run.options import RunOptions

BASE, FACTORS, SIZE, INPUT, PHOTOGRAPHS = 32, (1, 4, 16), (240, 180), 224, 16
ALLOWED = 0.2
CLASSES = tuple("abcdefgh")
PROTOCOLS = {
    "in_context, bounded": ("in_context", "memory_size = 4096\nn_neighbours = 30"),
    "in_context, unbounded": ("in_context", 'memory_size = "unbounded"\nn_neighbours = 30'),
    "linear": ("linear", "epochs = 2\nbatch_size = 16\nmask_size = 100\ndrop_at = 1"),
    "knn, unbounded": ("knn", 'ks = [10]\ndistances = ["cosine"]'),
    "overclustering": ("overclustering", "K = 20\npca_dim = 4\nseeds = 1\nniter = 10\nnredo = 1"),
}


def main(photographs: str = "") -> None:
    print(f"{BASE} training and {BASE} validation images and their multiples")
    columns = "".join(f" {c:>9}" for c in ("time", "an image", "peak", "grown", "planned"))
    print(f"{'':<22} {'images':>6}{columns}")
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        _write_pictures(data, photographs)
        farthest = 0.0
        for name in PROTOCOLS:
            smallest = 0
            for factor in FACTORS:
                seconds, peak, planned = _apart(data, name, factor)
                smallest = smallest or peak
                count = BASE * factor
                farthest = max(farthest, abs(planned / peak - 1))
                print(
                    f"{name:<22} {count:>6} {seconds:>7.1f} s {1000 * seconds / count:>6.1f} ms"
                    f" {_mb(peak)} {_mb(peak - smallest)} {planned / peak - 1:>+9.0%}",
                    flush=True,
                )
    told = "within" if farthest <= ALLOWED else "NOT within"
    print(f"a plan is {farthest:.0%} from the peak at most, {told} {ALLOWED:.0%}")


def _apart(data: Path, name: str, factor: int) -> tuple[float, int, int]:
    """Seconds, peak and planned bytes of one run in a process of its own."""
    card = _write_card(data, name, factor)
    command = [sys.executable, __file__, "one", str(card)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, peak, planned = json.loads(done.stdout.splitlines()[-1])
    return seconds, peak, planned


class _Planned(Watcher):
    """Hears how much the run will take."""

    gigabytes = 0.0

    def say(self, line: str) -> None:
        if line.startswith("memory: about "):
            number, unit, *_ = line.removeprefix("memory: about ").split()
            self.gigabytes = float(number) / {"GB": 1, "MB": 1000}[unit]


def _one(card: str) -> None:
    heard, start = _Planned(), perf_counter()
    with tempfile.TemporaryDirectory() as results:
        options = RunOptions("rgb_s14", card, cache="off", results=Path(results))
        evaluate(options, heard)
    print(json.dumps([perf_counter() - start, peak_rss(), heard.gigabytes * 1e9]))


def _write_card(data: Path, name: str, factor: int) -> Path:
    protocol, params = PROTOCOLS[name]
    growing = BASE * factor
    counts = {"train": growing, "val": BASE if "unbounded" in name else growing}
    for split, count in counts.items():
        (data / f"{split}.txt").write_text("\n".join(f"{split}{i:05d}" for i in range(count)))
    card = data / "task.toml"
    card.write_text(
        f'name = "growth"\ndescription = "growth"\nprotocol = "{protocol}"\n[dataset]\n'
        'kind = "folder"\nroot = "."\nimages = "images"\nmasks = "masks"\ntrain = "train.txt"\n'
        f'val = "val.txt"\nclasses = {json.dumps(CLASSES)}\n[params]\n'
        f"input_size = {INPUT}\n{params}\n"
    )
    return card


def _write_pictures(data: Path, photographs: str) -> None:
    for kind in ("images", "masks"):
        (data / kind).mkdir()
    pictures = list(_photographs(Path(photographs)) if photographs else _drawn())
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for number in range(BASE * max(FACTORS)):
            name, which = f"{split}{number:05d}", number % len(pictures)
            image, mask = (
                data / kind / f"{name}.{e}" for kind, e in (("images", "jpg"), ("masks", "png"))
            )
            if number < len(pictures):
                pictures[which].save(image, quality=90)
                blocks = rng.integers(0, len(CLASSES), (6, 8)).repeat(30, 0).repeat(30, 1)
                Image.fromarray(blocks.astype(np.uint8)).save(mask)
            else:
                image.hardlink_to(data / f"images/{split}{which:05d}.jpg")
                mask.hardlink_to(data / f"masks/{split}{which:05d}.png")


def _photographs(folder: Path) -> Iterator[Image.Image]:
    files = sorted(f for f in folder.iterdir() if f.suffix.lower() in {".jpg", ".jpeg", ".png"})
    for file in files[:PHOTOGRAPHS]:
        with Image.open(file) as picture:
            yield picture.convert("RGB").resize(SIZE)


def _drawn() -> Iterator[Image.Image]:
    rng = np.random.default_rng(1)
    for _ in range(PHOTOGRAPHS):
        coarse = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        yield Image.fromarray(coarse).resize(SIZE, Image.Resampling.BICUBIC)


def _mb(n_bytes: int) -> str:
    return f"{n_bytes / 2**20:>5.0f} MiB"


if __name__ == "__main__":
    if sys.argv[1:2] == ["one"]:
        _one(sys.argv[2])
    else:
        with recorded("growth", __doc__):
            main(*sys.argv[1:])
