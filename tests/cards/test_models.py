"""What a card of each kind holds."""

from typing import Any

import pytest
from pydantic import Field, ValidationError

from densebench.cards import find_backbone
from densebench.cards.models import (
    LARGEST,
    BackboneCard,
    Card,
    DatasetCard,
    SuiteCard,
    TaskCard,
    TrainingCard,
    WeightsSource,
)


class Numbers(Card):
    count: int = 0
    exact: bool = False
    nested: dict[str, Any] = Field(default_factory=dict)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"count": LARGEST + 1}, "beyond 2,000,000,000"),
        ({"count": -LARGEST - 1}, "beyond"),
        ({"nested": {"a": [1, {"b": LARGEST + 1}]}}, "beyond"),
        ({"count": True}, "another kind of value"),
        ({"other": 1}, "Extra inputs"),
    ],
)
def test_no_card_holds_such_a_value(values: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Numbers.model_validate(values)


def test_what_is_allowed_and_does_not_change() -> None:
    card = Numbers(count=LARGEST, exact=True)
    with pytest.raises(ValidationError, match="frozen"):
        card.count = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({}, "give one of repo with file, url, or path"),
        ({"repo": "a/b", "file": "c", "url": "http://x"}, "give one of"),
        ({"repo": "a/b"}, "repo needs file"),
        ({"path": "/etc/weights"}, "relative to the card's folder"),
        ({"path": ""}, "relative"),
        ({"path": "a", "sha256": "ABC"}, "sha256"),
    ],
)
def test_weights_lie_in_one_place(values: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        WeightsSource.model_validate(values)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"kind": "vok"}, "vok"),
        ({"kind": "voc", "classes": ["a", "a"]}, "distinct"),
        ({"kind": "voc", "classes": []}, "at least one"),
        ({"kind": "voc", "subset": "1/0"}, "subset"),
        ({"kind": "voc", "subset": "2/3"}, "subset"),
        ({"kind": "voc", "ignore_index": 256}, "ignore_index"),
    ],
)
def test_datasets(values: dict[str, Any], told: str) -> None:
    with pytest.raises(Exception, match=told):
        DatasetCard.model_validate(values)


@pytest.mark.parametrize("name", ["", "a b", "../a", "a\n", "-a", "ä"])
def test_names_are_plain(name: str) -> None:
    with pytest.raises(ValidationError, match="name"):
        TaskCard(name=name, protocol="linear", dataset=DatasetCard(kind="voc"))


def test_a_suite_has_members_and_a_training_a_seed() -> None:
    with pytest.raises(ValidationError, match="tasks"):
        SuiteCard(name="a", source="b", tasks=(), backbones=("c",))
    hashes = {"base_fingerprint": "0" * 64, "recipe_hash": "1" * 64}
    with pytest.raises(ValidationError, match="seed"):
        TrainingCard(base="a", recipe="b", seed=-1, steps=1, **hashes)


def test_layers_of_a_backbone_are_written_only_where_they_are_given() -> None:
    card = find_backbone("dinov2_s14").card
    assert "layers" not in card.model_dump(mode="json")
    chosen = BackboneCard.model_validate({**card.model_dump(), "layers": [2, 5]})
    assert chosen.model_dump(mode="json", exclude={"weights": {"revision"}})["layers"] == [2, 5]
    for wrong in ([], [5, 2], [-1], "2,5", True):
        with pytest.raises(ValidationError, match="counted from 0"):
            BackboneCard.model_validate({**card.model_dump(), "layers": wrong})
