"""What Python may be given: modules of every wrong kind, options and images that are none."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from densebench.host.console import guarded

HEAD = """
import os, sys
from pathlib import Path
import numpy as np
import torch
from PIL import Image
from torch import nn
import densebench as db

class Net(nn.Module):
    patch_size = 14
    def __init__(self, layer=None):
        super().__init__()
        torch.manual_seed(0)
        self.proj = layer or nn.Conv2d(3, 4, 14, stride=14)
    def forward(self, images):
        found = self.proj(images).permute(0, 2, 3, 1)
        b, h, w, d = found.shape
        return {forward}
net = Net({layer})
"""
EVALUATE = """
db.evaluate({model}, {task}, cache="off", quiet=True{how})
"""
PLAIN = {"forward": "found", "layer": "", "model": "net", "task": "'data/retrieval.toml'"}
RESULTS = ", results='new', device='cpu'"
WRONG: dict[str, list[str]] = {
    "forward": [
        "None", "7", "[found]", "{'x': found}", "(found, found)", "found.numpy()",
        "found.permute(0, 3, 1, 2)", "found.flatten(1, 2)", "found[:, :1]", "found[:1]", "found[0]",
        "found[..., 0]", "found[None]", "found[..., :0]", "found * (1 + 0j)", "found.long()",
        "found > 0", "found * float('nan')", "found / 0", "found.to('meta')", "found.to_sparse()",
        "torch.rand(b, h, w, 4)", "found + torch.rand(1)", "1 / 0", "os._exit(0)", "sys.exit(0)",
        "exit()", "self(images)", "torch.empty(2**60)", "found.requires_grad_(False).x",
        "torch.zeros(b, h, w, 4)", "found.repeat(1, 2, 2, 1)", "found.half() * 1e5",
    ],
    "layer": [
        "nn.LazyConv2d(4, 14, stride=14)", "nn.Conv2d(3, 4, 14, stride=14, device='meta')",
        "nn.Conv2d(3, 4, 14, stride=14).half()", "nn.Conv2d(3, 4, 14, stride=14).double()",
        "nn.Conv2d(3, 4, 14, stride=14).to(torch.bfloat16)",
        "nn.Conv2d(3, 4, 14, stride=14).to(torch.complex64)", "nn.Conv2d(1, 4, 14, stride=14)",
        "nn.Conv2d(3, 4, 500, stride=14)", "nn.Linear(3, 4)", "nn.Dropout2d(0.5)",
    ],
    "model": [
        "None", "7", "[]", "Net", "lambda images: images", "'absent'", "''", "' '",
        "Path('absent')", "torch.zeros(2)", "b'rgb_s14'", "nn.Identity()", "nn.Linear(2, 2)",
        "'a\\nb'", "{}",
        "net.state_dict()", "nn.Sequential()",
    ],
    "task": ["None", "7", "'absent'", "''", "Path('.')", "b'x'", "[]", "'data'", "'good.png'"],
    "how": [
        f", {key}={value}"
        for key, values in {
            "patch_size": ["0", "-1", "14.0", "True", "'14'", "10**30", "7", "28", "[14]"],
            "layout": ["'x'", "7", "'BND'", "'BDhw'", "[]"],
            "prefix_tokens": ["-1", "1", "1.5", "10**9", "'1'", "None", "[]"],
            "mean": ["0", "(0,)", "'abc'", "(float('nan'), 0, 0)", "[None] * 3", "torch.rand(2)"],
            "std": ["0", "(0, 1, 1)", "(-1, 1, 1)", "(float('inf'), 1, 1)", "[]"],
            "name": ["''", "7", "'a\\nb'", "'x' * 5000", "'../x'", "'a\\x7f'", "b'x'", "' '"],
            "limit": ["-1", "0", "1.5", "'1'", "10**30", "True", "[1]"],
            "seed": ["-1", "1.5", "'1'", "10**30", "None", "float('nan')", "True"],
            "batch_size": ["0", "-1", "1.5", "'1'", "10**30", "None"],
            "workers": ["-1", "1.5", "'x'", "10**30"],
            "panels": ["-1", "1.5", "None", "'x'"],
            "params": ["None", "7", "'x'", "[('x', 1)]", "{1: 2}", "{'n_neighbours': 'x'}"],
            "variant": ["None", "7", "'x'", "''"],
            "subset": ["7", "'x'", "''", "'own:1/0'"],
            "precision": ["None", "7", "'fp8'", "[]"],
            "cached": ["True"],
            "layers": ["[0]", "'x'", "[]", "[-1]", "1.5", "True", "{}", "[0, 0]", "np.arange(2)"],
            "overwrite": ["'yes'", "7", "None"],
            "data_root": ["7", "'absent'", "b'x'", "[]"],
            "train_list": ["7", "'absent.txt'", "Path('data')"],
            "weights": ["'absent'", "7", "net"],
        }.items()
        for value in values
    ],
    "place": [
        f", {key}={value}"
        for key, values in {
            "results": ["7", "None", "'good.png'", "'/dev/null'", "b'x'", "'/proc/x'", "[]"],
            "device": ["7", "None", "'x'", "''", "'cuda:99'", "'meta'"],
        }.items()
        for value in values
    ],
}  # fmt: skip
CALLS = [(what, value) for what, values in WRONG.items() for value in values]
# What is odd, and right as it is.
FINE = {
    "torch.zeros(b, h, w, 4)", "'data'", ", name='../x'", ", name='x' * 5000", ", limit=10**30",
    ", batch_size=10**30", ", patch_size=28", ", data_root='absent'", ", subset='own:1/0'",
}  # fmt: skip


def run_by(code: str) -> Callable[[], None]:
    """Done as a command is, in its place."""
    return lambda: guarded(lambda: exec(code, {"__name__": "__main__"}))


def judged(done: Any, place: Path, may_work: bool) -> None:
    assert not done.fault, f"{done.fault}: {done.out}\n{done.err}"
    assert may_work or done.code == 2, f"accepted: {done.out}\n{done.err}"
    records = list((place / "new").rglob("*.json"))
    assert done.code == 0 or not records
    assert not list(place.rglob("*.part"))


@pytest.mark.parametrize(("what", "value"), CALLS, ids=[f"{w}-{v[:40]!a}" for w, v in CALLS])
def test_evaluate(going: type, place: Path, what: str, value: str) -> None:
    texts = {**PLAIN, "how": RESULTS}
    if what == "place":
        key = value.partition("=")[0]
        rest = [part for part in RESULTS.split(", ") if part and not f", {part}".startswith(key)]
        texts["how"] = ", ".join(["", *rest]) + value
    else:
        texts[what] = RESULTS + value if what == "how" else value
    code = HEAD.replace("{forward}", texts["forward"]).replace("{layer}", texts["layer"])
    done = going(place, [], first=run_by(code + EVALUATE.format(**texts))).ended()
    judged(done, place, value in FINE)


IMAGES = [
    "None", "7", "[]", "()", "''", "'absent'", "'net.py'", "'data/masks.txt'", "b'x'", "{}",
    "np.zeros((28, 28, 3))", "np.zeros((28, 28), np.uint8)", "np.zeros((0, 28, 3), np.uint8)",
    "np.zeros((28, 28, 4), np.uint8)", "np.zeros((2, 28, 28, 3), np.float32)",
    "np.zeros((1, 1, 1, 28, 28), np.uint8)", "np.array(['x'])", "torch.zeros(3, 28, 28)",
    "Image.new('F', (28, 28))", "Image.new('I', (28, 28))", "Image.new('RGB', (0, 5))",
    "[None]", "['good.png', 7]", "[[]]", "Path('data')", "'/dev/zero'", "'pipe'",
]  # fmt: skip
SIZES = [
    "0",
    "-1",
    "28.5",
    "29",
    "'28'",
    "None",
    "10**30",
    "14 * 10**9",
    "True",
    "[28]",
    "(28, 28)",
]
HOWS = ["batch_size=0", "batch_size=-1", "batch_size='x'", "device='x'", "device=7", "patch_size=0",
        "layout='x'", "prefix_tokens=-1", "wrong=1", "std=(0, 0, 0)"]  # fmt: skip
ASKED = [
    *(("images", f"{value}, 28") for value in IMAGES),
    *(("size", f"'good.png', {value}") for value in SIZES),
    *(("how", f"'good.png', 28, {value}") for value in HOWS),
]


@pytest.mark.parametrize(("what", "asked"), ASKED, ids=[f"{w}-{v[:40]!a}" for w, v in ASKED])
@pytest.mark.parametrize("model", ["net", "'net.py:make'"], ids=["module", "name"])
def test_extract(going: type, place: Path, model: str, what: str, asked: str) -> None:
    code = HEAD.replace("{forward}", "found").replace("{layer}", "")
    done = going(place, [], first=run_by(f"{code}\ndb.extract({model}, {asked})")).ended()
    judged(done, place, may_work=False)
    assert what != "images" or "Error" not in done.err.partition("error: ")[2], done.err


def test_a_picture_of_sixteen_bits_is_not_clipped(going: type, place: Path) -> None:
    """What Pillow makes of it is white from 255 on."""
    code = HEAD.replace("{forward}", "found").replace("{layer}", "") + (
        "ramp = np.linspace(0, 65535, 28 * 28).reshape(28, 28)\n"
        "deep = Image.fromarray(ramp.astype(np.uint16))\n"
        "flat = Image.fromarray((ramp.astype(np.uint16) >> 8).astype(np.uint8))\n"
        "assert (db.extract(net, deep, 28) == db.extract(net, flat, 28)).all()\n"
    )
    assert going(place, [], first=run_by(code)).ended().code == 0
