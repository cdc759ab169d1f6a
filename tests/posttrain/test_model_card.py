"""The model card: what it says, and its Python, which runs."""

import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from timm import create_model
from torch import nn

from densebench import cli
from densebench.backbones import load_backbone
from densebench.backbones.base import IMAGENET_MEAN, IMAGENET_STD
from densebench.cards import BackboneCard, WeightsSource, find_backbone
from densebench.posttrain.model_card import Origin, Result, hub_id, model_card, with_results
from densebench.posttrain.outcome import as_toml
from densebench.posttrain.recipe import Recipe
from densebench.posttrain.session import PosttrainOptions, posttrain

ORIGIN = Origin("tiny", "tiny", None, "b" * 64, 1200, "f" * 64, ("coco", "voc"), 80, 3)


def card_of(model: str, **changes: Any) -> BackboneCard:
    known: dict[str, Any] = {
        "name": "small",
        "source": "timm",
        "id": model,
        "weights": {"path": "base.safetensors"},
        "patch_size": 16,
        "embed_dim": 64,
        "prefix_tokens": 1,
        "mean": IMAGENET_MEAN,
        "std": IMAGENET_STD,
        "position_embedding": "dino",
        "license": "MIT",
        "training_data": "noise",
    }
    return BackboneCard(**(known | changes))


