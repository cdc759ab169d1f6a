"""How near a run comes to what this machine can do: products, decoder and backbone alone.

A run of in-context retrieval on the drawn scenes must decode its pictures, run the backbone on
them, and multiply queries with the memory. Each of these is measured by itself, before and after
the run, at its best: the search at the rate of the fastest product of large matrices. Their sum is
what no pipeline without overlap can beat; the rest of the run's time went into everything else.
Where the published code is installed, it does the same on the same pictures, both in turn.

python benchmarks/limits.py [BACKBONE]
"""

import io
import sys
import tempfile
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import timm
import torch
from jaxtyping import Float
from PIL import Image
from published import PEER, published_seconds
from timing import alternating, recorded
from torch import Tensor, nn

from densebench.backbones import DenseBackbone, load_backbone
from densebench.cards import find_task
from densebench.datasets import Split, load_dataset
from densebench.host.device import pick_device
from densebench.run.execute import evaluate
from densebench.run.options import RunOptions

TASK, INPUT, BATCH, REPEATS, PRODUCT = "scenes_incontext", 224, 16, 4, 2048
TIMM = "vit_small_patch16_224"


class Untrained(nn.Module):
    """A ViT-S/16 whose weights nothing has trained: as fast as any other."""

    patch_size, embed_dim = 16, 384

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.model = timm.create_model(TIMM, num_classes=0)

    def forward(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b h w d"]:
        """Patch tokens of the last layer."""
        side = images.shape[-1] // self.patch_size
        tokens: Tensor = self.model.forward_features(images)  # type: ignore[operator]
        return tokens[:, 1:].unflatten(1, (side, side))


def build() -> nn.Module:
    """Of this file as a plug-in."""
    return Untrained()


def main(backbone: str = f"{__file__}:build") -> None:
    device = pick_device("auto")
    model = load_backbone(backbone, image_size=INPUT, device=str(device))
    found = find_task(TASK)
    data = load_dataset(found.card.dataset, card_path=found.file)
    n_train, n_val = len(data.train), len(data.val)
    patches = (INPUT // model.patch_size) ** 2
    search = 2 * (n_val * patches) * (n_train * patches) * model.embed_dim

    def alone() -> dict[str, float]:
        decoder, forward = _decoding(data.train), _forward(model, device)
        images = n_train + n_val
        product = search / _product_rate(device)
        return {"decoder": images * decoder, "backbone": images * forward, "search": product}

    before = alone()
    took, theirs = float("inf"), float("inf")
    installed = find_spec(PEER) is not None
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(2 if installed else 1):
            options = RunOptions(backbone, TASK, cache="off", results=Path(folder, str(turn)))
            record, _ = evaluate(options)
            took = min(took, record.seconds["fit"] + record.seconds["predict"])
            if installed:
                theirs = min(theirs, published_seconds(data, model, device, INPUT, BATCH))
    least = {name: min(before[name], seconds) for name, seconds in alone().items()}
    rate = search / least["search"] / 1e9
    print(f"products of {PRODUCT} x {PRODUCT}: {rate:.0f} GFLOP/s on {record.device}")
    print(f"{Path(model.name).name}, {n_train} + {n_val} pictures of {INPUT} pixels")
    for name, seconds in least.items():
        print(f"{name:<10} alone {seconds:>8.2f} s")
    print(f"{'a run':<16} {took:>8.2f} s: {sum(least.values()) / took:.0%} of it must be done")
    if installed:
        print(f"the published code takes {theirs:.2f} s, {theirs / took:.2f} times as long")
    else:
        print(f"the published code ({PEER}) is not installed: no ratio to it")


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
