"""`densebench data`: what is refused before anything is fetched."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("own_places")
Cli = Callable[..., Any]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("prepare", "vok"), "did you mean 'voc'?"),
        (("prepare", "voc", "--root", "data"), "--accept-license"),
        (("verify", "vok"), "no dataset named 'vok'"),
        (("verify", "all", "--root", "data"), "no dataset in data"),
        (("verify", "voc", "--root", "data"), "not as released"),
    ],
)
def test_refused(run: Cli, arguments: tuple[str, ...], told: str) -> None:
    assert told in run("data", *arguments).error
    assert not Path("data").exists() or not list(Path("data").rglob("*.tar*"))
