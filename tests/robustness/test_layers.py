"""Layers that no backbone has, on the command line and in cards."""

from collections.abc import Callable
from pathlib import Path

import pytest

BLOCKS = """
import torch

class Net(torch.nn.Module):
    patch_size, embed_dim = 14, 4

    def __init__(self):
        super().__init__()
        self.proj = torch.nn.Conv2d(3, 4, 14, stride=14)
        self.blocks = torch.nn.ModuleList(torch.nn.Identity() for _ in range(3))

    def forward(self, images):
        x = self.proj(images).permute(0, 2, 3, 1)
        for block in self.blocks:
            x = block(x)
        return x

def make():
    torch.manual_seed(0)
    return Net()
"""
CARD = """
name = "mine"
source = "python"
id = "blocks.py:make"
patch_size = 14
embed_dim = 4
layers = {layers}
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.5, 0.5]
position_embedding = "none"
license = "none"
training_data = "none"
"""
COMMANDS = {
    "run": "run --task data/retrieval.toml --results new --cache off --backbone",
    "extract": "extract --image good.png --size 28 --out out.npz --backbone",
    "layers": "layers --task data/retrieval.toml --results new --backbone",
    "ladder": "ladder --dataset camvid --results new --dry-run --backbone",
}
VALUES = [
    "3",
    "-1",
    "0,0",
    "2,1",
    "",
    ",",
    "all,1",
    "0.5",
    "nan",
    "9" * 30,
    "\u0661",
    "1\n2",
    "[0]",
]
IN_CARDS = [
    "[3]",
    "[]",
    "[-1]",
    "[0, 0]",
    "[2, 1]",
    "[0.5]",
    "[true]",
    "'0'",
    "{}",
    "[" + "9" * 12 + "]",
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: value[:6])
@pytest.mark.parametrize("command", COMMANDS)
def test_no_layers(attempt: Callable, place: Path, command: str, value: str) -> None:
    (place / "blocks.py").write_text(BLOCKS)
    fine = command == "ladder" and value == "3"  # which loads no backbone to be shown
    words = COMMANDS[command].split()
    attempt(*words, "blocks.py:make", "--layers", value, may_work=fine, unwanted=("new", "out.npz"))


@pytest.mark.parametrize("layers", IN_CARDS)
@pytest.mark.parametrize("command", ["run", "extract", "show"])
def test_no_layers_of_a_card(attempt: Callable, place: Path, command: str, layers: str) -> None:
    (place / "blocks.py").write_text(BLOCKS)
    (place / "mine.toml").write_text(CARD.format(layers=layers))
    words = COMMANDS.get(command, "show").split()
    fine = command == "show" and layers == "[3]"  # how many there are is not known yet
    attempt(*words, "mine.toml", may_work=fine, unwanted=("new", "out.npz"))
