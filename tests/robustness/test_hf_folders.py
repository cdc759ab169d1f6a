"""Folders of Hugging Face models that are none: whatever lies in them, a line or a right number."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

COMMANDS = {
    "extract": "extract --backbone hf:model --image good.png --size 28 --out out.npz",
    "run": "run --backbone hf:model --task data/retrieval.toml --results new --cache off",
}
SIZES: dict[str, Any] = {
    "model_type": "vit",
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "image_size": 28,
    "patch_size": 14,
}
DEEP = "[" * 100_000


class Code:
    def __reduce__(self) -> Any:
        return print, ("run",)


def config(folder: Path, **changes: Any) -> None:
    values = {k: v for k, v in {**SIZES, **changes}.items() if v is not None}
    (folder / "config.json").write_text(json.dumps(values))


def weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors")


def pickled(folder: Path, content: Any) -> None:
    (folder / "model.safetensors").unlink()
    torch.save(content, folder / "pytorch_model.bin")


def first(state: dict[str, torch.Tensor]) -> str:
    return next(name for name in sorted(state) if name.endswith("layernorm.weight"))


SPOILT: dict[str, Callable[[Path], Any]] = {
    "no configuration": lambda f: (f / "config.json").unlink(),
    "an empty one": lambda f: (f / "config.json").write_text(""),
    "broken JSON": lambda f: (f / "config.json").write_text('{"model_type": "vit"'),
    "deep JSON": lambda f: (f / "config.json").write_text(DEEP),
    "a list": lambda f: (f / "config.json").write_text("[]"),
    "no text": lambda f: (f / "config.json").write_bytes(b"\xff\xfe"),
    "a long number": lambda f: (f / "config.json").write_text('{"a": ' + "9" * 9000 + "}"),
    "no type": lambda f: config(f, model_type=None),
    "a wrong type": lambda f: config(f, model_type="bert"),
    "another type": lambda f: config(f, model_type="dinov2"),
    "own code": lambda f: config(f, model_type="x", auto_map={"AutoModel": "x.X"}),
    "huge": lambda f: config(f, hidden_size=10**9),
    "wide": lambda f: config(f, hidden_size=1_000_000, num_attention_heads=1_000_000),
    "endless": lambda f: config(f, num_hidden_layers=10**9),
    "long": lambda f: config(f, num_hidden_layers=999),
    "a word": lambda f: config(f, hidden_size="16"),
    "nothing": lambda f: config(f, num_attention_heads=0),
    "negative": lambda f: config(f, patch_size=-14),
    "odd heads": lambda f: config(f, num_attention_heads=3),
    "an unknown activation": lambda f: config(f, hidden_act="none such"),
    "no weights": lambda f: (f / "model.safetensors").unlink(),
    "empty weights": lambda f: (f / "model.safetensors").write_bytes(b""),
    "cut weights": lambda f: (f / "model.safetensors").write_bytes(struct.pack("<Q", 1 << 40)),
    "a missing tensor": lambda f: weights(f, lambda s: s.pop(first(s))),
    "another tensor": lambda f: weights(f, lambda s: s.update(more=torch.ones(3))),
    "another shape": lambda f: weights(f, lambda s: s.update({first(s): torch.ones(7)})),
    "whole numbers": lambda f: weights(f, lambda s: s.update({first(s): s[first(s)].long()})),
    "a pickle of code": lambda f: pickled(f, Code()),
    "a pickle of nothing": lambda f: pickled(f, []),
    "an index of nothing": lambda f: (f / "model.safetensors").rename(
        f / "model.safetensors.index.json"
    ),
    "an index elsewhere": lambda f: (
        (f / "model.safetensors").unlink(),
        (f / "model.safetensors.index.json").write_text('{"weight_map": {"a": "/etc/passwd"}}'),
    ),
    "a broken preprocessor": lambda f: (f / "preprocessor_config.json").write_text("{"),
    "no deviation": lambda f: (f / "preprocessor_config.json").write_text(
        '{"image_mean": [0, 0, 0], "image_std": [0]}'
    ),
    "not a number": lambda f: (f / "preprocessor_config.json").write_text(
        '{"image_mean": [NaN, 0, 0]}'
    ),
}


@pytest.fixture
def folder(place: Path) -> Path:
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(0)
    sizes = {key: value for key, value in SIZES.items() if key != "model_type"}
    ViTModel(ViTConfig(**sizes), add_pooling_layer=False).save_pretrained(place / "model")
    config(place / "model")
    return place / "model"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_as_it_should_be(attempt: Callable, folder: Path, command: str) -> None:
    assert attempt(*COMMANDS[command].split(), may_work=True).code == 0


@pytest.mark.parametrize("kind", SPOILT)
def test_a_spoilt_folder(attempt: Callable, folder: Path, kind: str) -> None:
    SPOILT[kind](folder)
    attempt(*COMMANDS["extract"].split())


@pytest.mark.parametrize(
    "name", ["", "nobody", "a/b/c", "model/config.json", "../", "no\nbody", "x" * 5000, "~", "a//b"]
)
def test_no_folder(attempt: Callable, folder: Path, name: str) -> None:
    attempt(*COMMANDS["extract"].replace("hf:model", f"hf:{name}", 1).split(" "), "--offline")
