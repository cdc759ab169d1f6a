"""How near a run comes to what this machine can do: products, decoder and backbone alone.

A run of in-context retrieval must decode its pictures, run the backbone on them, and multiply
queries with the memory. Each of these is measured by itself, between the runs, at its best: the
search at the rate of the fastest product of large matrices. Their sum is what no pipeline without
overlap can beat; the rest of the run's time went into everything else. The whole command also
loads images and weights; what a process takes to start is told beside it. Where the published code
is installed, it does the same on the same pictures, both in turn.

python benchmarks/limits.py [VOC2012 WEIGHTS]
"""

import io
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter

import torch
from PIL import Image
from published import PEER, published_seconds
from subject import BATCH, INPUT, loaded, options_of
from timing import alternating, recorded, seconds

from densebench.backbones import DenseBackbone
from densebench.datasets import Split
from densebench.run.execute import evaluate
from densebench.run.options import RunOptions

TURNS, REPEATS, PRODUCT = 2, 3, 2048


def main(voc: str = "", weights: str = "") -> None:
    options = options_of(voc, weights)
    model, data, device = loaded(options)
    n_train, n_val = len(data.train), len(data.val)
    patches = (INPUT // model.patch_size) ** 2
    search = 2 * (n_val * patches) * (n_train * patches) * model.embed_dim
    alone: dict[str, Callable[[], float]] = {
        "decoder": lambda: (n_train + n_val) * _decoding(data.train),
        "backbone": lambda: (n_train + n_val) * _forward(model, device),
        "search": lambda: search / _product_rate(device),
    }
    rivals: dict[str, Callable[[], float]] = {}
    if find_spec(PEER) is not None:
        rivals["the published code"] = partial(published_seconds, data, model, device, INPUT, BATCH)
    least = {name: work() for name, work in alone.items()}
    took = dict.fromkeys(("the work", "the command", *rivals), float("inf"))
    for _ in range(TURNS):
        turn = {**_run(options), **{name: work() for name, work in rivals.items()}}
        took = {name: min(took[name], turn[name]) for name in took}
        least = {name: min(least[name], work()) for name, work in alone.items()}
    rate = search / least["search"] / 1e9
    print(f"products of {PRODUCT} x {PRODUCT}: {rate:.0f} GFLOP/s on {device}")
    print(f"{Path(model.name).name}, {n_train} + {n_val} pictures of {INPUT} pixels")
    for name, value in least.items():
        print(f"{name:<12} alone {value:>8.2f} s")
    must = sum(least.values())
    print(
        f"{'the work':<18} {took['the work']:>8.2f} s: {must / took['the work']:.0%} of it must be"
    )
    print(f"{'the command':<18} {took['the command']:>8.2f} s: {must / took['the command']:.0%}")
    print(f"{'to start':<18} {_start():>8.2f} s, which is not in these")
    for name in rivals:
        print(
            f"{name:<18} {took[name]:>8.2f} s: {took[name] / took['the work']:.2f} times the work"
        )
    if not rivals:
        print(f"the published code ({PEER}) is not installed: no ratio to it")


def _run(options: RunOptions) -> dict[str, float]:
    """Seconds of learning and predicting, and of all that a command does in its process."""
    with tempfile.TemporaryDirectory() as folder:
        start = perf_counter()
        record, _ = evaluate(replace(options, results=Path(folder)))
        whole = perf_counter() - start
    return {"the work": record.seconds["fit"] + record.seconds["predict"], "the command": whole}


def _start() -> float:
    """Seconds until a process has imported what a run needs."""
    program = [sys.executable, "-c", "import densebench.run.execute"]
    return seconds(partial(subprocess.run, program, check=True))


def _product_rate(device: torch.device) -> float:
    """Floating-point operations a second, in float32."""
    a, b = torch.randn(2, PRODUCT, PRODUCT, device=device)
    return 2 * PRODUCT**3 / alternating({"": partial(torch.mm, a, b)}, REPEATS)[""]


def _decoding(split: Split) -> float:
    """Seconds a picture, from bytes in memory to pixels."""
    files = [Path(file).read_bytes() for file in split.image_files[:BATCH]]
    return alternating({"": partial(_decode, files)}, REPEATS)[""] / len(files)


def _decode(files: list[bytes]) -> None:
    for data in files:
        with Image.open(io.BytesIO(data)) as picture:
            picture.load()


@torch.inference_mode()
def _forward(model: DenseBackbone, device: torch.device) -> float:
    """Seconds an image, in batches as a run has them."""
    images = torch.randn(BATCH, 3, INPUT, INPUT, device=device)
    return alternating({"": partial(model, images)}, REPEATS)[""] / BATCH


if __name__ == "__main__":
    with recorded("limits", __doc__):
        main(*sys.argv[1:])
