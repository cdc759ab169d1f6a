"""`densebench weights`."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("own_places")
Cli = Callable[..., Any]
CARD = """
name = "mine"
source = "timm"
id = "vit_tiny_patch16_224"
patch_size = 16
embed_dim = 192
prefix_tokens = 1
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.5, 0.5]
position_embedding = "timm"
license = "mine"
training_data = "none"

[weights]
path = "mine.bin"
sha256 = "{sha256}"
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A card with a pinned file beside it."""
    folder = tmp_path / "cards" / "backbones"
    folder.mkdir(parents=True)
    (folder / "mine.bin").write_bytes(b"weights")
    pinned = hashlib.sha256(b"weights").hexdigest()
    (folder / "mine.toml").write_text(CARD.format(sha256=pinned))
    monkeypatch.setenv("DENSEBENCH_PATH", str(tmp_path / "cards"))
    return folder / "mine.bin"


def test_what_needs_none(run: Cli) -> None:
    assert run("weights", "fetch", "rgb_s14").out == "rgb_s14: needs no weights\n"
    assert run("weights", "verify", "rgb_s14").out == "rgb_s14: needs no weights\n"
    assert "no weights" in run("weights", "list", "rgb_s14").out


def test_a_pinned_file(run: Cli, mine: Path) -> None:
    assert "pinned" in run("weights", "list", "mine").out
    done = run("weights", "verify", "mine")
    assert (done.code, done.out.split(" ")[:2]) == (0, ["mine:", str(mine)])
    mine.write_bytes(b"others!")
    done = run("weights", "verify", "mine")
    assert done.error == "mine: not the weights they were, as said above"
    assert done.err.startswith("mine: ")


def test_what_is_not_here(run: Cli) -> None:
    assert "`densebench weights fetch dinov2_s14` gets them" in (
        run("weights", "verify", "dinov2_s14").out
    )
    assert "no backbone matches 'dinov2_s15'" in run("weights", "fetch", "dinov2_s15").error