def snippets(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


def ran(code: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(compile(code, "snippet", "exec"), names)
    return names


def test_what_it_says(make_recipe: Callable[..., Recipe]) -> None:
    text = model_card(card_of("test_vit"), make_recipe(), ORIGIN)
    head = text.split("---\n")[1].splitlines()
    assert head == ['license: "mit"', "tags: [densebench, neco, dense-features]"]
    told = " ".join(text.split())
    assert "1,200 images of coco, voc, no labels" in told
    assert "3 images could not be read and were left out." in told
    assert "80 steps of 4 images" in told
    assert "Licence: MIT, carried over from the base" in told
    clean = Origin(**{**vars(ORIGIN), "unreadable": 0})
    assert "could not be read" not in model_card(card_of("test_vit"), make_recipe(), clean)


def test_a_base_is_named_only_if_it_is_on_the_hub(make_recipe: Callable[..., Recipe]) -> None:
    source = WeightsSource(repo="org/model", file="model.safetensors")
    assert hub_id(card_of("test_vit", weights=source)) == "org/model"
    assert hub_id(card_of("test_vit")) is None
    assert hub_id(card_of("test_vit", weights=None)) is None
    origin = Origin(**{**vars(ORIGIN), "hub": "org/model"})
    head = model_card(card_of("test_vit"), make_recipe(), origin).split("---\n")[1]
    assert 'base_model: "org/model"' in head.splitlines()


def test_the_python_of_a_timm_model_s_card_loads_it(workplace: Path) -> None:
    save_file(create_model("test_vit", num_classes=7).state_dict(), "base.safetensors")
    card = card_of("test_vit", drop_keys=("head.", "fc_norm."))
    Path("small.toml").write_text(as_toml(card.model_dump(mode="json", exclude_none=True)))
    sizes = {"views.global_size": 64, "views.local_size": 32, "training.steps": 1}
    options = PosttrainOptions("small.toml", (Path("photos"),), "mine", recipe="tiny.toml")
    made = posttrain(PosttrainOptions(**{**vars(options), "overrides": sizes, "device": "cpu"}))
    ours, timm_s = snippets((made.parent / "README.md").read_text())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made.parent)
        assert ran(ours)["patches"].shape == (1, 8, 8, 64)
        found = ran(timm_s)
    images = torch.rand(found["images"].shape)
    with torch.no_grad():
        expected = load_backbone(made)(images).flatten(1, 2)
        patches = found["model"].forward_features(images)[:, 1:]
    assert found["patches"].shape == patches.shape
    torch.testing.assert_close(patches, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["Dinov2WithRegisters", "DINOv3ViT", "ViT", "SiglipVision"])
def test_the_python_for_transformers_loads_the_folder(kind: str, workplace: Path) -> None:
    of_model = getattr(transformers, f"{kind}Model")
    sizes = {"hidden_size": 32, "num_attention_heads": 2, "image_size": 56, "patch_size": 14}
    config = of_model.config_class(**sizes, intermediate_size=32, num_hidden_layers=2)
    of_model(config).save_pretrained("base")
    base, overrides = load_backbone("hf:base"), {"training.steps": 1}
    options = PosttrainOptions("hf:base", (Path("photos"),), "mine", recipe="tiny.toml")
    made = posttrain(PosttrainOptions(**{**vars(options), "overrides": overrides}))
    assert find_backbone("mine").card.adapted_from == "hf:base"
    text = (made.parent / "README.md").read_text()
    assert "base_model" not in text and "`model.safetensors` (what" in text
    ours, theirs = snippets(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made.parent)
        assert ran(ours)["patches"].shape == (1, 8, 8, 32)
        model = ran(theirs)["model"]
        processor = transformers.AutoImageProcessor.from_pretrained(".")
    assert tuple(processor.image_mean) == base.mean
    trained, images = load_backbone("mine"), torch.rand(1, 3, 56, 56)
    assert trained.fingerprint != base.fingerprint
    with torch.no_grad():
        expected = trained(images).flatten(1, 2)
        patches = model(pixel_values=images).last_hidden_state[:, -16:]
    torch.testing.assert_close(patches, expected, atol=1e-5, rtol=1e-5)
    assert (made.parent / "teacher.safetensors").is_file()
    assert posttrain(replace(options, resume=True, overrides=overrides)) == made


def test_a_base_of_random_weights_is_told(workplace: Path) -> None:
    sizes = {"views.global_size": 64, "views.local_size": 32, "training.steps": 1}
    options = PosttrainOptions("timm:test_vit", (Path("photos"),), "mine", recipe="tiny.toml")
    made = posttrain(replace(options, random_weights=5, overrides=sizes, device="cpu"))
    card = find_backbone(made).card
    assert card.adapted_from == "timm:test_vit@random-5"
    assert card.training is not None and card.training.base == "timm:test_vit@random-5"
    text = (made.parent / "README.md").read_text()
    assert "base_model" not in text and "timm:test_vit@random-5, post-trained" in text
    trained, base = load_backbone("mine"), load_backbone("timm:test_vit", random_weights=5)
    assert trained.fingerprint != base.fingerprint
    assert trained.random_weights is None


def test_the_python_for_the_official_repository_asks_it_for_these_names(
    make_recipe: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    official = Path(__file__).parents[1] / "golden/arch_dinov2_reg4.safetensors"
    state = load_file(official)
    save_file(state, tmp_path / "student.safetensors")
    card = card_of("vit_small_patch14_reg4_dinov2.lvd142m", patch_size=14, prefix_tokens=5)
    asked = []

    class Official(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name, value in state.items():
                self.register_buffer(name.replace(".", "/"), torch.zeros_like(value))

        def load_state_dict(self, found: dict[str, torch.Tensor], strict: bool = True) -> Any:
            return super().load_state_dict(
                {name.replace(".", "/"): value for name, value in found.items()}, strict
            )

    def load(*words: str, **options: Any) -> nn.Module:
        asked.append((words, options))
        return Official()

    monkeypatch.setattr(torch.hub, "load", load)
    monkeypatch.chdir(tmp_path)
    _, _, code = snippets(model_card(card, make_recipe(), ORIGIN, state))
    model = ran(code)["model"]
    assert asked == [(("facebookresearch/dinov2", "dinov2_vits14_reg"), {"pretrained": False})]
    assert all(torch.equal(v, state[k.replace("/", ".")]) for k, v in model.state_dict().items())


@pytest.mark.parametrize(
    ("model", "changes", "names", "entry"),
    [
        ("vit_base_patch14_dinov2.lvd142m", {}, ("mask_token",), "dinov2_vitb14"),
        ("vit_base_patch14_dinov2.lvd142m", {}, ("norm.weight",), None),
        ("vit_base_patch8_224.dino", {}, ("norm.weight",), "dino_vitb8"),
        ("vit_base_patch16_224.augreg", {}, ("mask_token",), None),
        ("vit_base_patch8_224.dino", {"source": "python"}, (), None),
        (
            "vit_base_patch14_dinov2.lvd142m",
            {"drop_keys": ("register_tokens",)},
            ("mask_token",),
            None,
        ),
    ],
)
def test_which_weights_the_official_repositories_take(
    make_recipe: Callable[..., Recipe],
    model: str,
    changes: dict[str, Any],
    names: tuple[str, ...],
    entry: str | None,
) -> None:
    text = model_card(card_of(model, **changes), make_recipe(), ORIGIN, names)
    assert re.findall(r'torch.hub.load\(".*", "(.*)", pretrained', text) == [entry] * bool(entry)


@pytest.mark.slow  # the scenes are drawn
def test_the_command_that_it_suggests_works(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Though no command knows the name, as of the demo's backbone."""
    options = PosttrainOptions("net.py:make", (Path("photos"),), "mine", recipe="tiny.toml")
    sizes = {"training.steps": 1}
    known = {**vars(options), "overrides": sizes, "device": "cpu", "register": False}
    made = posttrain(PosttrainOptions(**known))
    (command,) = re.findall(
        r"^    densebench (run .*)$", (made.parent / "README.md").read_text(), re.M
    )
    monkeypatch.chdir(made.parent)
    words = [*command.split(), "--limit", "2", "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["densebench", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code, capfd.readouterr().err
    assert len([*Path("leaderboard/results/mine").rglob("*.json")]) == 1


def test_results_take_the_place_of_what_was_said(make_recipe: Callable[..., Recipe]) -> None:
    text = model_card(card_of("test_vit"), make_recipe(), ORIGIN)
    first = with_results(text, "new", "old", [Result("t", "mIoU %", "1", "2", "+1", "0.5")], "So.")
    second = with_results(first, "new", "old", [Result("u", "mIoU %", "3", "4", "+1", "")], "So.")
    for told, row in ((first, "| t | mIoU % | 1 | 2 | +1 | 0.5 |"), (second, "| u | mIoU % | 3 ")):
        assert told.startswith(text.partition("Not evaluated yet")[0])
        assert row in told
        assert told.endswith("\n\nSo.\n")
    assert "| t |" not in second
