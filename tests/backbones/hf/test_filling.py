"""Weights of transformers' files: all there, of this model, and plain numbers."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from densebench.backbones import load_backbone
from densebench.backbones.hf.configuration import read_configuration
from densebench.backbones.hf.filling import filled, random_model, saved, shards
from densebench.host.errors import DensebenchError


def error_of(folder: Path) -> str:
    with pytest.raises(DensebenchError) as caught:
        load_backbone(f"hf:{folder}")
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)
    return str(caught.value)


def rewrite(folder: Path, change: Any) -> None:
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors")


def test_half_precision_is_read_as_single(make_folder: Any) -> None:
    folder = make_folder("vit")
    rewrite(folder, lambda state: state.update({k: v.half() for k, v in state.items()}))
    backbone = load_backbone(f"hf:{folder}")
    assert {p.dtype for p in backbone.parameters()} == {torch.float32}


def test_an_idle_mask_token_may_be_missing(make_folder: Any) -> None:
    folder = make_folder("dinov2")
    rewrite(folder, lambda state: state.pop("embeddings.mask_token"))
    rewrite(folder, lambda state: state.update({"classifier.weight": torch.ones(9, 99)}))
    first = load_backbone(f"hf:{folder}")
    assert not first.model.embeddings.mask_token.any()
    assert load_backbone(f"hf:{folder}").fingerprint == first.fingerprint


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda s: s.pop("layernorm.weight"), r"keys missing: layernorm.weight \(1 in all\)"),
        (
            lambda s: s.update({"other": s.pop("layernorm.weight")}),
            r"keys missing: layernorm.weight \(1 in all\); not known here: other",
        ),
        (
            lambda s: s.update({"layernorm.weight": torch.ones(99)}),
            r"of another shape: layernorm.weight \[99\] instead of \[32\]",
        ),
        (
            lambda s: s.update({"layernorm.weight": torch.ones(32, dtype=torch.int8)}),
            "layernorm.weight holds int8; these are quantised",
        ),
    ],
)
def test_weights_that_do_not_fit(change: Any, told: str, make_folder: Any) -> None:
    folder = make_folder("vit")
    rewrite(folder, change)
    with pytest.raises(DensebenchError, match=told):
        load_backbone(f"hf:{folder}")


def test_a_larger_model_than_the_weights_is_never_built(make_folder: Any) -> None:
    folder = make_folder("vit")
    config = folder / "config.json"
    values = json.loads(config.read_text())
    config.write_text(json.dumps({**values, "hidden_size": 999_998, "num_hidden_layers": 900}))
    assert "and its config.json is of a model of" in error_of(folder)


def test_pickles_without_code_are_read_and_others_refused(make_folder: Any) -> None:
    folder = make_folder("vit")
    first = load_backbone(f"hf:{folder}").fingerprint
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    assert load_backbone(f"hf:{folder}").fingerprint == first

    class Code:
        def __reduce__(self) -> Any:
            return print, ("run",)

    torch.save({**state, "code": Code()}, folder / "pytorch_model.bin")
    assert "refused, because reading it would run code" in error_of(folder)


def test_weights_spread_over_several_files(make_folder: Any) -> None:
    folder = make_folder("vit")
    first = load_backbone(f"hf:{folder}").fingerprint
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(state)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, own in parts.items():
        save_file({name: state[name] for name in own}, folder / file)
    by_name = {name: file for file, own in parts.items() for name in own}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": by_name}))
    assert sorted(shards(index)) == sorted(parts)
    assert load_backbone(f"hf:{folder}").fingerprint == first
    assert load_backbone(f"hf:{folder}", weights=index).fingerprint == first
    (folder / "b.safetensors").unlink()
    assert "there is no b.safetensors" in error_of(folder)
    for odd in ({"x": "../a.safetensors"}, {"x": "a.bin"}, {"x": 1}, {}, None):
        index.write_text(json.dumps({"weight_map": odd}))
        assert "lists no .safetensors files that lie beside it" in error_of(folder)


def test_random_weights_are_those_of_the_seed(make_folder: Any) -> None:
    configuration = read_configuration(make_folder("vit") / "config.json")
    before = torch.random.get_rng_state()
    first, again, other = (random_model(configuration, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    weights = [model.embeddings.patch_embeddings.projection.weight for model in (first, again)]
    assert torch.equal(*weights)
    assert not torch.equal(weights[0], other.embeddings.patch_embeddings.projection.weight)


def test_what_is_saved_is_read_again(make_folder: Any) -> None:
    folder = make_folder("dinov2")
    configuration = read_configuration(folder / "config.json")
    whole = load_file(folder / "model.safetensors")
    state, config = saved(filled(configuration, whole, folder))
    assert state.keys() == whole.keys()
    assert all(torch.equal(state[name], whole[name]) for name in whole)
    assert json.loads(config)["model_type"] == "dinov2"
