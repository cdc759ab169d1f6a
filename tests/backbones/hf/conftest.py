"""Small random models of transformers in folders, and the same weights under timm's names."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import transformers
from safetensors.torch import load_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

SIDE, PATCH, WIDTH = 32, 8, 32
SIZES: dict[str, Any] = {
    "hidden_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 4 * WIDTH,
    "image_size": SIDE,
    "patch_size": PATCH,
}
TEXT = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": 50,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
MADE: dict[str, tuple[str, dict[str, Any]]] = {
    "dinov2": ("Dinov2Model", {}),
    "dinov2_with_registers": ("Dinov2WithRegistersModel", {"num_register_tokens": 3}),
    "dinov3_vit": ("DINOv3ViTModel", {"num_register_tokens": 4}),
    "vit": ("ViTModel", {"layer_norm_eps": 1e-6}),
    "vit_classifier": ("ViTForImageClassification", {"layer_norm_eps": 1e-6, "num_labels": 5}),
    "clip_vision_model": ("CLIPVisionModel", {}),
    "siglip_vision_model": ("SiglipVisionModel", {}),
    "siglip2_vision_model": ("Siglip2VisionModel", {"num_patches": (SIDE // PATCH) ** 2}),
    "clip": ("CLIPModel", {}),
    "siglip": ("SiglipModel", {}),
}


def tiny(kind: str, **changes: Any) -> Any:
    """A model whose every weight is drawn, so that none can hide in a zero."""
    name, own = MADE[kind]
    of_model = getattr(transformers, name)
    sizes = {**SIZES, **own, **changes}
    if kind in ("clip", "siglip"):
        sizes = {"text_config": TEXT, "vision_config": sizes}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = of_model(of_model.config_class(**sizes)).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """A folder with a model's configuration and weights."""

    def make(kind: str = "dinov2", name: str = "", **changes: Any) -> Path:
        folder = tmp_path / (name or kind)
        tiny(kind, **changes).save_pretrained(folder)
        return folder

    return make


@dataclass
class Twin:
    """A model of timm with a folder's weights."""

    model: nn.Module

    def features(self, images: Tensor) -> Tensor:
        """Normed patches of the last block (b, h, w, d)."""
        with torch.no_grad():
            (found,) = self.model.forward_intermediates(
                images, indices=1, norm=True, intermediates_only=True
            )
        return found.permute(0, 2, 3, 1)


