"""`densebench weights`: the official weights of backbone cards."""

from typing import Annotated

import typer

from densebench import cards
from densebench.cli.app import app

weights_app = typer.Typer(help="Fetch pretrained weights.", no_args_is_help=True)
app.add_typer(weights_app, name="weights")


@weights_app.command()
def fetch(
    name: Annotated[
        str, typer.Argument(help="A backbone card's name, or a pattern such as 'dino*'.")
    ],
) -> None:
    """Download the weights of one or several backbone cards into the cache."""
    from densebench.backbones.hub import fetch as fetch_weights

    for matched in cards.match_names("backbones", name):
        card = cards.backbone_card(matched)
        if card.weights is None:
            print(f"{matched}: needs no weights")
            continue
        print(f"{matched}: {fetch_weights(card)}")
