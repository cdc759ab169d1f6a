"""Options that several commands share, and how their values are read."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from densebench import cards
from densebench.cards.suites import PREFIX, Part, suite_members
from densebench.host.errors import DensebenchError

BackboneName = Annotated[
    str,
    typer.Option(
        "--backbone",
        help="A card's name or path, timm:ID, open_clip:ARCH/TAG, or FILE.py:FUNCTION.",
    ),
]
WeightsFile = Annotated[
    Path | None,
    typer.Option("--weights", help="Checkpoint in official or timm key naming.", exists=True),
]
Offline = Annotated[bool, typer.Option("--offline", help="Never use the network.")]
ResultsFolder = Annotated[
    Path | None, typer.Option("--results", help="Folder of records [leaderboard/results].")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Images through the backbone.")]
Workers = Annotated[
    int | None, typer.Option(min=0, help="Processes that read images [8 with a GPU, else 0].")
]
Seed = Annotated[int, typer.Option(min=0)]
DataRoot = Annotated[Path | None, typer.Option(help="Where the dataset lies.")]
AsRecord = Annotated[bool, typer.Option("--json", help="Print the record alone.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON alone.")]


def names(kind: Part, text: str) -> list[str]:
    """The names that an option gives: with commas, by a pattern, or as ``suite:NAME``."""
    found: list[str] = []
    for part in filter(None, (part.strip(" ") for part in text.split(","))):
        if any(not character.isprintable() and ord(character) < 128 for character in part):
            raise DensebenchError(
                f"{part!r:.80} is no name: a line ends in it, or it cannot be seen"
            )
        if part.startswith(PREFIX):
            found += suite_members(part, kind)
            continue
        pattern = any(mark in part for mark in "*?[") and not Path(part).exists()
        found += cards.match_names(kind, part) if pattern else [part]
    if not found:
        raise DensebenchError(f"no {kind[:-1]} is named")
    return list(dict.fromkeys(found))


def one_of(option: str, value: str, allowed: tuple[str, ...]) -> None:
    """Nothing, for an allowed value.

    Raises:
        DensebenchError: another one.
    """
    if value not in allowed:
        raise DensebenchError(
            f"{option} must be one of {', '.join(allowed)}, not '{value}'"
            f"{cards.suggestion(value, allowed)}"
        )


def refuse_many_processes(command: str) -> None:
    """Nothing, in a single process.

    Raises:
        DensebenchError: `torchrun` started several, each of which would do the whole work.
    """
    size = os.environ.get("WORLD_SIZE", "1")
    if size != "1":
        raise DensebenchError(
            f"`{command}` works in one process, and torchrun started {size}, each of which would "
            f"do all of it; start it with `densebench {command}`"
        )


def overrides(texts: list[str] | None) -> dict[str, Any]:
    """What several ``--set KEY=VALUE`` set."""
    return dict(key_value(text) for text in texts or [])


def key_value(text: str) -> tuple[str, Any]:
    """``key=value``, the value in TOML's notation or else a string."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise DensebenchError(f"--set wants KEY=VALUE, not '{text}'")
    return key.strip(), cards.parse_value(value.strip())
