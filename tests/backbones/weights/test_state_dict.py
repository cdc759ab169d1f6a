import argparse
import os
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from densebench.backbones import load_backbone
from densebench.backbones.weights.state_dict import read_state_dict
from densebench.host.errors import DensebenchError

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def state() -> State:
    """Weights of timm's smallest vision transformer, without its head."""
    torch.manual_seed(1)
    weights = timm.create_model("test_vit", num_classes=0).state_dict()
    return {k: v + 0.1 * torch.randn_like(v) for k, v in weights.items()}


def prefixed(prefix: str, state: State) -> State:
    return {prefix + key: value for key, value in state.items()}


def other(state: State) -> State:
    return {key: value + 1 for key, value in state.items()}


HEAD = {"projection_head.0.weight": torch.zeros(2, 64)}
WRAPPINGS: dict[str, Callable[[State], object]] = {
    "plain": lambda s: s,
    "ordered": OrderedDict,
    "DataParallel": lambda s: prefixed("module.", s),
    "compiled": lambda s: prefixed("_orig_mod.", s),
    "DINO, full checkpoint": lambda s: {
        "student": prefixed("module.backbone.", other(s)),
        "teacher": {**prefixed("backbone.", s), "head.mlp.0.weight": torch.zeros(2)},
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}},
        "args": argparse.Namespace(arch="vit_small", lr=0.0005),
        "epoch": 100,
    },
    "DINOv2, teacher": lambda s: {
        "teacher": {**prefixed("backbone.", s), "dino_head.mlp.0.weight": torch.zeros(2)}
    },
    "NeCo, student": lambda s: {**s, **HEAD},
    "NeCo, Lightning": lambda s: {
        "epoch": 3,
        "state_dict": {
            **prefixed("teacher.", other({**s, **HEAD})),
            **prefixed("model.", {**s, **HEAD}),
            "criterion.weight": torch.zeros(2),
        },
    },
    "NeCo, teacher alone": lambda s: prefixed("teacher.", {**s, **HEAD}),
    "student alone": lambda s: {"state_dict": prefixed("student.", s)},
    "MAE": lambda s: {"model": s, "epoch": 1},
}


@pytest.fixture
def card(write_card: Callable[..., Path]) -> str:
    return str(write_card(position_embedding="dino"))


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_the_same_weights_out_of_any_wrapping(
    wrapping: str, state: State, tmp_path: Path, write_card: Callable[..., Path]
) -> None:
    drops = ("projection_head.", "head.", "fc_norm.")
    card = write_card("wrapped", position_embedding="dino")
    text = card.read_text().replace('drop_keys = ["head.", "fc_norm."]', f"drop_keys = {[*drops]}")
    card.write_text(text)
    save_file(state, tmp_path / "plain.safetensors")
    torch.save(WRAPPINGS[wrapping](state), tmp_path / "wrapped.pth")
    wanted = load_backbone(card, weights=tmp_path / "plain.safetensors")
    got = load_backbone(card, weights=tmp_path / "wrapped.pth")
    assert got.fingerprint == wanted.fingerprint
    torch.testing.assert_close(got.model.pos_embed.detach(), state["pos_embed"])


def test_a_saved_backbone_loads_again(card: str, state: State, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "first.pt")
    first = load_backbone(card, weights=tmp_path / "first.pt")
    save_file(first.state_dict(), tmp_path / "second.safetensors")
    again = load_backbone(card, weights=tmp_path / "second.safetensors")
    assert again.fingerprint == first.fingerprint


def test_loading_leaves_the_random_state_alone(card: str, state: State, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "weights.pt")
    before = torch.get_rng_state()
    load_backbone(card, weights=tmp_path / "weights.pt")
    assert torch.equal(torch.get_rng_state(), before)


