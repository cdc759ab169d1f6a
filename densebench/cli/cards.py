"""`densebench list` and `densebench show`: what a name can stand for."""

import json
from pathlib import Path
from typing import Annotated

import typer

from densebench import cards
from densebench.cli.app import app
from densebench.cli.options import one_of
from densebench.errors import DensebenchError


@app.command("list")
def list_cards(
    kind: Annotated[str, typer.Argument(help="backbones, tasks or all.")] = "all",
) -> None:
    """List the cards that a name can stand for."""
    one_of("KIND", kind, ("backbones", "tasks", "all"))
    if kind != "tasks":
        print("backbones")
        for name, path in cards.card_names("backbones").items():
            card = cards.backbone_card(path)
            shape = f"patch {card.patch_size:<3} dim {card.embed_dim:<5}"
            base = f" (from {card.adapted_from})" if card.adapted_from else ""
            print(f"  {name:<24} {shape} {card.description}{base}")
    if kind != "backbones":
        print("tasks")
        for name, path in cards.card_names("tasks").items():
            task, _ = cards.task_card(path)
            print(f"  {name:<24} {task.protocol:<15} {task.description}")


@app.command()
def show(name: Annotated[str, typer.Argument(help="A backbone's or task's name or path.")]) -> None:
    """Show everything that a card says, parameters at their published values included."""
    if name in cards.card_names("tasks") or (name.endswith(".toml") and _is_task(Path(name))):
        from densebench.protocols import task_params

        card, path = cards.task_card(name)
        shown = card.model_dump(mode="json", exclude_none=True)
        shown["params"] = task_params(card, str(path)).model_dump(mode="json")
    else:
        known = [*cards.card_names("backbones"), *cards.card_names("tasks")]
        if name not in known and not Path(name).is_file():
            raise DensebenchError(
                f"no card named '{name}'{cards.suggestion(name, known)}; see `densebench list`"
            )
        path = cards.card_path("backbones", name)
        shown = cards.backbone_card(name).model_dump(mode="json", exclude_none=True)
    print(f"# {path}")
    print(json.dumps(shown, indent=2))


def _is_task(path: Path) -> bool:
    return path.is_file() and "protocol" in cards.read_toml(path)
