"""The blocks of CONTRIBUTING.md are run; its links and targets are there."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "CONTRIBUTING.md"
TEXT = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else ""
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINES = [li for kind, text in FENCE.findall(TEXT) if kind == "bash" for li in text.splitlines()]
COMMANDS = [line for line in LINES if line.startswith("densebench ")]

pytestmark = [
    pytest.mark.usefixtures("own_places"),
    pytest.mark.skipif(not TEXT, reason="no CONTRIBUTING.md beside the package"),
]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    from densebench import cli

    def run(line: str) -> None:
        monkeypatch.setattr("sys.argv", shlex.split(line))
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code, capfd.readouterr().err

    return run


@pytest.fixture
def card(tmp_path: Path) -> Path:
    """The card of the page, and weights where it says that they lie."""
    import timm
    from safetensors.torch import save_file

    (text,) = (text for kind, text in FENCE.findall(TEXT) if kind == "toml")
    (tmp_path / "my_vit.toml").write_text(text)
    model = timm.create_model("vit_tiny_patch16_224", num_classes=0)
    save_file(model.state_dict(), tmp_path / "my_vit.safetensors")
    return tmp_path / "my_vit.toml"


def test_a_backbone_is_a_card_of_about_ten_lines(card: Path, call: Callable[..., Any]) -> None:
    keys = [line for line in card.read_text().splitlines() if not line.startswith("#")]
    assert len(keys) <= 12
    lines = [line for line in COMMANDS if "my_vit" in line]
    assert len(lines) == 2
    for line in lines:
        call(line)
    assert len(list(Path("leaderboard/results/my_vit").rglob("*.json"))) == 1


@pytest.mark.slow
def test_ones_own_row_is_verified(call: Callable[..., Any]) -> None:
    for line in (line for line in COMMANDS if "my_vit" not in line):
        call(line)
    assert Path("submission/PULL_REQUEST.md").is_file()
    assert len(list(Path("submission/leaderboard/results").rglob("*.json"))) == 1


def test_every_other_command_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    others = [line.split()[:2] for line in LINES if not line.startswith("densebench ")]
    assert all(f"\n{words[1]}:" in makefile for words in others if words[0] == "make")
    assert [words[0] for words in others if words[0] != "make"] == [".ci/run"]
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert (ROOT / target).exists(), target
