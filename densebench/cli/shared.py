"""Options that several commands share, and how their values are read."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from densebench import cards
from densebench.cards.block_numbers import read_layers
from densebench.cards.suites import PREFIX, Part, suite_members
from densebench.host.errors import DensebenchError

DEFAULT_SUBSET_SEED = 42
PUBLISHED = "published"
MOST_SEEDS = 1000


def completed(kind: Part) -> Callable[[str], list[str]]:
    """What a shell makes of the beginning of a card's name, the last of several with commas."""

    def complete(incomplete: str) -> list[str]:
        before, comma, begun = incomplete.rpartition(",")
        known = cards.card_names(kind)
        return [f"{before}{comma}{name}" for name in known if name.startswith(begun)]

    return complete


BackboneName = Annotated[
    str,
    typer.Option(
        "--backbone",
        help="A card's name or path, timm:ID, open_clip:ARCH/TAG, hf:ORG/MODEL, hf:FOLDER "
        "or FILE.py:FUNCTION.",
        autocompletion=completed("backbones"),
    ),
]
WeightsFile = Annotated[
    Path | None,
    typer.Option("--weights", help="Checkpoint in official or timm key naming.", exists=True),
]
RandomWeights = Annotated[
    int | None,
    typer.Option(
        "--random-weights",
        metavar="SEED",
        min=0,
        help="Draw the weights instead, to try things out without a download; marked everywhere.",
    ),
]
RowName = Annotated[
    str | None,
    typer.Option("--name", help="Of the row of a plug-in [FILE.py:FUNCTION without folders]."),
]
Layers = Annotated[
    str | None,
    typer.Option(
        metavar="N,N,...",
        help="Features of these blocks, counted from 0, side by side, not of the last alone.",
    ),
]
TrainList = Annotated[
    Path | None, typer.Option(help="Names of the training images: a file or a list's name.")
]
ValList = Annotated[
    Path | None, typer.Option(help="Names of the validation images: a file or a list's name.")
]
Overwrite = Annotated[bool, typer.Option(help="Repeat a run whose record exists.")]
Offline = Annotated[bool, typer.Option("--offline", help="Never use the network.")]
ResultsFolder = Annotated[
    Path | None, typer.Option("--results", help="Folder of records [leaderboard/results].")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Images through the backbone.")]
Workers = Annotated[
    int | None,
    typer.Option(min=0, help="Processes that read images [one a core with a GPU, else 0]."),
]
Seed = Annotated[int, typer.Option(min=0, help="Of all that a run draws.")]
DataRoot = Annotated[Path | None, typer.Option(help="Where the dataset lies.")]
AsRecord = Annotated[bool, typer.Option("--json", help="Print the record alone.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON alone.")]
Backbones = Annotated[
    str,
    typer.Option(
        help="A card's name or path, timm:ID, open_clip:ARCH/TAG, hf:ORG/MODEL, hf:FOLDER or "
        "FILE.py:FUNCTION; or several: a pattern such as 'dinov2_*', names with "
        "commas, or suite:NAME.",
        autocompletion=completed("backbones"),
    ),
]
Tasks = Annotated[
    str,
    typer.Option(
        help="A task card's name or path, or several, likewise.",
        autocompletion=completed("tasks"),
    ),
]
Variant = Annotated[
    str, typer.Option(help="reference (as published), clean (without quirks); linear: cached.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a parameter of the task card."),
]
Subset = Annotated[
    str | None,
    typer.Option(
        metavar="1/N|own:1/N",
        help="Only a published part of the training images, or a seeded share of them.",
    ),
]
SubsetSeed = Annotated[
    int | None, typer.Option(min=0, help="Which part; seeded shares are nested [42].")
]
Limit = Annotated[
    int | None, typer.Option(help="Images of each split; marks the record as partial.")
]
Seeds = Annotated[
    str,
    typer.Option(
        metavar="N|published",
        help="Run that many, from --seed on; or the five published subset seeds.",
    ),
]
PrecisionName = Annotated[str, typer.Option(help="fp32, tf32, bf16 or fp16 (of the backbone).")]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Leave unreadable images out, and record them.")
]
SavePanels = Annotated[
    int,
    typer.Option(min=0, help="Keep pictures of this many images, spread over the validation list."),
]
CacheName = Annotated[str, typer.Option(help="Keep extracted features as fp32 or fp16, or off.")]
AllowNondeterministic = Annotated[
    bool,
    typer.Option(
        "--allow-nondeterministic",
        help="Evaluate a backbone whose features are others at every pass, and say so.",
    ),
]
Deterministic = Annotated[
    bool,
    typer.Option("--deterministic", help="Only what repeats to the last bit, on a GPU as well."),
]
SearchEngineName = Annotated[
    str,
    typer.Option(help="Of exact neighbours: auto, faiss or torch; moves no number."),
]


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


def layer_numbers(text: str | None) -> tuple[int, ...] | None:
    """What ``--layers 2,5,8,11`` names."""
    return None if text is None else read_layers(text)


def overrides(texts: list[str] | None) -> dict[str, Any]:
    """What several ``--set KEY=VALUE`` set."""
    return dict(key_value(text) for text in texts or [])


def key_value(text: str) -> tuple[str, Any]:
    """``key=value``, the value in TOML's notation or else a string."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise DensebenchError(f"--set wants KEY=VALUE, not '{text}'")
    return key.strip(), cards.parse_value(value.strip())


def check_choices(precision: str, cache: str, search_engine: str = "auto") -> None:
    """Nothing, if all are among what a run can be asked for."""
    one_of("--precision", precision, ("fp32", "tf32", "bf16", "fp16"))
    one_of("--cache", cache, ("fp32", "fp16", "off"))
    one_of("--search-engine", search_engine, ("auto", "faiss", "torch"))


def wanted_seeds(
    tasks: list[str], seeds: str, options: dict[str, Any]
) -> tuple[range, tuple[int, ...] | None]:
    """The seeds of ``--seeds``, and the subset seeds where the published ones are asked for.

    A subset seed that is not given takes its usual value in ``options``.
    """
    seed, subset_seed = options["seed"], options["subset_seed"]
    options["subset_seed"] = DEFAULT_SUBSET_SEED if subset_seed is None else subset_seed
    if seeds == PUBLISHED:
        return range(seed, seed + 1), _published_seeds(tasks, options["subset"], subset_seed)
    return range(seed, seed + _count(seeds)), None


def _count(seeds: str) -> int:
    is_number = seeds.isascii() and seeds.isdecimal() and len(seeds) <= len(str(MOST_SEEDS))
    if not (is_number and 1 <= int(seeds) <= MOST_SEEDS):
        raise DensebenchError(
            f"--seeds wants a number from 1 to {MOST_SEEDS}, or {PUBLISHED}, not '{seeds:.20}'"
        )
    return int(seeds)


def _published_seeds(
    tasks: list[str], subset: str | None, subset_seed: int | None
) -> tuple[int, ...]:
    """The published subset seeds, once every task is seen to have the subset with each of them."""
    from densebench.cards import find_task
    from densebench.datasets.published_lists import SUBSET_SEEDS
    from densebench.datasets.subset import check_share

    if subset is None or subset_seed is not None:
        raise DensebenchError(
            f"--seeds {PUBLISHED} runs the subset seeds {', '.join(map(str, SUBSET_SEEDS))}: "
            "give it a --subset, such as 1/128, and no --subset-seed"
        )
    for task in tasks:
        for seed in SUBSET_SEEDS:
            check_share(find_task(task).card.dataset.kind, subset, seed)
    return SUBSET_SEEDS
