"""A post-training as one call."""

from pathlib import Path
from typing import Any

import pytest
import torch

from densebench.host.errors import DensebenchError
from densebench.posttrain import simple
from densebench.posttrain.session import PosttrainOptions
from densebench.posttrain.simple import posttrain_backbone


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[PosttrainOptions]:
    """What the session was asked for; sessions have tests of their own."""
    found: list[PosttrainOptions] = []

    def session(options: PosttrainOptions, watcher: Any) -> Path:
        found.append(options)
        return Path("card.toml")

    monkeypatch.setattr(simple, "posttrain", session)
    return found


def test_texts_steps_and_a_name_of_its_own(asked: list[PosttrainOptions]) -> None:
    posttrain_backbone("dinov2_s14", "photos", recipe="neco_dinov2", steps=200)
    posttrain_backbone("x/mine.py:make", ["a", Path("b")], name="new", device="cpu")
    first, second = asked
    assert (first.name, first.data) == ("dinov2_s14_neco_dinov2", (Path("photos"),))
    assert first.overrides == {"training.steps": 200}
    assert (second.name, second.data) == ("new", (Path("a"), Path("b")))
    assert second.device == "cpu"


@pytest.mark.parametrize(
    ("model", "options", "told"),
    [
        ("a", {"recip": "x"}, r"no option 'recip' \(did you mean 'recipe'\?\)"),
        (torch.nn.Identity(), {}, "takes a backbone by name, not a Identity"),
    ],
)
def test_refused(
    model: Any, options: dict[str, Any], told: str, asked: list[PosttrainOptions]
) -> None:
    with pytest.raises(DensebenchError, match=told):
        posttrain_backbone(model, "photos", **options)
    assert asked == []
