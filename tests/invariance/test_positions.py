"""Whose rule resizes the learnt positions of a run: the protocol's, and the record says it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from densebench.features.source import PatchBatch, PatchSource
from densebench.records.schema import RunRecord
from densebench.run.execute import evaluate
from densebench.run.options import RunOptions

CARD = """
name = "tiny"
source = "timm"
id = "test_vit.r160_in1k"
patch_size = 16
embed_dim = 64
prefix_tokens = 1
mean = [0.1, 0.2, 0.3]
std = [0.4, 0.5, 0.6]
position_embedding = "{rule}"
license = "none"
training_data = "none"
drop_keys = ["head."]

[weights]
path = "tiny.safetensors"
"""
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HBIRD = (IMAGENET[0], (0.229, 0.224, 0.255))
OWN = ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


@pytest.fixture
def card(tmp_path: Path) -> Callable[[str], Path]:
    def write(rule: str) -> Path:
        torch.manual_seed(0)
        model = timm.create_model("test_vit", num_classes=0)
        save_file(model.state_dict(), tmp_path / "tiny.safetensors")
        (tmp_path / f"{rule}.toml").write_text(CARD.format(rule=rule))
        return tmp_path / f"{rule}.toml"

    return write


@pytest.fixture
def score(
    tasks: Path, tmp_path: Path, card: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[RunRecord, np.ndarray, tuple]]:
    """A run's record, the first image's patches, and the normalisation of its views."""

    def run(rule: str, protocol: str, variant: str, **params: str) -> tuple:
        monkeypatch.setenv("DENSEBENCH_CACHE", str(tmp_path / "cache"))
        seen: list[PatchBatch] = []
        views = []
        real = PatchSource.batches

        def batches(self, transform, *rest, **named):
            views.append(transform)
            for batch in real(self, transform, *rest, **named):
                seen.append(batch)
                yield batch

        monkeypatch.setattr(PatchSource, "batches", batches)
        options = RunOptions(
            str(card(rule)),
            str(tasks / f"{protocol}.toml"),
            variant=variant,
            params={"input_size": 64, **params},
            results=tmp_path / "results",
        )
        record, _ = evaluate(options)
        monkeypatch.setattr(PatchSource, "batches", real)
        return record, seen[-1].patches[-1].numpy(), (views[-1].mean, views[-1].std)

    return run


@pytest.mark.parametrize(
    ("rule", "protocol", "variant", "positions", "normalisation"),
    [
        ("dinov2_reg", "linear", "reference", "neco", IMAGENET),
        ("dinov2_reg", "overclustering", "reference", "neco", IMAGENET),
        ("dinov2_reg", "linear", "clean", "dinov2_reg", OWN),
        (
            "dinov2_reg",
            "in_context",
            "reference",
            "dinov2_reg",
            HBIRD,
        ),
        ("neco", "in_context", "reference", "dino", HBIRD),
        ("neco", "in_context", "clean", "neco", OWN),
    ],
)
def test_reference_is_as_published_and_clean_the_card_s_own(
    score, rule, protocol, variant, positions, normalisation
) -> None:
    record, _, used = score(rule, protocol, variant)
    assert record.backbone.positions == positions
    assert used == normalisation


def test_the_rule_moves_features_and_the_run_and_not_the_backbone(score) -> None:
    params = {"normalisation": "card"}
    neco, ours, _ = score("dinov2_reg", "linear", "clean", positions="neco", **params)
    own, theirs, _ = score("dinov2_reg", "linear", "clean", **params)
    assert np.abs(ours - theirs).max() > 1e-4
    assert neco.backbone.fingerprint == own.backbone.fingerprint
    assert neco.run_id != own.run_id
    assert neco.protocol.hash != own.protocol.hash
