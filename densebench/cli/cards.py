"""`densebench list` and `densebench show`: what a name can stand for."""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from densebench import cards
from densebench.cli.app import app
from densebench.cli.shared import one_of
from densebench.host.console import warn
from densebench.host.errors import DensebenchError

NEVER = "never loaded here"
KINDS: tuple[cards.CardKind, ...] = get_args(cards.CardKind)


@app.command("list")
def list_cards(
    kind: Annotated[
        str, typer.Argument(help="backbones, tasks, suites, ladders, recipes or all.")
    ] = "all",
) -> None:
    """List the cards that a name can stand for.

    Backbones whose weights no record and nobody on this machine has loaded are marked: their cards
    say what the libraries say of them, and no more is known.
    """
    one_of("KIND", kind, (*KINDS, "all"))
    for shown in KINDS:
        if kind in (shown, "all"):
            print(shown)
            for name, path in cards.card_names(shown).items():
                try:
                    print(f"  {name:<24} {LINES[shown](path)}")
                except DensebenchError as error:  # the other cards are no worse for it
                    warn(f"{error}; it is left out")


def _backbone_line(path: Path) -> str:
    card = cards.find_backbone(path).card
    base = f" (from {card.adapted_from})" if card.adapted_from else ""
    mark = "" if _is_loaded(card) else f" [{NEVER}]"
    patch, width = card.patch_size or "?", card.embed_dim or "?"
    return f"patch {patch:<3} dim {width:<5} {card.description}{base}{mark}"


def _is_loaded(card: cards.BackboneCard) -> bool:
    """Whether its weights lie beside it, or were loaded here: records or this machine tell."""
    from densebench.records.called import DEFAULT_RESULTS
    from densebench.records.loaded import has_record

    if card.weights is None or card.weights.path is not None:
        return True
    folders = [DEFAULT_RESULTS, cards.own_folder() / DEFAULT_RESULTS]
    return _is_in_ledger(card.weights) or has_record(card, folders)


def _is_in_ledger(source: cards.WeightsSource) -> bool:
    from densebench.backbones.weights import ledger

    if not ledger.ledger_path().exists():
        return False
    from densebench.backbones.weights import hub

    with suppress(DensebenchError):  # of a damaged one, commands that need it tell
        return hub.recorded(source) is not None
    return False


def _task_line(path: Path) -> str:
    if path.is_relative_to(cards.own_folder()):
        values = cards.read_toml(path)  # checking it would load the kind of its dataset
        return f"{values['protocol']:<15} {values['description']}"
    task = cards.find_task(path).card
    return f"{task.protocol:<15} {task.description}"


def _suite_line(path: Path) -> str:
    suite = cards.find_suite(path).card
    return f"{suite.description} ({suite.source})"


def _ladder_line(path: Path) -> str:
    ladder = cards.find_ladder(path).card
    return f"{ladder.description} ({len(ladder.rung)} rungs)"


def _recipe_line(path: Path) -> str:
    return str(cards.read_toml(path).get("description", ""))  # checking it would import torch


LINES: dict[cards.CardKind, Callable[[Path], str]] = {
    "backbones": _backbone_line,
    "tasks": _task_line,
    "suites": _suite_line,
    "ladders": _ladder_line,
    "recipes": _recipe_line,
}


@app.command()
def show(
    name: Annotated[
        str,
        typer.Argument(help="A backbone's, task's, suite's, ladder's or recipe's name or path."),
    ],
) -> None:
    """Show everything that a card says, parameters at their published values included."""
    kind = _kind(name)
    path = cards.card_path(kind, name)
    print(f"# {path}")
    print(json.dumps(CONTENTS[kind](path), indent=2))


def _kind(name: str) -> cards.CardKind:
    if Path(name).is_file():
        return cards.flat_kind(Path(name)) or "backbones"
    known = {kind: cards.card_names(kind) for kind in KINDS}
    found: cards.CardKind | None = next((kind for kind in KINDS if name in known[kind]), None)
    if found is None:
        near = cards.suggestion(name, [name for names in known.values() for name in names])
        raise DensebenchError(f"no card named '{name}'{near}; see `densebench list`")
    return found


def _backbone(path: Path) -> dict[str, Any]:
    return cards.find_backbone(path).card.model_dump(mode="json", exclude_none=True)


def _task(path: Path) -> dict[str, Any]:
    from densebench.protocols import task_params

    card = cards.find_task(path).card
    shown = card.model_dump(mode="json", exclude_none=True)
    shown["params"] = task_params(card, str(path)).model_dump(mode="json")
    return shown


def _suite(path: Path) -> dict[str, Any]:
    return cards.find_suite(path).card.model_dump(mode="json")


def _ladder(path: Path) -> dict[str, Any]:
    return cards.find_ladder(path).card.model_dump(mode="json")


def _recipe(path: Path) -> dict[str, Any]:
    from densebench.posttrain.recipe import load_recipe

    return load_recipe(path).model_dump(mode="json")


CONTENTS: dict[cards.CardKind, Callable[[Path], dict[str, Any]]] = {
    "backbones": _backbone,
    "tasks": _task,
    "suites": _suite,
    "ladders": _ladder,
    "recipes": _recipe,
}
