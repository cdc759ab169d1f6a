"""The Jaccard index of attention maps, whole, against the published code."""

import json
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from densebench.datasets.targets import labels
from densebench.features.source import PatchBatch
from densebench.host.distributed import World
from densebench.host.errors import DensebenchError
from densebench.measures.scoring import Scorer
from densebench.protocols.attention_jaccard import (
    AT_ONCE,
    AttentionJaccard,
    AttentionJaccardParams,
)
from densebench.protocols.base import Setting

ONE = (1.0, 1.0, 1.0)
VOC = labels(("background", *(f"object {n}" for n in range(1, 21))), 255)


class StoredAttention:
    """Attention that was computed before."""

    def __init__(self, attention: torch.Tensor, masks: torch.Tensor) -> None:
        self.attention, self.masks = attention, masks
        names = [str(number) for number in range(len(masks))]
        self.split = SimpleNamespace(order=None, names=names, groups=None)
        self.unreadable: dict[str, str] = {}
        self.world = World()

    def __len__(self) -> int:
        return len(self.masks)

    def batches(self, *args: Any, **kwargs: Any) -> Iterator[PatchBatch]:
        for indices in torch.arange(len(self)).split(4):
            maps = self.attention[indices].permute(0, 2, 3, 1)
            yield PatchBatch(indices, maps, self.masks[indices])


def protocol(case: dict[str, int], variant: str = "reference", **params: Any) -> AttentionJaccard:
    setting = Setting(VOC, case["patch"], 64, ONE, ONE, variant)
    how = AttentionJaccardParams(input_size=case["size"], batch_size=case["batch"], **params)
    return AttentionJaccard(AttentionJaccard.resolve(how, variant), setting)


@pytest.mark.parametrize("case", ["p16", "p14"])
def test_neco_attention_whole(golden: Callable, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("densebench.protocols.attention_jaccard.of_attention", lambda same: same)
    arrays = golden("neco_attention")
    how = json.loads(str(arrays["meta"]))["cases"][case]
    attention = torch.from_numpy(arrays[f"{case}/attn"]).unflatten(-1, (how["grid"],) * 2)
    source = StoredAttention(attention, torch.from_numpy(arrays[f"{case}/gt"]))
    whole = protocol(how)
    scorer = Scorer(whole.scoring, source.split)
    for prediction in whole.predict(source):
        scorer.add(prediction)
    merged, best = scorer.results()[0].measured
    assert merged.value == pytest.approx(float(arrays[f"{case}/t0.6/merged"]), abs=4e-8)
    assert best.value == pytest.approx(float(arrays[f"{case}/t0.6/best_head"]), abs=4e-8)
    clean = protocol(how, "clean")
    scored = list(clean.predict(source))
    assert all(bool(prediction.values[:, 0].any()) for prediction in scored)
    assert sum(len(prediction.indices) for prediction in scored) == len(source)


def test_other_datasets_must_name_their_background() -> None:
    target = labels(("sky", "ground", "tree"), 255)
    with pytest.raises(DensebenchError, match="no class is called 'background'"):
        AttentionJaccardParams().check(target)
    AttentionJaccardParams(background=("sky", "ground")).check(target)


def test_a_grid_too_small_to_be_blurred() -> None:
    with pytest.raises(DensebenchError, match="input_size must be 64 or more"):
        protocol({"patch": 16, "size": 48, "batch": 5})


def test_few_images_are_scored_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("densebench.protocols.attention_jaccard.of_attention", lambda same: same)
    n_images, grid = 2 * AT_ONCE + 3, 7
    attention = torch.rand(n_images, 2, grid, grid, generator=torch.Generator().manual_seed(0))
    masks = torch.zeros(n_images, 98, 98, dtype=torch.uint8)
    whole = protocol({"patch": 14, "size": 98, "batch": 256})
    found = list(whole.predict(StoredAttention(attention, masks)))
    assert torch.cat([some.indices for some in found]).tolist() == [*range(n_images)]
    assert max(len(some.indices) for some in found) == AT_ONCE
    assert whole.memory_plan(0, n_images) == {"masks that may be dropped": n_images * 98**2}
