"""Only algorithms that repeat to the last bit, throughout a training."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from densebench.host.errors import DensebenchError
from densebench.posttrain.session import PosttrainOptions, posttrain
from densebench.posttrain.trainer import Trainer

pytestmark = pytest.mark.usefixtures("workplace")
BASE = PosttrainOptions("net.py:make", (Path("photos"),), "mine", recipe="tiny.toml", device="cpu")


def test_deterministic_moves_no_number_on_a_processor() -> None:
    plain, alike = (
        posttrain(replace(BASE, name=name, deterministic=given)).parent
        for name, given in (("plain", False), ("alike", True))
    )
    assert not torch.are_deterministic_algorithms_enabled()
    for file in ("student.safetensors", "teacher.safetensors"):
        assert (plain / file).read_bytes() == (alike / file).read_bytes()


def test_deterministic_refuses_an_operation_that_has_no_such_algorithm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn = torch.zeros(4)

    def step(self: Trainer) -> None:
        drawn.put_(torch.tensor([1]), torch.tensor([2.0]))

    monkeypatch.setattr(Trainer, "run", step)
    with pytest.raises(DensebenchError, match="--deterministic: put_ has no algorithm"):
        posttrain(replace(BASE, deterministic=True))
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_card_with_layers_is_not_trained() -> None:
    card = card_of_plug_in()
    assert "has layers 0+2, and a post-training trains the backbone's own output" in error_of(
        backbone=str(card)
    )
    assert not Path("posttrained").exists()


def card_of_plug_in() -> Path:
    """Of HOG in three blocks that change nothing."""
    Path("blocks.py").write_text(
        "import torch\nfrom densebench.backbones import load_backbone\n"
        "def make():\n    hog = load_backbone('hog_s14')\n"
        "    hog.blocks = torch.nn.ModuleList(torch.nn.Identity() for _ in range(3))\n"
        "    return hog\n"
    )
    values = find_backbone("hog_s14").card.model_dump(mode="json", exclude_none=True)
    values |= {"name": "b", "source": "python", "id": "blocks.py:make", "layers": [0, 2]}
    Path("b.toml").write_text(as_toml(values))
    return Path("b.toml")
