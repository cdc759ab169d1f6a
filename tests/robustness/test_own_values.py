"""Files that densebench wrote, whole but with other values: no number is another for it."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

RUN = "run --backbone rgb_s14 --task data/retrieval.toml --results results"
RESUME = (
    "posttrain --backbone net.py:make --recipe tiny.toml --data data/images --name mine --resume"
)
PREDICT = "predict --backbone net.py:make --image good.png --out out.png --head head.safetensors"
# The file, and the command that reads it.
FILES = {
    "cache": (".cache/features/*/meta.json", f"{RUN} --overwrite"),
    "cache list": (".cache/features/*/meta.json", "cache list"),
    "hashes": (".cache/hashes/*.json", f"{RUN} --overwrite"),
    "remembered": (".cache/runs/*.json", RUN),
    "panels": ("results/**/index.json", f"{RUN} --save-panels 1"),
    "page": ("results/**/index.json", "leaderboard --results results --html board.html"),
    "log": ("posttrained/mine/log.jsonl", RESUME),
    "head": ("head.safetensors", PREDICT),
}
PLACES = range(4)  # evenly spread over all values, the inner ones too
GONE = object()
VALUES: dict[str, Any] = {
    "gone": GONE,
    "null": None,
    "true": True,
    "below": -1,
    "part": 0.5,
    "enormous": 2**70,
    "nan": float("nan"),
    "text": "\x1b[31mx\n",
    "empty": "",
    "list": [],
    "table": {},
    "nested": [[[[]]]],
}
OTHER = [(what, place, value) for what in FILES for place in PLACES for value in VALUES]


def nodes(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all that is within a value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in inner:
        yield (*path, key)
        if isinstance(item, dict | list):
            yield from nodes(item, (*path, key))


def changed(value: Any, number: int, instead: Any) -> Any:
    paths = list(nodes(value))
    *above, last = paths[number * len(paths) // len(PLACES)]
    inner = value
    for key in above:
        inner = inner[key]
    if instead is GONE:
        del inner[last]
    else:
        inner[last] = instead
    return value


def rewrite(file: Path, number: int, instead: Any) -> None:
    if file.suffix == ".safetensors":
        content = file.read_bytes()
        size = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + size])
        about = json.loads(header["__metadata__"]["densebench_head"])
        header["__metadata__"]["densebench_head"] = json.dumps(changed(about, number, instead))
        text = json.dumps(header).encode()
        file.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + size :])
    else:
        lines = file.read_text().splitlines() if file.suffix == ".jsonl" else [file.read_text()]
        lines[0] = json.dumps(changed(json.loads(lines[0]), number, instead))
        file.write_text("\n".join(lines))


def scores(place: Path) -> Any:
    (record,) = (place / "results").glob("rgb_s14/*/*.json")
    return json.loads(record.read_text())["scores"]


@pytest.mark.parametrize(
    ("what", "number", "value"), OTHER, ids=[f"{what}-{n}-{v}" for what, n, v in OTHER]
)
def test_another_value(attempt: Callable, place: Path, what: str, number: int, value: str) -> None:
    before = scores(place)
    pattern, command = FILES[what]
    files = [file for file in place.glob(pattern) if what in ("panels", "page") or file.is_file()]
    for file in files:
        rewrite(file, number, VALUES[value])
    assert files
    attempt(*command.split(), may_work=True)
    assert scores(place) == before


ARRAYS: dict[str, Callable[[np.ndarray], Any]] = {
    "gone": lambda array: None,
    "empty": lambda array: np.atleast_1d(array)[..., :0],
    "more": lambda array: np.concatenate([np.atleast_1d(array)] * 2),
    "fewer": lambda array: np.atleast_1d(array)[:0],
    "deeper": lambda array: array[None],
    "a number": lambda array: np.array(7),
    "text": lambda array: np.array(["x"]),
    "objects": lambda array: np.array([{"x": 1}], dtype=object),
    "truth": lambda array: np.ones(array.shape, bool),
    "nan": lambda array: np.full(array.shape, np.nan),
    "complex": lambda array: np.full(array.shape, 1j),
    "below": lambda array: np.full(array.shape, -1),
    "enormous": lambda array: np.full(array.shape, 2**62),
    "reversed": lambda array: np.atleast_1d(array)[..., ::-1].copy(),
}
NAMES = ("run_id", "names", "vectors")
READERS = ("leaderboard --results results --csv out.csv", RUN)


@pytest.mark.parametrize("command", READERS, ids=["board", "again"])
@pytest.mark.parametrize("how", ARRAYS)
@pytest.mark.parametrize("name", NAMES)
def test_other_counts(attempt: Callable, place: Path, name: str, how: str, command: str) -> None:
    """What a score is computed from is not what was written: no row, and the file is named."""
    (file,) = (place / "results").glob("rgb_s14/**/*.evidence.npz")
    with np.load(file) as kept:
        arrays = {key: kept[key] for key in kept.files}
    made = ARRAYS[how](arrays.pop(name))
    if made is not None:
        arrays[name] = made
    np.savez_compressed(file, **arrays)
    done = attempt(*command.split(), unwanted=("out.csv",))
    assert file.stem.partition(".")[0] in done.err


KEYS = ("step", "identity", "student", "teacher", "queue", "optimiser", "unreadable")
STATES: dict[str, Callable[[Any], Any]] = {
    "gone": lambda value: GONE,
    "none": lambda value: None,
    "text": lambda value: "x",
    "table": lambda value: {},
    "below": lambda value: -1,
    "enormous": lambda value: 2**70,
    "list": lambda value: [value, value],
    "other": lambda value: {"x": torch.zeros(2, 2)},
}


@pytest.mark.parametrize("how", STATES)
@pytest.mark.parametrize("key", KEYS)
def test_another_checkpoint(attempt: Callable, place: Path, key: str, how: str) -> None:
    file = place / "posttrained/mine/checkpoints/step-00000002.pt"
    saved = torch.load(file, weights_only=True)
    value = STATES[how](saved.pop(key))
    if value is not GONE:
        saved[key] = value
    content = io.BytesIO()
    torch.save(saved, content)
    file.write_bytes(content.getvalue())
    attempt(*RESUME.split(), may_work=key == "unreadable")


TENSORS: dict[str, Callable[[np.ndarray], Any]] = {
    "gone": lambda array: None,
    "empty": lambda array: array[..., :0],
    "flat": lambda array: array.reshape(-1),
    "deeper": lambda array: array[None],
    "twice": lambda array: np.concatenate([array, array]),
    "one less": lambda array: array[:-1],
    "whole": lambda array: array.astype(np.int64),
    "truth": lambda array: array.astype(bool),
    "nan": lambda array: array * np.nan,
    "inf": lambda array: array / 0,
}


@pytest.mark.parametrize("how", TENSORS)
@pytest.mark.parametrize("name", ["classify.bias", "classify.weight"])
@pytest.mark.parametrize("kind", ["another", "a second"])
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_other_tensors_of_a_head(
    attempt: Callable, place: Path, name: str, how: str, kind: str
) -> None:
    """In place of one, or beside it."""
    file = place / "head.safetensors"
    content = file.read_bytes()
    size = int.from_bytes(content[:8], "little")
    about = json.loads(content[8 : 8 + size])["__metadata__"]
    arrays = load_file(file)
    made = TENSORS[how](arrays[name])
    key = name if kind == "another" else f"{name}.more"
    arrays.pop(key, None)
    if made is not None:
        arrays[key] = made
    save_file(arrays, file, about)
    same = (kind, how) == ("a second", "gone") or (key, how) == ("classify.bias", "flat")
    attempt(*PREDICT.split(), may_work=same)
