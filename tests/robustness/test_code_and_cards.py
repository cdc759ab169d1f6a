"""Plug-ins, weights and cards by other people: whatever they say, a line or a right number."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

HEAD = "import os, sys, torch\nfrom torch import nn\n"
PLUGINS = {
    "syntax": "def make(:",
    "import": "import no_such_module",
    "raises": "raise ValueError('what')",
    "exits": "sys.exit(0)",
    "leaves": "os._exit(0)",
    "nothing": "make = 7",
    "none": "def make(): return None",
    "deep": "def make(): return make()",
    "parts": "make = lambda: nn.Linear(2, 2)",
}
BODY = """
class Net(nn.Module):
    patch_size = {patch}
    embed_dim = {dim}
    mean, std = {mean}, {std}
    def __init__(self):
        super().__init__()
        self.proj = {layer}
    def forward(self, images):
        b, _, h, w = images.shape
        {forward}
def make():
    return Net()
"""
PLAIN = {
    "patch": "14",
    "dim": "4",
    "mean": "(0.5, 0.5, 0.5)",
    "std": "(0.5, 0.5, 0.5)",
    "layer": "nn.Conv2d(3, 4, 14, stride=14)",
    "forward": "return self.proj(images).permute(0, 2, 3, 1)",
}
WRONG: dict[str, list[str]] = {
    "patch": ["0", "-1", "14.0", "True", "None", "10**30", "'14'", "7"],
    "dim": ["3.7", "0", "True", "10**30", "'4'", "5"],
    "mean": ["(0, 0)", "7", "(float('nan'), 0, 0)", "'abc'"],
    "std": ["(0, 1, 1)", "(-1, 1, 1)", "(float('inf'), 1, 1)", "(float('nan'), 1, 1)", "None"],
    "layer": [
        "nn.LazyConv2d(4, 14, stride=14)",
        "nn.Conv2d(3, 4, 14, stride=14, device='meta')",
        "nn.Conv2d(3, 4, 14, stride=14).half()",
        "nn.Conv2d(3, 4, 14, stride=14).double()",
        "nn.Conv2d(3, 4, 14, stride=14).to(torch.complex64)",
    ],
    "forward": [
        "return None",
        "return self.proj(images)",
        "return self.proj(images).permute(0, 2, 3, 1) * (1 + 0j)",
        "return self.proj(images).permute(0, 2, 3, 1).long()",
        "return self.proj(images).permute(0, 2, 3, 1) * float('nan')",
        "return self.proj(images).permute(0, 2, 3, 1)[:1]",
        "return torch.rand(b, h // 14, w // 14, 4)",
        "raise RuntimeError('what')",
        "os._exit(0)",
        "sys.exit(0)",
        "return self(images)",
        "return torch.empty(2**60)",
    ],
}
MADE = [(key, value) for key, values in WRONG.items() for value in values]
COMMANDS = {
    "extract": "extract --backbone bad.py:make --image good.png --size 28 --out out.npz",
    "run": "run --backbone bad.py:make --task data/retrieval.toml --results new --cache off",
    "matrix": "run --backbone bad.py:make,nobody.py:make --task data/retrieval.toml --results new",
    "profile": "profile --backbone bad.py:make --size 28 --batch-size 1 --results new",
    "train": "posttrain --backbone bad.py:make --recipe tiny.toml --name new --data data/images",
}
# What a command does not look at, or what is right as it is.
FINE = {
    ("extract", "return self.proj(images).permute(0, 2, 3, 1)[:1]"),
    ("profile", "return self.proj(images).permute(0, 2, 3, 1)[:1]"),
    ("extract", "return torch.rand(b, h // 14, w // 14, 4)"),
    ("profile", "return torch.rand(b, h // 14, w // 14, 4)"),
    ("profile", "return self.proj(images).permute(0, 2, 3, 1) * float('nan')"),
}


@pytest.mark.parametrize("kind", PLUGINS)
@pytest.mark.parametrize("command", COMMANDS)
def test_no_plug_in(attempt: Callable, place: Path, command: str, kind: str) -> None:
    (place / "bad.py").write_text(HEAD + PLUGINS[kind])
    attempt(*COMMANDS[command].split())


@pytest.mark.parametrize(("key", "value"), MADE, ids=[f"{k}-{v[:30]}" for k, v in MADE])
@pytest.mark.parametrize("command", ["extract", "run", "profile"])
def test_a_plug_in_that_is_no_backbone(
    attempt: Callable, place: Path, command: str, key: str, value: str
) -> None:
    (place / "bad.py").write_text(HEAD + BODY.format(**{**PLAIN, key: value}))
    attempt(*COMMANDS[command].split(), may_work=(command, value) in FINE)


def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return torch.nn.Conv2d(3, 4, 14, stride=14).state_dict(prefix="proj.")


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


class Evil:
    def __reduce__(self) -> tuple:
        return os.system, ("touch was_run",)


WEIGHTS: dict[str, Callable[[Path], object]] = {
    "empty": Path.touch,
    "text": lambda path: path.write_text("no weights"),
    "noise": lambda path: path.write_bytes(bytes(range(256)) * 50),
    "pipe": os.mkfifo,
    "zero": lambda path: path.symlink_to("/dev/zero"),
    "folder": Path.mkdir,
    "flipped": lambda path: (torch.save(state(), path), flipped(path)),
    "cut": lambda path: (torch.save(state(), path), os.truncate(path, path.stat().st_size // 2)),
    "code": lambda path: torch.save({**state(), "x": Evil()}, path),
    "a list": lambda path: torch.save([1, 2], path),
    "a number": lambda path: torch.save(7, path),
    "nothing": lambda path: torch.save({}, path),
    "one tensor": lambda path: torch.save(torch.ones(2), path),
    "too few": lambda path: torch.save({"proj.bias": state()["proj.bias"]}, path),
    "too many": lambda path: torch.save({**state(), "more": torch.ones(1)}, path),
    "numbers": lambda path: torch.save({1: torch.ones(1)}, path),
    "whole": lambda path: torch.save({k: v.long() for k, v in state().items()}, path),
    "truth": lambda path: torch.save({k: v.bool() for k, v in state().items()}, path),
    "complex": lambda path: torch.save({k: v + 0j for k, v in state().items()}, path),
    "sparse": lambda path: torch.save(
        {**state(), "proj.bias": state()["proj.bias"].to_sparse()}, path
    ),
    "meta": lambda path: torch.save({k: v.to("meta") for k, v in state().items()}, path),
    "nan": lambda path: torch.save({k: v * float("nan") for k, v in state().items()}, path),
}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("command", ["extract", "run"])
def test_no_weights(attempt: Callable, place: Path, command: str, kind: str, suffix: str) -> None:
    WEIGHTS[kind](place / f"bad{suffix}")
    asked = COMMANDS[command].replace("bad.py", "net.py").split()
    attempt(*asked, "--weights", f"bad{suffix}")
    assert not (place / "was_run").exists()


CARD = """
name = "mine"
source = "python"
id = "net.py:make"
patch_size = 14
embed_dim = 4
mean = [0.485, 0.456, 0.406]
std = [0.229, 0.224, 0.225]
position_embedding = "none"
license = "x"
training_data = "x"
"""
DEEP = "[" * 100_000
LINES = [
    'name = "a\\nb"', 'name = "mine\\n"', 'name = "a\\u007f"', 'name = ""', "name = 7",
    "patch_size = 0", "patch_size = 16", "patch_size = 99999999999999999999", "embed_dim = 3.7",
    "embed_dim = 5", "embed_dim = true", "std = [0, 1, 1]", "std = [inf, 1, 1]",
    "std = [-1, 1, 1]", "std = [nan, 1, 1]", "mean = [inf, 0, 0]", "mean = [0, 0]",
    f"mean = {DEEP}", f"patch_size = {'9' * 5000}", 'id = "nowhere.py:make"', 'id = "net.py"',
    'source = "timm"', 'source = "nobody"', "unknown = 1", 'drop_keys = "x"',
]  # fmt: skip
SOURCES = [
    'url = "http://[::1/x"', 'url = "ftp://host/x"', 'url = "file:///etc/passwd"', 'url = "x"',
    'url = ""', 'url = "http://"', 'url = "http://host:99999999/x"', 'url = "http://h\\u0000/x"',
    f'url = "http://{"a" * 80}.org/x"', 'path = "/etc/passwd"', 'path = ""', 'path = "absent"',
    'path = "pipe"', 'path = "a\\u0000b"', 'repo = "x"', 'sha256 = "x"', 'repo = "a b/c"\nfile="x"',
    'repo = "a/b/c"\nfile = "x"', 'repo = ".."\nfile = "x"', 'repo = "gr\\u00fcn/x"\nfile = "x"',
    'repo = "-a/b"\nfile = "x"', 'repo = "a/b"\nfile = "../../x"', 'repo = "a/b"\nfile = ""',
    'repo = "a/b"\nfile = "x"\nrevision = "a b"', 'repo = ""\nfile = "x"',
    'repo = "a/b.git"\nfile = "x"', f'repo = "{"a" * 200}/b"\nfile = "x"',
]  # fmt: skip


def label(text: str) -> str:
    return text[:30].encode("unicode_escape").decode()


CARD_COMMANDS = {
    "run": "run --backbone bad.toml --task data/retrieval.toml --results new --offline",
    "extract": "extract --backbone bad.toml --image good.png --size 28 --out out.npz --offline",
    "weights": "weights fetch mine",
}
NO_FILES = {"pipe": os.mkfifo, "folder": Path.mkdir, "loop": lambda path: path.symlink_to(path)}


@pytest.mark.parametrize("line", LINES, ids=label)
@pytest.mark.parametrize("command", ["run", "extract", "show"])
def test_no_card(attempt: Callable, place: Path, command: str, line: str) -> None:
    key = line.partition(" =")[0]
    kept = [old for old in CARD.splitlines() if not old.startswith(f"{key} =")]
    (place / "bad.toml").write_text("\n".join([*kept, line]))
    shown = command == "show" and line in LINES[5:6] + LINES[9:10] + LINES[19:22]
    shown = shown or (command == "show" and line == "patch_size = 16")
    attempt(*CARD_COMMANDS.get(command, "show bad.toml").split(), may_work=shown)


@pytest.mark.parametrize("source", SOURCES, ids=label)
@pytest.mark.parametrize("command", CARD_COMMANDS)
def test_no_place_of_weights(attempt: Callable, place: Path, command: str, source: str) -> None:
    os.mkfifo(place / "pipe")
    (place / "cards").mkdir()
    for name in ("bad.toml", "cards/mine.toml"):
        (place / name).write_text(f"{CARD}\n[weights]\n{source}\n")
    attempt(*CARD_COMMANDS[command].split(), env={"DENSEBENCH_PATH": "cards"})


@pytest.mark.parametrize("kind", NO_FILES)
def test_what_lies_in_the_place_of_weights(attempt: Callable, place: Path, kind: str) -> None:
    """It is not said to be absent, which would send for it those who put it there."""
    (place / "cards").mkdir()
    NO_FILES[kind](place / "cards/put")
    (place / "cards/mine.toml").write_text(f'{CARD}\n[weights]\npath = "put"\n')
    done = attempt("weights", "verify", "mine", env={"DENSEBENCH_PATH": "cards"})
    assert "not here" not in done.out + done.err


FILES: dict[str, Callable[[Path], object]] = {
    "empty": Path.touch,
    "deep": lambda path: path.write_text(f"a = {DEEP}"),
    "deep keys": lambda path: path.write_text(f"{'a.' * 5000}a = 1"),
    "deep tables": lambda path: path.write_text(f"[{'a.' * 5000}a]"),
    "latin": lambda path: path.write_bytes(b'name = "gr\xfcn"'),
    "noise": lambda path: path.write_bytes(bytes(range(256))),
    "pipe": os.mkfifo,
    "zero": lambda path: path.symlink_to("/dev/zero"),
    "folder": Path.mkdir,
    "digits": lambda path: path.write_text("a = " + "9" * 5000),
    "date": lambda path: path.write_text("patch_size = 1979-05-27"),
}
READERS = [
    "show bad.toml",
    "run --backbone bad.toml --task data/retrieval.toml --results new",
    "run --backbone rgb_s14 --task bad.toml --results new",
    "run --backbone suite:bad.toml --task data/retrieval.toml --results new",
    "posttrain --backbone net.py:make --recipe bad.toml --name new --data data/images",
    "ladder --backbone rgb_s14 --dataset bad.toml --results new",
]


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("command", READERS)
def test_no_toml(attempt: Callable, place: Path, command: str, kind: str) -> None:
    FILES[kind](place / "bad.toml")
    attempt(*command.split())
