"""The command line: parses, calls the API, prints. torch is imported inside commands only."""

from typing import NoReturn

from densebench.cli import (
    cache,
    cards,
    compare,
    data,
    demo,
    doctor,
    features,
    ladder,
    layers,
    leaderboard,
    posttrain,
    profile,
    reproduce,
    run,
    submit,
    sweep,
    weights,
)
from densebench.cli.app import app
from densebench.host.console import guarded

__all__ = [
    "app",
    "cache",
    "cards",
    "compare",
    "data",
    "demo",
    "doctor",
    "features",
    "ladder",
    "layers",
    "leaderboard",
    "main",
    "posttrain",
    "profile",
    "reproduce",
    "run",
    "submit",
    "sweep",
    "weights",
]


def main() -> NoReturn:
    """The command ``densebench``."""
    guarded(lambda: app(standalone_mode=False))