RENAMED = (
    (r"^(vit|vision_model)\.", ""),
    (r"^(encoder\.)?layers?\.(\d+)\.", r"blocks.\2."),
    (r"^embeddings\.patch_embeddings?\.(projection\.)?", "patch_embed.proj."),
    (r"^embeddings\.(cls_token|class_embedding)", "cls_token"),
    (r"^embeddings\.register_tokens", "reg_token"),
    (r"^embeddings\.position_embeddings?(\.weight)?", "pos_embed"),
    (r"\.(layernorm_before|layer_norm1)\.", ".norm1."),
    (r"\.(layernorm_after|layer_norm2)\.", ".norm2."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.self_attn\.out_proj\.|\.attention\.o_proj\.", ".attn.proj."),
    (r"\.(self_attn|attention)(\.attention)?\.(query|q_proj)\.", ".attn.q."),
    (r"\.(self_attn|attention)(\.attention)?\.(key|k_proj)\.", ".attn.k."),
    (r"\.(self_attn|attention)(\.attention)?\.(value|v_proj)\.", ".attn.v."),
    (r"\.(intermediate\.dense|mlp\.up_proj)\.", ".mlp.fc1."),
    (r"\.(output\.dense|mlp\.down_proj)\.", ".mlp.fc2."),
    (r"\.layer_scale(\d)\.lambda1", r".ls\1.gamma"),
    (r"^(layernorm|post_layernorm)\.", "norm."),
    (r"^pre_layrnorm\.", "norm_pre."),
)
OTHERS = re.compile(r"^(classifier|pooler|head|text_|visual_|logit_|mask_token|embeddings\.mask)")


def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a folder under timm's names; queries, keys and values still apart."""
    found: dict[str, Tensor] = {}
    for old, tensor in state.items():
        name = old
        for pattern, new in RENAMED:
            name = re.sub(pattern, new, name)
        if not OTHERS.match(name):
            found[name] = tensor
    return found


def joined(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same with queries, keys and values in one, as timm has them."""
    apart = re.compile(r"\.attn\.[qkv]\.")
    whole = {name: tensor for name, tensor in state.items() if not apart.search(name)}
    for name in [name for name in state if ".attn.q." in name]:
        parts = [state.get(name.replace(".attn.q.", f".attn.{part}.")) for part in "qkv"]
        keys = parts[1] if parts[1] is not None else torch.zeros_like(state[name])
        whole[name.replace(".q.", ".qkv.")] = torch.cat([parts[0], keys, parts[2]])
    return whole


@pytest.fixture
def make_twin() -> Callable[[Path, str], Twin]:
    """timm's model with the weights of a folder, mapped here by hand."""

    def make(folder: Path, kind: str) -> Twin:
        state = joined(renamed(load_file(folder / "model.safetensors")))
        if kind == "dinov3_vit":
            return Twin(_eva(state))
        registers = state["reg_token"].shape[1] if "reg_token" in state else 0
        if state["pos_embed"].ndim == 2:
            state["pos_embed"] = state["pos_embed"][None]
        if "cls_token" in state:
            state["cls_token"] = state["cls_token"].reshape(1, 1, -1)
        if registers:
            state["cls_token"] = state["cls_token"] + state["pos_embed"][:, :1]
            state["pos_embed"] = state["pos_embed"][:, 1:]
        if state["patch_embed.proj.weight"].ndim == 2:
            flat = state["patch_embed.proj.weight"].unflatten(1, (PATCH, PATCH, 3))
            state["patch_embed.proj.weight"] = flat.permute(0, 3, 1, 2)
        return Twin(_vit(state, registers, kind))

    return make


def _vit(state: dict[str, Tensor], registers: int, kind: str) -> nn.Module:
    clip, siglip = kind.startswith("clip"), kind.startswith("siglip")
    eps = 1e-5 if clip else 1e-6
    model = VisionTransformer(
        img_size=SIDE,
        patch_size=PATCH,
        embed_dim=WIDTH,
        depth=2,
        num_heads=2,
        num_classes=0,
        class_token=not siglip,
        global_pool="" if siglip else "token",
        reg_tokens=registers,
        no_embed_class=registers > 0,
        pre_norm=clip,
        init_values=1.0 if kind.startswith("dinov2") else None,
        norm_layer=partial(nn.LayerNorm, eps=eps),
        act_layer="quick_gelu" if clip else "gelu_tanh" if siglip else None,
        dynamic_img_size=True,
    )
    model.load_state_dict(state)
    return model.eval()


def _eva(state: dict[str, Tensor]) -> nn.Module:
    values = {re.sub(r"ls([12])\.gamma", r"gamma_\1", name): v for name, v in state.items()}
    for name in [name for name in values if name.endswith("qkv.bias")]:
        bias = values.pop(name)
        prefix = name.removesuffix("qkv.bias")
        values[prefix + "q_bias"], _, values[prefix + "v_bias"] = bias.chunk(3)
    model = timm.create_model(
        "vit_small_patch16_dinov3_qkvb",
        embed_dim=WIDTH,
        depth=2,
        num_heads=2,
        img_size=SIDE,
        patch_size=PATCH,
        num_classes=0,
    )
    model.load_state_dict(values)
    return model.eval()


@pytest.fixture
def write_hf_card() -> Callable[..., Path]:
    """A card of source ``hf`` beside a folder of a model."""

    def write(folder: Path, **changes: Any) -> Path:
        from densebench.backbones import card_for
        from densebench.posttrain.outcome import as_toml

        card = card_for(f"hf:{folder}")
        assert card is not None
        values = card.model_dump(mode="json", exclude_none=True)
        values["weights"] = {"path": f"{folder.name}/{card.weights.path}"}
        path = folder.parent / "card.toml"
        path.write_text(as_toml({**values, **changes}), encoding="utf-8")
        return path

    return write
