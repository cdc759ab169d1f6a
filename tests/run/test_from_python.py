"""A run as Python asks for it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from densebench.backbones import load_backbone
from densebench.host.errors import DensebenchError
from densebench.host.watcher import Watcher
from densebench.run.from_python import as_options, as_path, evaluate_given


def test_a_name_or_none() -> None:
    assert as_path(Path("cards/mine.toml")) == "cards/mine.toml"
    assert as_path("hog_s14") == "hog_s14"
    assert as_path(torch.nn.Identity()) is None


def test_texts_become_paths() -> None:
    options = as_options("hog_s14", "voc_linear", None, {"data_root": "data", "results": "there"})
    assert (options.data_root, options.results) == (Path("data"), Path("there"))
    assert as_options(torch.nn.Identity(), "t", None, {}).backbone == "Identity"
    assert as_options(torch.nn.Identity(), "t", "mine", {}).backbone == "mine"


@pytest.mark.parametrize(
    ("model", "changes", "told"),
    [
        (3, {}, "a backbone is a name, a path or an nn.Module, not a int"),
        (torch.nn.Identity(), {"weights": Path("w.pt")}, "a module has its own"),
    ],
)
def test_what_is_no_backbone(
    model: Any, changes: dict[str, Any], told: str, tiny_task: Path
) -> None:
    options = as_options(model, tiny_task, None, {"device": "cpu", **changes})
    with pytest.raises(DensebenchError, match=told):
        evaluate_given(model, options, Watcher())


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("seed", 1.5, "seed is a whole number, not 1.5"),
        ("limit", "1", "limit is a whole number, not '1'"),
        ("batch_size", True, "batch_size is a whole number, not True"),
        ("workers", -1, "workers is a number from 0 to"),
        ("overwrite", "no", "overwrite is True or False, not 'no'"),
        ("data_root", b"x", "data_root is a path"),
        ("results", None, "results is a path, not None"),
        ("params", [], "params is a table of parameters"),
    ],
)
def test_a_value_of_another_kind(option: str, value: Any, told: str) -> None:
    with pytest.raises(DensebenchError, match=told):
        as_options("hog_s14", "voc_linear", None, {option: value})


def test_numbers_of_numpy_are_numbers() -> None:
    options = as_options("hog_s14", "voc_linear", None, {"seed": np.int64(3), "limit": None})
    assert (options.seed, options.limit) == (3, None)
    assert type(options.seed) is int


@pytest.mark.parametrize("name", ["", " ", "a\nb", "a\x7f"])
def test_a_name_that_cannot_be_seen(name: str) -> None:
    with pytest.raises(DensebenchError, match="is no name"):
        as_options(torch.nn.Identity(), "voc_linear", name, {})


def test_a_module_by_the_name_of_a_card_is_not_the_card(tiny_task: Path, own_places: Path) -> None:
    class Zero(torch.nn.Module):
        patch_size = 14

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images[:, :1, ::14, ::14].permute(0, 2, 3, 1) * 0 + 1

    options = as_options(Zero(), tiny_task, "hog_s14", {"device": "cpu"})
    record, _ = evaluate_given(Zero(), options, Watcher())
    assert record.backbone.embed_dim == 1
    assert record.backbone.card == {}


def test_layers_of_a_module_and_of_a_backbone_that_is_left_as_it_was(
    tiny_task: Path, own_places: Path, blocks: str
) -> None:
    backbone = load_backbone(blocks)
    options = as_options(backbone, tiny_task, None, {"device": "cpu", "layers": [0, 2]})
    record, _ = evaluate_given(backbone, options, Watcher())
    assert record.backbone.layers == (0, 2)
    assert record.backbone.embed_dim == 2 * backbone.embed_dim
    assert record.backbone.name.endswith("layers 0+2")
    assert backbone.layers is None
    backbone.use_layers((1,))
    own, _ = evaluate_given(backbone, replace(options, layers=None), Watcher())
    assert (own.backbone.layers, backbone.layers) == ((1,), (1,))
    with pytest.raises(DensebenchError, match=r"has the layers 0 to 2, not \[3\]"):
        evaluate_given(backbone, replace(options, layers=(3,)), Watcher())
    assert backbone.layers == (1,)
    module = backbone.module  # type: ignore[attr-defined]
    of_module, _ = evaluate_given(module, replace(options, backbone="m"), Watcher())
    assert of_module.score.value == record.score.value
    assert of_module.backbone.name == "m, layers 0+2"
