"""What a run says that it will take, and what it takes: a process of its own for each protocol.

The features are so wide that what a protocol keeps of them is most of the memory.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ALLOWED, IMAGES, SIDE = 0.2, 60, 224
PLUGIN = """
import torch

class Wide(torch.nn.Module):
    patch_size = 14

    def __init__(self, width):
        super().__init__()
        self.embed_dim = width
        generator = torch.Generator().manual_seed(0)
        self.weight = torch.nn.Parameter(torch.randn(6, width, generator=generator))

    def forward(self, images):
        mean = torch.nn.functional.avg_pool2d(images, 14)
        deviation = (torch.nn.functional.avg_pool2d(images**2, 14) - mean**2).clamp(min=0).sqrt()
        return torch.cat([mean, deviation], dim=1).permute(0, 2, 3, 1) @ self.weight

def build():
    return Wide(WIDTH)
"""
PROGRAM = """
import json, sys
from pathlib import Path
from densebench.host.memory import peak_rss
from densebench.host.watcher import Watcher
from densebench.run.execute import evaluate
from densebench.run.options import RunOptions

class Heard(Watcher):
    def say(self, line):
        if line.startswith("memory: about "):
            number, unit, *_ = line.removeprefix("memory: about ").split()
            self.planned = float(number) * {"GB": 1e9, "MB": 1e6}[unit]

heard = Heard()
options = json.loads(sys.argv[1])
options["results"] = Path(options["results"])
evaluate(RunOptions(**options), heard)
print(json.dumps([heard.planned, peak_rss()]))
"""


@pytest.fixture
def wide(tmp_path: Path, write_dataset: Callable[..., Path]) -> Path:
    """The folder of many pictures."""
    folder = write_dataset(tmp_path / "data").parent
    rng = np.random.default_rng(0)
    for split, count in (("train", IMAGES), ("val", 2)):
        names = [f"{split}{number:03d}" for number in range(count)]
        (folder / f"{split}.txt").write_text("\n".join(names))
        for name in names:
            mask = rng.integers(0, 3, (4, 4), np.uint8).repeat(SIDE // 4, 0).repeat(SIDE // 4, 1)
            pixels = 60 * mask[..., None] + rng.integers(0, 60, (SIDE, SIDE, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(folder / "images" / f"{name}.png")
            Image.fromarray(mask).save(folder / "masks" / f"{name}.png")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("protocol", "params", "width"),
    [
        ("in_context", {"memory_size": "unbounded", "augmentation_epochs": 2}, 3000),
        ("knn", {"ks": [5], "distances": ["cosine"]}, 3000),
        ("knn", {"ks": [5], "distances": ["L2"], "standardisation": "RobustScaler"}, 2000),
        ("logreg", {"C": [0.1]}, 1500),
        ("overclustering", {"K": 5, "pca_dim": 4, "seeds": 1, "niter": 2, "nredo": 1}, 1000),
    ],
)
def test_the_plan_is_near_the_peak(
    protocol: str, params: dict[str, object], width: int, wide: Path, tmp_path: Path
) -> None:
    head = (wide / "linear.toml").read_text().split("[params]")[0]
    card = wide / "task.toml"
    card.write_text(f"{head.replace('linear', protocol)}[params]\ninput_size = {SIDE}\n")
    (wide / "wide.py").write_text(PLUGIN.replace("WIDTH", str(width)))
    options = {
        "backbone": f"{wide / 'wide.py'}:build",
        "task": str(card),
        "params": params,
        "results": str(tmp_path / "results"),
        "cache": "off",
        "batch_size": 2,
    }
    command = [sys.executable, "-c", PROGRAM, json.dumps(options)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    planned, peak = json.loads(done.stdout.splitlines()[-1])
    assert abs(planned / peak - 1) <= ALLOWED, (planned, peak)