def refused(card: str, content: object, path: Path) -> str:
    torch.save(content, path)
    with pytest.raises(DensebenchError) as caught:
        load_backbone(card, weights=path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_keys_that_do_not_match_are_listed(card: str, state: State, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    fewer = {k: v for k, v in state.items() if not k.startswith("blocks.5.")}
    message = refused(card, fewer, path)
    assert "weights.pth: keys missing: blocks.5.norm1.weight" in message
    assert f"({len(state) - len(fewer)} in all)" in message
    assert "the file is ViT-64/16 (64 wide, 5 blocks" in message
    message = refused(card, {**state, "extra.weight": torch.zeros(2)}, path)
    assert message.endswith("keys not known here: extra.weight (1 in all)")
    message = refused(card, {**state, "norm.bias": torch.zeros(3)}, path)
    assert message.endswith("of another shape: norm.bias [3] instead of [64] (1 in all)")
    message = refused(card, {**state, "register_tokens": torch.zeros(1, 4, 64)}, path)
    assert "not known here: reg_token" in message
    assert "the file is ViT-64/16 (64 wide, 6 blocks, 4 register tokens)" in message
    assert "this backbone is ViT-64/16 (64 wide, 6 blocks, 0 register tokens)" in message


def test_weights_of_a_wider_model_are_named(card: str, tmp_path: Path) -> None:
    wide = timm.create_model("vit_tiny_patch16_224", num_classes=0).state_dict()
    message = refused(card, wide, tmp_path / "wide.pth")
    assert "the file is ViT-Ti/16 (192 wide, 12 blocks" in message
    assert "blocks.6.norm1.weight" in message


def test_nothing_is_loaded_from_a_file_that_does_not_fit(state: State) -> None:
    from densebench.backbones.weights.state_dict import load_strictly

    model = timm.create_model("test_vit", num_classes=0)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(DensebenchError):
        load_strictly(model, {**state, "x": torch.zeros(1)}, "file", lambda s: "")
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


class Command:
    """A pickle that runs a command when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path) -> None:
    path, trace = tmp_path / "evil.ckpt", tmp_path / "trace"
    torch.save({"state_dict": {"a": torch.zeros(1)}, "hook": Command(trace)}, path)
    with pytest.raises(
        DensebenchError, match=r"evil.ckpt: refused, .* would run code \(\w+.mkdir\)"
    ):
        read_state_dict(path)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("page.pth", b"<!DOCTYPE html><html>not found</html>", "not a checkpoint, or a truncated"),
        ("empty.pt", b"", r"truncated one \(0 bytes\)"),
        ("page.safetensors", b"version https://git-lfs.github.com/spec/v1", "not a readable"),
    ],
)
def test_what_is_no_checkpoint_is_told(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DensebenchError, match=message) as caught:
        read_state_dict(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_truncated_file_is_told(tmp_path: Path, state: State, suffix: str) -> None:
    path = tmp_path / f"weights.{suffix}"
    save_file(state, path) if suffix == "safetensors" else torch.save(state, path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(DensebenchError, match=r"truncated|not a readable"):
        read_state_dict(path)


@pytest.mark.parametrize("content", [[torch.zeros(2)], {"epoch": 1}, {"state_dict": {}}], ids=str)
def test_a_file_without_named_tensors_is_told(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "list.pt")
    with pytest.raises(DensebenchError, match=r"list.pt: holds no tensors by name"):
        read_state_dict(tmp_path / "list.pt")


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(DensebenchError, match=r"none.pth: no such weights file"):
        read_state_dict(tmp_path / "none.pth")
    with pytest.raises(DensebenchError, match="no such weights file"):
        read_state_dict(tmp_path)


def test_a_part_that_is_not_what_its_checksum_says_is_refused(
    card: str, state: State, tmp_path: Path
) -> None:
    path = tmp_path / "weights.pth"
    torch.save(state, path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 64
    path.write_bytes(content)
    assert set(torch.load(path, weights_only=True)) == set(state), "torch itself sees nothing"
    with pytest.raises(DensebenchError, match=r"weights\.pth: it is damaged: the checksum of its"):
        load_backbone(card, weights=path)


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.bool, torch.complex64])
def test_numbers_of_another_kind_are_not_cast(
    card: str, state: State, tmp_path: Path, dtype: torch.dtype
) -> None:
    changed = {**state, "norm.bias": state["norm.bias"].to(dtype)}
    message = refused(card, changed, tmp_path / "weights.pth")
    name = str(dtype).removeprefix("torch.")
    assert f"norm.bias holds {name} and the backbone wants float32" in message


def test_floats_of_another_width_are_taken(card: str, state: State, tmp_path: Path) -> None:
    torch.save({name: tensor.half() for name, tensor in state.items()}, tmp_path / "half.pth")
    assert load_backbone(card, weights=tmp_path / "half.pth").model.norm.bias.dtype is torch.float32


def test_a_pipe_is_no_weights_file(card: str, tmp_path: Path) -> None:
    for name in ("weights.pth", "weights.safetensors"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(DensebenchError, match="no such weights file"):
            load_backbone(card, weights=tmp_path / name)
