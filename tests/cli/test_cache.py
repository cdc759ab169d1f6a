"""`densebench cache`."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("own_places")

COMMAND = (sys.executable, "-m", "densebench.cli")
SCRIPT = Path(sys.executable).with_name("densebench")
Cli = Callable[..., Any]


def test_features_are_kept_listed_and_cleared(run: Cli, score: Cli) -> None:
    score()
    lines = run("cache", "list").out.splitlines()
    assert "rgb_s14 on folder  2/2 images  Squash 28  just now" in lines[0]
    assert "rgb_s14 on folder  4/4 images  Squash 28  just now" in lines[1]
    assert lines[2].startswith("2 entries, 0.01 MB of 50.00 GB in ")
    key = lines[0].split()[0]
    assert run("cache", "clear", key).out.startswith("freed 0.00 MB")
    assert len(run("cache", "list").out.splitlines()) == 2
    run("cache", "clear")
    assert run("cache", "list").out.startswith("0 entries, 0.00 MB")


def test_an_entry_of_an_older_version_has_no_names(run: Cli, score: Cli, own_places: Path) -> None:
    score()
    for file in (own_places / "cache" / "features").glob("*/meta.json"):
        meta = json.loads(file.read_text())
        del meta["about"]
        file.write_text(json.dumps(meta))
    assert run("cache", "list").out.count("of an older version") == 2
    lines = score("--overwrite").err
    assert "damaged" not in lines
    assert run("cache", "list").out.count("of an older version") == 2  # they were used, not made


def test_names_are_in_no_key(run: Cli, score: Cli, own_places: Path) -> None:
    """Another name of the same weights uses the same features."""
    score()
    text = Path(__file__).parents[2] / "backbones" / "rgb_s14.toml"
    Path("other.toml").write_text(text.read_text().replace('name = "rgb_s14"', 'name = "other"'))
    score("--results", "others", backbone="other.toml")
    found = run("cache", "list").out
    assert found.count("rgb_s14 on folder") == 2 and "other on" not in found
