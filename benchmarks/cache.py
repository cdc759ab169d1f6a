"""Milliseconds an image of a pass over a split: without cache, with an empty one, with a whole one.

Backbone and images are those of `limits.py`; the three take turns, `cold` each time with a new
folder. `forward` is the backbone alone on batches of the same size, and its share is told where it
is run. The second time is of the processor, in this process: where a machine is shared it is the
steadier one, but does not see what waits for a disk. The last line is what one process can write,
with checksums and up to the disk.

python benchmarks/cache.py [IMAGES] [fp32|fp16] [VOC2012 WEIGHTS]
"""

import shutil
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
import torch
from subject import BATCH, INPUT, loaded, options_of
from timing import alternating, recorded

from densebench.backbones import DenseBackbone
from densebench.datasets import Split
from densebench.datasets.transforms import Squash
from densebench.features.cache import FeatureCache
from densebench.features.source import PatchSource

REPEATS, LIMIT = 2, 10**11


def main(count: str = "64", mode: str = "fp32", voc: str = "", weights: str = "") -> None:
    images = int(count)
    model, data, device = loaded(options_of(voc, weights))
    split = data.train.subset(data.train.names[:images])
    dtype = "float16" if mode == "fp16" else "float32"
    with tempfile.TemporaryDirectory() as folder:
        warm = FeatureCache(Path(folder) / "warm", LIMIT, dtype)
        cold = FeatureCache(Path(folder) / "cold", LIMIT, dtype)
        go = partial(_go, model, split, device)
        go(warm)
        contenders: dict[str, Callable[[], None]] = {
            "forward": partial(_forward, model, device, images),
            "off": partial(go, None),
            "cold": partial(_cold, go, cold),
            "warm": partial(go, warm),
        }
        times = alternating(contenders, REPEATS)
        work = alternating(contenders, REPEATS, process_time)
        kept = sum(entry.n_bytes for entry in warm.entries()) / images
        rate = _writing_rate(Path(folder) / "written", dtype)
    print(
        f"{Path(model.name).name}, {images} images of {INPUT} pixels, "
        f"{mode}, {kept / 1e6:.2f} MB each"
    )
    for name, seconds in times.items():
        columns = (
            f"{1000 * seconds / images:>8.2f} ms an image {1000 * work[name] / images:>8.2f} ms"
        )
        share = f"forward is {times['forward'] / seconds:.0%}, {work['forward'] / work[name]:.0%}"
        told = f"{times['off'] / seconds:.0f} x as fast as off" if name == "warm" else share
        print(f"{name:<8} {columns} of this process, {told}")
    print(f"writing  {rate / 1e6:>8.0f} MB/s, {1000 * kept / rate:.2f} ms an image")


def _cold(go: Callable[[FeatureCache], None], cache: FeatureCache) -> None:
    shutil.rmtree(cache.folder, ignore_errors=True)
    go(cache)


def _writing_rate(folder: Path, dtype: str) -> float:
    """Bytes a second that go into an entry, block by block."""
    block, blocks = np.random.default_rng(0).random((BATCH, 37, 37, 384), np.float32), 8
    sizes = (BATCH * blocks, *block.shape[1:]), (BATCH * blocks, 1, 1)
    masks, spec = np.zeros((BATCH, 1, 1), np.uint8), {"view": {"transform": "none", "size": 0}}
    start = perf_counter()
    with FeatureCache(folder, LIMIT, dtype).open(spec, *sizes) as entry:
        assert entry is not None
        for number in range(blocks):
            entry.write(number * BATCH, block, masks)
            entry.commit((number + 1) * BATCH)
    written = sum(kept.n_bytes for kept in FeatureCache(folder, LIMIT).entries())
    return written / (perf_counter() - start)


def _go(
    model: DenseBackbone, split: Split, device: torch.device, cache: FeatureCache | None
) -> None:
    view = Squash(INPUT, model.mean, model.std)
    for _ in PatchSource(split, model, device, BATCH, cache=cache).batches(view):
        pass


@torch.inference_mode()
def _forward(model: DenseBackbone, device: torch.device, images: int) -> None:
    batch = torch.randn(BATCH, 3, INPUT, INPUT, device=device)
    for start in range(0, images, BATCH):
        model(batch[: images - start])


if __name__ == "__main__":
    with recorded("cache", __doc__):
        main(*sys.argv[1:])
