"""Every path and every name on the page about the architecture exists."""

import re
from importlib import import_module
from pathlib import Path

import pytest

import densebench

PACKAGE = Path(densebench.__file__).parent
ROOT = PACKAGE.parent
PAGE = ROOT / "docs" / "architecture.md"
MOST_LINES = 90

pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="no docs beside the package")


def quoted() -> list[str]:
    """What stands in single back quotes, outside the drawing."""
    if not PAGE.is_file():
        return []
    text = re.sub(r"^```.*?^```$", "", PAGE.read_text(encoding="utf-8"), flags=re.S | re.M)
    return sorted(set(re.findall(r"`([^`\n]+)`", text)))


def drawing() -> str:
    found = re.search(r"^```\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), flags=re.S | re.M)
    assert found
    return found[1]


PATHS = [name for name in quoted() if re.fullmatch(r"[\w./-]+(/|\.py|\.toml)", name)]
NAMES = [name for name in quoted() if re.fullmatch(r"[a-z_]+(\.\w+)+", name) and name not in PATHS]
KINDS = ("backbones", "datasets", "metrics", "protocols")
GROUPS = {f"densebench.{kind}" for kind in KINDS}


@pytest.mark.parametrize("path", PATHS)
def test_paths_exist(path: str) -> None:
    assert (ROOT / path).exists() or (PACKAGE / path).exists()


@pytest.mark.parametrize("name", [name for name in NAMES if name not in GROUPS])
def test_names_exist(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    assert hasattr(import_module(f"densebench.{module}"), attribute)


def test_the_page_names_enough_and_fits_on_a_screen() -> None:
    assert len(PATHS) >= 12
    assert len(NAMES) >= 35
    assert len(PAGE.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def test_the_drawing_has_every_floor_and_no_other() -> None:
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    layers = re.search(r"^layers = \[\n(.*?)^\]", settings, flags=re.S | re.M)
    assert layers
    floors = set(re.findall(r"\w+", layers[1]))
    drawn = set(re.findall(r"(?:^|\s)(\w+)(?:/|\.py)(?=\s|$)", drawing()))
    nested = {"board", "formats", "page", "weights", "leaderboard", "trainable", "shared"}
    assert drawn - nested == floors


def test_entry_points_are_those_that_are_read() -> None:
    from densebench.cards import DATASETS, FAMILIES, PROTOCOLS
    from densebench.measures.metrics import METRICS

    assert {registry.group for registry in (DATASETS, FAMILIES, METRICS, PROTOCOLS)} == GROUPS
    assert set(NAMES) >= GROUPS
