import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

import densebench
from densebench.backbones import card_for, load_backbone
from densebench.host.errors import DensebenchError


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    save_file(timm.create_model("test_vit").state_dict(), path)
    return path


def test_a_card_by_name_and_by_path(
    write_card: Callable[..., Path], weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_card("mine", position_embedding="neco")
    by_path = load_backbone(path, weights=weights)
    monkeypatch.setenv("DENSEBENCH_PATH", str(path.parent))
    by_name = densebench.load_backbone("mine", weights=str(weights))
    assert isinstance(by_name, densebench.DenseBackbone)
    assert by_name.fingerprint == by_path.fingerprint
    assert not by_name.training and by_name.card == card_for("mine")
    assert by_name(torch.zeros(1, 3, 48, 32)).shape == (1, 3, 2, 64)


def test_random_weights_are_never_used(write_card: Callable[..., Path]) -> None:
    with pytest.raises(DensebenchError, match="names no official weights; give --weights FILE"):
        load_backbone(write_card())


def test_weights_beside_the_card(
    write_card: Callable[..., Path],
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "kept").mkdir()
    moved = weights.rename(tmp_path / "kept" / "student.safetensors")
    card = write_card("trained", weights={"path": "kept/student.safetensors"})
    monkeypatch.chdir("/")  # relative to the card, not to where you are
    by_path = load_backbone(card, offline=True)
    assert by_path.fingerprint == load_backbone(card, weights=moved).fingerprint
    monkeypatch.setenv("DENSEBENCH_PATH", str(tmp_path))
    assert load_backbone("trained", offline=True).fingerprint == by_path.fingerprint
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/trained.toml").symlink_to(card)
    linked = load_backbone(tmp_path / "linked/trained.toml", offline=True)
    assert linked.fingerprint == by_path.fingerprint
    moved.rename(tmp_path / "gone")
    with pytest.raises(DensebenchError, match=r"trained: no weights: there is no file .*/kept/stu"):
        load_backbone("trained")


def test_the_hash_of_weights_beside_the_card_is_checked(
    write_card: Callable[..., Path], weights: Path
) -> None:
    content = hashlib.sha256(weights.read_bytes()).hexdigest()
    stated = {"path": weights.name, "sha256": content}
    assert load_backbone(write_card(weights=stated)).embed_dim == 64
    with pytest.raises(DensebenchError, match=r"weights\.safetensors: its SHA-256 is"):
        load_backbone(write_card(weights={**stated, "sha256": "0" * 64}))


def test_baselines_need_no_weights(weights: Path) -> None:
    assert load_backbone("rgb_s14", offline=True).embed_dim == 6
    with pytest.raises(DensebenchError, match=r"rgb_s14: a hand-made descriptor takes no weights"):
        load_backbone("rgb_s14", weights=weights)


def test_the_image_size_must_divide() -> None:
    assert load_backbone("rgb_s14", image_size=224).patch_size == 14
    with pytest.raises(
        DensebenchError, match=r"225 is no multiple .* 14; the nearest is 224 or 238"
    ):
        load_backbone("rgb_s14", image_size=225)
    with pytest.raises(DensebenchError, match="0 is no multiple"):
        load_backbone("rgb_s14", image_size=0)


@pytest.mark.parametrize(
    ("device", "message"),
    [("cuda:99", r"device 'cuda:99': torch sees \w+ CUDA GPUs"), ("gpu", "no such kind")],
)
def test_a_device_that_is_not_there(device: str, message: str) -> None:
    with pytest.raises(DensebenchError, match=message):
        load_backbone("rgb_s14", device=device)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_cuda_without_a_gpu() -> None:
    with pytest.raises(DensebenchError, match="torch sees no CUDA GPUs here; use device 'cpu'"):
        load_backbone("rgb_s14", device="cuda")


def test_random_weights_follow_their_seed(write_card: Callable[..., Path]) -> None:
    card = str(write_card())
    before = torch.random.get_rng_state()
    first, again, other = (load_backbone(card, random_weights=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert first.fingerprint == again.fingerprint != other.fingerprint
    again.random_weights = None  # the same weights, had they been learnt
    assert first.fingerprint != again.fingerprint


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("rgb_s14", "take a backbone of hf, open_clip, timm"),
        (f"{__file__}:make", "weights of plug-ins are not drawn"),
    ],
)
def test_whose_weights_are_not_drawn(name: str, told: str) -> None:
    with pytest.raises(DensebenchError, match=told):
        load_backbone(name, random_weights=0)


@pytest.mark.parametrize("name", ["foo:bar", "tim:x", "python:a", "baseline:hog"])
def test_a_wrong_prefix_lists_the_right_ones(name: str) -> None:
    with pytest.raises(DensebenchError) as caught:
        load_backbone(name)
    assert f"there is no prefix '{name.partition(':')[0]}:'" in str(caught.value)
    assert "known are hf:, open_clip:, timm: (as timm:ID, open_clip:ARCH/TAG" in str(caught.value)
    assert ("did you mean 'timm'?" in str(caught.value)) == (name == "tim:x")


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(DensebenchError, match=r"unknown backbone 'dinov2_s41'.*did you mean"):
        load_backbone("dinov2_s41")
    with pytest.raises(DensebenchError, match=r"no card at nowhere/dino.toml"):
        load_backbone("nowhere/dino.toml")
