"""Whether others can have the weights, and whether these have seen the images."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from densebench.files.hashes import content_hash
from densebench.records.schema import (
    BackboneRecord,
    ContaminationRecord,
    RunRecord,
    TrainingRecord,
)
from densebench.submission.provenance import brought_card, weight_problems

TRAINING = TrainingRecord(
    base="rgb_s14", base_fingerprint="0" * 64, recipe="neco", recipe_hash="1" * 64, seed=0, steps=9
)


@pytest.fixture
def record(record_file: Callable) -> RunRecord:
    return RunRecord(**json.loads(record_file().read_text()))


def found(record: RunRecord, **others: Any) -> str:
    return "\n".join(weight_problems(record.model_copy(update=others)))


def backbone(record: RunRecord, **others: Any) -> BackboneRecord:
    changed = record.backbone.model_copy(update=others)
    return changed.model_copy(update={"card_hash": content_hash(changed.card)})


def test_seen_images(record: RunRecord) -> None:
    assert found(record) == ""
    seen = ContaminationRecord(seen=2, total=3)
    assert "contamination.seen is 2" in found(record, contamination=seen)
    trained = backbone(record, training=TRAINING)
    assert "contamination is not known" in found(record, backbone=trained)
    unseen = ContaminationRecord(seen=0, total=3)
    assert found(record, backbone=trained, contamination=unseen) == ""


def test_weights_that_nobody_else_has(record: RunRecord) -> None:
    assert "are the file mine.pth" in found(record, backbone=backbone(record, weights="mine.pth"))
    assert "has no card" in found(record, backbone=backbone(record, card={}))
    unknown = backbone(record, name="mine", card={**record.backbone.card, "name": "mine"})
    assert "backbone mine has no card here" in found(record, backbone=unknown)
    drawn = backbone(record, random_weights=3)
    assert "random_weights is 3: weights that were drawn" in found(record, backbone=drawn)


def test_a_card_is_the_one_that_is_here(record: RunRecord) -> None:
    other = {**record.backbone.card, "license": "mine"}
    assert "backbone.card.license is mine" in found(record, backbone=backbone(record, card=other))
    edited = record.backbone.model_copy(update={"card": other})
    assert "card_hash" in found(record, backbone=edited)
    assert "backbone.name is dinov9" in found(record, backbone=backbone(record, name="dinov9"))
    chosen = backbone(record, layers=(3, 5))
    assert "its card is rgb_s14, layers" in found(record, backbone=chosen)
    older = {key: value for key, value in record.backbone.card.items() if key != "citation"}
    assert found(record, backbone=backbone(record, card=older)) == ""


def test_a_card_that_is_not_ours_comes_along(
    record: RunRecord, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert brought_card(record) is None
    text = (own / "backbones/rgb_s14.toml").read_text()
    (tmp_path / "cards/backbones").mkdir(parents=True)
    card = tmp_path / "cards/backbones/mine.toml"
    card.write_text(text.replace('name = "rgb_s14"', 'name = "mine"'))
    monkeypatch.setenv("DENSEBENCH_PATH", str(tmp_path / "cards"))
    mine = backbone(record, name="mine", card={**record.backbone.card, "name": "mine"})
    assert found(record, backbone=mine) == ""
    brought = brought_card(record.model_copy(update={"backbone": mine}))
    assert brought is not None and brought.file == card
    local = {**mine.card, "weights": {"path": "mine.pth"}}
    told = found(record, backbone=backbone(mine_of(record, mine), card=local))
    assert "weights.path is mine.pth, a file that nobody else has" in told


def mine_of(record: RunRecord, mine: BackboneRecord) -> RunRecord:
    return record.model_copy(update={"backbone": mine})


def test_a_library_names_its_own_weights(record: RunRecord) -> None:
    card = {**record.backbone.card, "source": "timm", "name": "vit_tiny"}
    assert found(record, backbone=backbone(record, name="timm:vit_tiny", card=card)) == ""
    folder = {**card, "source": "hf", "weights": {"path": "model.safetensors"}}
    mine = backbone(record, name="hf:folder", card=folder)
    assert "a file that nobody else has" in found(record, backbone=mine)
    strange = backbone(record, name="mine:vit_tiny", card=card)
    assert "backbone.name is mine:vit_tiny" in found(record, backbone=strange)
