"""Peak memory and time of each protocol as the images grow: once, 4 and 16 times as many.

Each run is a process of its own, of `rgb_s14` without feature cache, so that what grows is the
protocol's; those that keep rows are measured with the wider `hog_s14` as well. Photographs (drawn
pictures where no folder of them is given) are made small and repeated under other names. Memory is
the resident set's peak, less that of the smallest run in `grown`; the plan is what the run said
before its work: how far it was from the peak, and how much of it grew. The last line says how far
a plan was from the peak at most: a fifth is allowed. Where each query goes through all rows, only
the training images grow: with the queries as well, an exact search is quadratic.

python benchmarks/growth.py [FOLDER OF PHOTOGRAPHS]
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from PIL import Image
from timing import recorded
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from densebench.backbones import load_backbone
from densebench.host.memory import peak_rss
from densebench.host.watcher import Watcher
from densebench.run.execute import evaluate
from densebench.run.options import RunOptions

BASE, FACTORS, SIZE, INPUT, PHOTOGRAPHS = 16, (1, 4, 16), (240, 180), 224, 16
ALLOWED = 0.2
CLASSES = tuple("abcdefgh")
KINDS = {"images": "jpg", "masks": "png", "depth": "png"}


class Case(NamedTuple):
    """A protocol with its parameters, and the backbone whose features it is given."""

    protocol: str
    params: str
    backbone: str = "rgb_s14"
    only_training_grows: bool = False
    shows_depth: bool = False


ATTENDS = f"{__file__}:build"
UNBOUNDED = 'memory_size = "unbounded"\nn_neighbours = 30'
KNN = 'ks = [10]\ndistances = ["cosine"]'
CBFE = 'background = ["a"]\nK = 20\npca_dim = 4\nniter = 10\nnredo = 1\nobject_seeds = 1\n'
CASES = {
    "in_context, bounded": Case("in_context", "memory_size = 4096\nn_neighbours = 30"),
    "in_context, unbounded": Case("in_context", UNBOUNDED, only_training_grows=True),
    "in_context, hog_s14": Case("in_context", UNBOUNDED, "hog_s14", only_training_grows=True),
    "linear": Case("linear", "epochs = 2\nbatch_size = 16\nmask_size = 100\ndrop_at = 1"),
    "overclustering": Case(
        "overclustering", "K = 20\npca_dim = 4\nseeds = 1\nniter = 10\nnredo = 1"
    ),
    "knn": Case("knn", KNN, only_training_grows=True),
    "knn, hog_s14": Case("knn", KNN, "hog_s14", only_training_grows=True),
    "logreg": Case("logreg", "C = [1.0]"),
    "logreg, hog_s14": Case("logreg", "C = [1.0]", "hog_s14"),
    "sliding_linear": Case(
        "sliding_linear",
        "image_size = 224\nsteps = 20\nwarmup = 2\nbatch_size = 8\nvalidations = 1",
    ),
    "attention_jaccard": Case("attention_jaccard", 'background = ["a"]', ATTENDS),
    "cbfe": Case("cbfe", f"{CBFE}communities = false", ATTENDS),
    "depth_linear": Case(
        "depth_linear",
        "crop = 168\ntrain_box = 'full'\neval_box = 'full'\nsteps = 20\nwarmup_steps = 2",
        shows_depth=True,
    ),
    "depth_in_context": Case(
        "depth_in_context", UNBOUNDED, only_training_grows=True, shows_depth=True
    ),
}


class Attending(nn.Module):
    """`rgb_s14` that offers an attention, of two heads, which it has not itself."""

    patch_size = 14

    def __init__(self) -> None:
        super().__init__()
        self.rgb = load_backbone("rgb_s14")
        self.embed_dim = self.rgb.embed_dim

    def forward(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b h w d"]:
        """The other's features."""
        found: Tensor = self.rgb(images)
        return found

    def attention(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b 2 h w"]:
        """Bright patches are attended to."""
        return avg_pool2d(images, self.patch_size)[:, :2].exp()


def build() -> nn.Module:
    """Of this file as a plug-in."""
    return Attending()


def main(photographs: str = "") -> None:
    print(f"{BASE} training and {BASE} validation images and their multiples")
    names = ("time", "an image", "peak", "grown", "planned", "to grow")
    columns = "".join(f" {name:>9}" for name in names)
    print(f"{'':<22} {'images':>6}{columns}")
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        _write_pictures(data, photographs)
        farthest = max(_grown(data, name, case) for name, case in CASES.items())
    told = "within" if farthest <= ALLOWED else "NOT within"
    print(f"a plan is {farthest:.0%} from the peak at most, {told} {ALLOWED:.0%}")


def _grown(data: Path, name: str, case: Case) -> float:
    """Print how a case grows; the largest share of a peak by which its plan was wrong."""
    least, farthest = (0, 0), 0.0
    for factor in FACTORS:
        seconds, peak, planned = measured(data, case, BASE * factor)
        least, off = least if factor > 1 else (peak, planned), planned / peak - 1
        farthest, count = max(farthest, abs(off)), BASE * factor
        print(
            f"{name:<22} {count:>6} {seconds:>7.1f} s {1000 * seconds / count:>6.1f} ms"
            f" {_mb(peak)} {_mb(peak - least[0])} {off:>+9.0%} {_mb(planned - least[1])}",
            flush=True,
        )
    return farthest


def measured(data: Path, case: Case, images: int) -> tuple[float, int, int]:
    """Seconds, peak and planned bytes of one run in a process of its own."""
    card = _write_card(data, case, images)
    command = [sys.executable, __file__, "one", case.backbone, str(card)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    seconds, peak, planned = json.loads(done.stdout.splitlines()[-1])
    return seconds, peak, planned


class _Planned(Watcher):
    """Hears how much the run will take."""

    gigabytes = 0.0

    def say(self, line: str) -> None:
        if line.startswith("memory: about "):
            number, unit, *_ = line.removeprefix("memory: about ").split()
            self.gigabytes = float(number) / {"GB": 1, "MB": 1000}[unit]


def _one(backbone: str, card: str) -> None:
    heard, start = _Planned(), perf_counter()
    with tempfile.TemporaryDirectory() as results:
        options = RunOptions(backbone, card, cache="off", results=Path(results))
        evaluate(options, heard)
    print(json.dumps([perf_counter() - start, peak_rss(), heard.gigabytes * 1e9]))


def _write_card(data: Path, case: Case, images: int) -> Path:
    counts = {"train": images, "val": BASE if case.only_training_grows else images}
    for split, count in counts.items():
        (data / f"{split}.txt").write_text("\n".join(f"{split}{i:05d}" for i in range(count)))
    kind, masks, classes = "folder", "masks", f"classes = {json.dumps(CLASSES)}\n"
    if case.shows_depth:
        kind, masks, classes = "depth_folder", "depth", ""
    card = data / "task.toml"
    card.write_text(
        f'name = "growth"\ndescription = "growth"\nprotocol = "{case.protocol}"\n[dataset]\n'
        f'kind = "{kind}"\nroot = "."\nimages = "images"\nmasks = "{masks}"\n'
        f'train = "train.txt"\nval = "val.txt"\n{classes}[params]\n'
        f"input_size = {INPUT}\n{case.params}\n"
    )
    return card


def _write_pictures(data: Path, photographs: str) -> None:
    for kind in KINDS:
        (data / kind).mkdir()
    pictures = list(_photographs(Path(photographs)) if photographs else _drawn())
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for number in range(BASE * max(FACTORS)):
            name, which = f"{split}{number:05d}", number % len(pictures)
            files = {kind: data / kind / f"{name}.{ending}" for kind, ending in KINDS.items()}
            if number < len(pictures):
                blocks = rng.integers(0, len(CLASSES), (6, 8)).repeat(30, 0).repeat(30, 1)
                pictures[which].save(files["images"], quality=90)
                Image.fromarray(blocks.astype(np.uint8)).save(files["masks"])
                Image.fromarray((1000 * (blocks + 1)).astype(np.uint16)).save(files["depth"])
            else:
                for kind, file in files.items():
                    file.hardlink_to(data / kind / f"{split}{which:05d}{file.suffix}")


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
        _one(*sys.argv[2:])
    else:
        with recorded("growth", __doc__):
            main(*sys.argv[1:])
