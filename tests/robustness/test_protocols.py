"""Every parameter of every protocol, values that it cannot have, and depth that is none."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from densebench.cards import PROTOCOLS
from densebench.protocols import load_protocol

CARD = """
name = "tiny"
description = "six small pictures"
protocol = "{protocol}"
[dataset]
kind = "{kind}"
root = "."
images = "images"
masks = "{masks}"
train = "train.txt"
val = "val.txt"
{classes}
[params]
{params}
"""
RETRIEVAL = 'input_size = 28\nn_neighbours = 4\nmemory_size = "unbounded"\naugment = false'
KMEANS = "input_size = 28\nmask_size = 14\nK = 3\npca_dim = 2\nniter = 2\nnredo = 1"
# What makes each of them a matter of moments; a protocol without is asked for as it is.
SMALL = {
    "in_context": RETRIEVAL,
    "depth_in_context": RETRIEVAL,
    "linear": "input_size = 28\nmask_size = 14\nbatch_size = 2\nepochs = 1",
    "overclustering": f"{KMEANS}\nseeds = 1",
    "cbfe": f'{KMEANS}\nbackground = ["red"]\ncommunities = false\nK_objects = 2',
    "attention_jaccard": 'input_size = 28\nbackground = ["red"]',
    "knn": 'input_size = 28\nks = [1]\ndistances = ["cosine"]',
    "logreg": "input_size = 28\nC = [1.0]",
    "sliding_linear": "input_size = 28\nimage_size = 28\nstride = 14\nsteps = 2\nwarmup = 1\n"
    "batch_size = 2\nvalidations = 1",
    "depth_linear": "input_size = [42, 56]\ncrop = [28, 28]\nsteps = 2\nwarmup_steps = 1\n"
    'batch_size = 2\nbins = 4\ntrain_box = "full"\neval_box = "full"',
}
VALUES = ["nan", "-1", "9" * 30, "[" * 3000, "{}", "'x'", "[]", "1e-300", "[0, 1e9]", "1000000000"]
NEVER = (VALUES[0], VALUES[3], VALUES[4])  # no parameter is one of these
FIELDS = [
    (name, field, value)
    for name in PROTOCOLS.names()
    for field in load_protocol(name).Params.model_fields
    for value in VALUES
]


def write_task(place: Path, protocol: str) -> str:
    """The command that runs a protocol on the tiny dataset, which has a depth as well."""
    depth = "depth" in load_protocol(protocol).targets
    (place / "data/depth").mkdir(exist_ok=True)
    for number in range(6 * depth):
        metres = np.linspace(500, 4000, 42 * 56).reshape(42, 56).astype(np.uint16)
        Image.fromarray(metres).save(place / f"data/depth/picture{number:02d}.png")
    (place / "data/any.toml").write_text(
        CARD.format(
            protocol=protocol,
            kind="depth_folder" if depth else "folder",
            masks="depth" if depth else "masks",
            classes="" if depth else 'classes = ["red", "green", "blue"]',
            params=SMALL.get(protocol, ""),
        )
    )
    return "run --backbone hog_s14 --task data/any.toml --results new"


@pytest.mark.parametrize(
    ("protocol", "field", "value"), FIELDS, ids=[f"{p}-{f}-{v[:6]}" for p, f, v in FIELDS]
)
def test_no_value(attempt: Callable, place: Path, protocol: str, field: str, value: str) -> None:
    command = write_task(place, protocol).split()
    attempt(*command, "--set", f"{field}={value}", may_work=value not in NEVER)


@pytest.mark.parametrize("protocol", PROTOCOLS.names())
def test_as_it_is_written_above_it_works(attempt: Callable, place: Path, protocol: str) -> None:
    """So that the cases above are refused for their value."""
    done = attempt(*write_task(place, protocol).split(), may_work=True)
    assert done.code == 0 or "attention" in done.err, done.err


def saved(dtype: type, shape: tuple[int, ...] = (42, 56)) -> Callable[[Path], object]:
    return lambda path: Image.fromarray(np.ones(shape, dtype)).save(path, "PNG")


NO_DEPTH: dict[str, Callable[[Path], object]] = {
    "empty": Path.touch,
    "text": lambda path: path.write_text("no depth"),
    "pipe": os.mkfifo,
    "zero": lambda path: path.symlink_to("/dev/zero"),
    "urandom": lambda path: path.symlink_to("/dev/urandom"),
    "folder": Path.mkdir,
    "loop": lambda path: path.symlink_to(path.name),
    "eight bits": saved(np.uint8),
    "colours": saved(np.uint8, (42, 56, 3)),
    "one bit": saved(bool),
    "another size": saved(np.uint16, (42, 55)),
    "tiff": lambda path: Image.fromarray(np.ones((42, 56), np.float32)).save(path, "TIFF"),
    "jpeg": lambda path: Image.fromarray(np.ones((42, 56), np.uint8)).save(path, "JPEG"),
    "nothing measured": lambda path: Image.fromarray(np.zeros((42, 56), np.uint16)).save(path),
}


@pytest.mark.parametrize("kind", NO_DEPTH)
@pytest.mark.parametrize("protocol", ["depth_in_context", "depth_linear"])
@pytest.mark.parametrize("split", ["train", "val"])
def test_no_depth(attempt: Callable, place: Path, protocol: str, kind: str, split: str) -> None:
    """An image of which nothing was measured is one with nothing to score, or to learn from."""
    command = write_task(place, protocol).split()
    for number in (0, 1, 2, 3) if split == "train" else (4, 5):
        file = place / f"data/depth/picture{number:02d}.png"
        file.unlink()
        NO_DEPTH[kind](file)
    attempt(*command)


SCALES = ["0", "-1", "nan", "inf", "1e9", "true", "'x'", "[1]", "{}", "9" * 400, "1e-300"]


@pytest.mark.parametrize("scale", SCALES)
def test_no_scale(attempt: Callable, place: Path, scale: str) -> None:
    command = write_task(place, "depth_in_context").split()
    card = place / "data/any.toml"
    card.write_text(
        card.read_text().replace('masks = "depth"', f'masks = "depth"\nscale = {scale}')
    )
    attempt(*command)


OF_LABELS = [name for name in PROTOCOLS.names() if "labels" in load_protocol(name).targets]


@pytest.mark.parametrize("count", [255, 256, 257, 300, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("protocol", OF_LABELS)
def test_more_classes_than_colours(
    attempt: Callable, place: Path, protocol: str, count: int
) -> None:
    """Most of which are nowhere; void may be none of them."""
    command = write_task(place, protocol).split()
    card, names = place / "data/any.toml", [f"class {number}" for number in range(count)]
    text = card.read_text().replace('["red", "green", "blue"]', str(names).replace("'", '"'))
    card.write_text(text.replace('background = ["red"]', 'background = ["class 0"]'))
    done = attempt(*command, may_work=True)
    if done.code == 0:
        attempt("leaderboard", "--results", "new", "--html", "out", may_work=True)
