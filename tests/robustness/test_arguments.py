"""Numbers, names, paths and settings that no command can use."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

ENORMOUS = "9" * 30
DIGITS = "9" * 5000
NUMBERS = ["-1", ENORMOUS, DIGITS, "nan", "inf", "1e400", "0x10", "\u0663", "", "1.5"]
RUN = "run --backbone rgb_s14 --task data/retrieval.toml --results new"
LINEAR = "run --backbone rgb_s14 --task data/linear.toml --results new"
TRAIN = "posttrain --backbone net.py:make --recipe tiny.toml --name new --data data/images"
NUMBERED = {
    "seed": f"{RUN} --seed",
    "subset seed": f"{RUN} --subset own:1/2 --subset-seed",
    "limit": f"{RUN} --limit",
    "seeds": f"{RUN} --seeds",
    "batch": f"{RUN} --batch-size",
    "size": "extract --backbone rgb_s14 --image good.png --out out.npz --size",
    "profile size": "profile --backbone rgb_s14 --results new --size",
    "profile batch": "profile --backbone rgb_s14 --results new --size 28 --batch-size",
}
# Which of the values are fine there.
FINE = {("limit", ENORMOUS), ("limit", "\u0663"), ("subset seed", "\u0663"), ("seed", "\u0663")}


@pytest.mark.parametrize("value", NUMBERS, ids=lambda value: value[:6])
@pytest.mark.parametrize("option", NUMBERED)
def test_no_number(attempt: Callable, option: str, value: str) -> None:
    fine = value == "\u0663" or (option, value) in FINE  # a digit of another script is one
    attempt(*NUMBERED[option].split(), value, may_work=fine, unwanted=("new", "out.npz"))


SETTABLE = {
    "retrieval": (RUN, ["n_neighbours", "beta", "memory_size", "input_size", "probes"]),
    "linear": (LINEAR, ["epochs", "lr", "momentum", "weight_decay", "batch_size", "mask_size"]),
    "train": (
        TRAIN,
        [
            "training.seed",
            "training.steps",
            "training.batch_size",
            "optimiser.backbone_lr",
            "optimiser.weight_decay",
            "optimiser.betas",
            "loss.student_steepness",
            "loss.queue_size",
            "views.jitter",
            "views.blur_sigma",
            "views.global_size",
            "model.momentum",
            "model.head_hidden",
        ],
    ),
}
VALUES = ["nan", "inf", "-1", ENORMOUS, DIGITS, "[nan, 0.1]", "[" * 3000, "true", "{}", "'x'"]
SET = [(c, key, v) for c, (_, keys) in SETTABLE.items() for key in keys for v in VALUES]


@pytest.mark.parametrize(
    ("command", "key", "value"), SET, ids=[f"{c}-{k}-{v[:6]}" for c, k, v in SET]
)
def test_no_value_of_a_parameter(attempt: Callable, command: str, key: str, value: str) -> None:
    fine = (key, value) in {("memory_size", "'x'"), ("probes", ENORMOUS)}
    attempt(*SETTABLE[command][0].split(), "--set", f"{key}={value}", may_work=fine)


NAMES = {
    "empty": "",
    "space": " ",
    "line": "rgb_s14\n",
    "two lines": "a\nb",
    "delete": "a\x7f",
    "escape": "\x1b[31mred",
    "latin": os.fsdecode(b"gr\xfcn"),
    "umlaut": "grün",
    "long": "n" * 5000,
    "deep": "n/" * 2000 + "n",
    "nobody": "~nouser/x",
    "nobody alone": "~nouser",
    "nobody's card": "~nouser/x.toml",
    "above": "../../../nowhere",
    "dash": "-x",
    "markup": "x [old]",
    "absent": "nowhere",
    "card": "nowhere.toml",
    "plug-in": "nowhere.py:make",
    "timm": "timm:no_such_model",
    "clip": "open_clip:nothing",
    "suite": "suite:none",
    "pipe": "pipe",
    "pipe card": "pipe.toml",
    "zero": "/dev/zero",
    "proc": "/proc/self/mem",
}
NAMED = {
    "backbone": "run --task data/retrieval.toml --results new --backbone",
    "task": "run --backbone rgb_s14 --results new --task",
    "weights": "run --backbone net.py:make --task data/retrieval.toml --results new --weights",
    "train list": f"{RUN} --train-list",
    "data root": f"{RUN} --data-root",
    "subset": f"{RUN} --subset",
    "variant": f"{RUN} --variant",
    "device": f"{RUN} --device",
    "show": "show",
    "image": "extract --backbone rgb_s14 --size 28 --out out.npz --image",
    "head": "predict --backbone net.py:make --image good.png --out out.png --head",
    "label": "predict --backbone net.py:make --head head.safetensors --out out.png --image",
    "photographs": "posttrain --backbone net.py:make --recipe tiny.toml --name new --data",
    "name": "posttrain --backbone net.py:make --recipe tiny.toml --data data/images --name",
    "recipe": "posttrain --backbone net.py:make --name new --data data/images --recipe",
    "compare": "compare rgb_s14 --task tiny_retrieval --results results",
    "data": "data verify",
    "fetched": "weights verify",
}
# Names that are as good as any.
FINE_NAMES = {("name", kind) for kind in ("absent", "card", "pipe", "pipe card")}


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("option", NAMED)
def test_no_name(attempt: Callable, place: Path, option: str, kind: str) -> None:
    for name in ("pipe", "pipe.toml"):
        os.mkfifo(place / name)
    fine = (option, kind) in FINE_NAMES or (option == "data root" and kind != "empty")
    attempt(*NAMED[option].split(), NAMES[kind], may_work=fine, unwanted=("out.npz", "out.png"))


SETTINGS = {
    "DENSEBENCH_MEMORY": ["", "x", "-1", DIGITS, "1", "nan"],
    "DENSEBENCH_CACHE_LIMIT": ["", "x", "-1", "nan", "inf", DIGITS],
    "DENSEBENCH_PATH": ["nowhere", "good.png", "~nouser", "/dev/zero"],
    "DENSEBENCH_CACHE": ["good.png", "/dev/zero", "/proc/1/x", "~nouser/x"],
    "DENSEBENCH_HOME": ["good.png", "/dev/zero", "~nouser/x"],
    "XDG_CACHE_HOME": ["good.png", "~nouser"],
    "HOME": ["", "/nowhere", "/dev/null"],
    "DENSEBENCH_DATA": ["", "nowhere", "good.png", "/dev/zero", "~nouser"],
    "DENSEBENCH_MIRROR": ["", "x", "ftp://x", "http://[::1/x", "http://h\x7f/", "file:///etc"],
    "WORLD_SIZE": ["", "x", "-1", "0", DIGITS],
    "OMP_NUM_THREADS": ["x", "-1", DIGITS],
    "TZ": ["nowhere/x"],
    "LC_ALL": ["xx_XX", "C"],
    "COLUMNS": ["-1", "x", "1"],
}
ASKED = [(name, value) for name, values in SETTINGS.items() for value in values]


@pytest.mark.parametrize(
    ("name", "value"), ASKED, ids=[ascii(f"{n}-{v[:9]}")[1:-1] for n, v in ASKED]
)
def test_no_setting(attempt: Callable, name: str, value: str) -> None:
    """What cannot be kept is done without, or is refused."""
    env = {name: value}
    if name in ("XDG_CACHE_HOME", "HOME"):
        env |= {"DENSEBENCH_CACHE": "", "DENSEBENCH_HOME": ""}
    attempt(*RUN.split(), env=env, may_work=True)
    attempt("list", env=env, may_work=True)


SIZED = {
    "extract": "extract --backbone rgb_s14 --image good.png --out out.npz --size {}",
    "extract deeply": "extract --backbone net.py:make --image good.png --out out.npz --size {}",
    "profile": "profile --backbone rgb_s14 --results new --size {}",
    "batch": "profile --backbone net.py:make --results new --size 28 --batch-size {}",
    "retrieval": f"{RUN} --set input_size={{}}",
    "linear": f"{LINEAR} --set input_size={{}}",
    "masks": f"{LINEAR} --set mask_size={{}}",
}


@pytest.mark.parametrize("power", [4, 5, 7, 9, 12, 15])
@pytest.mark.parametrize("what", SIZED)
def test_beyond_memory(
    attempt: Callable, what: str, power: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too many pixels for this much memory: of 140,000 each way an image is 235 GB."""
    monkeypatch.setenv("DENSEBENCH_MEMORY", str(10**9))
    attempt(*SIZED[what].format(14 * 10**power).split(), unwanted=("new", "out.npz"))
