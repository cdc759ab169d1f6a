"""Student and teacher: compiled once for every size of views, with fixed shapes."""

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch

from densebench.host.watcher import Watcher
from densebench.posttrain.networks import build_networks
from densebench.posttrain.recipe import Recipe


def test_two_sizes_are_two_static_graphs(
    make_backbone: Callable[..., Any],
    make_recipe: Callable[..., Recipe],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[Any, ...]] = []

    def keep(module: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[..., Any]:
        symbols = [x for x in inputs if isinstance(x, torch.SymInt)]
        sizes = [s for x in inputs if isinstance(x, torch.Tensor) for s in x.shape]
        symbols += [s for s in sizes if isinstance(s, torch.SymInt)]
        seen.append((len(symbols), tuple(s for s in sizes if not isinstance(s, torch.SymInt))))
        return module.forward

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=keep))
    recipe = make_recipe(model__compile=True, model__head_layers=1)
    backbone = make_backbone(depth=1)
    networks = build_networks(backbone, recipe, torch.device("cpu"), Watcher())
    sizes = (56, 28, 56, 28)
    for size in sizes:
        grid = networks.teacher(torch.zeros(2, 3, size, size))
        assert grid.shape == (2, size // 14, size // 14, 8)
    assert [symbols for symbols, _ in seen] == [0, 0]
    torch._dynamo.reset()
