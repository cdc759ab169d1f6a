"""`densebench weights`: the official weights of backbone cards."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from densebench import cards
from densebench.cli.app import Group, app
from densebench.host.errors import DensebenchError

if TYPE_CHECKING:
    from densebench.backbones.weights.inventory import WeightsState

weights_app = typer.Typer(
    cls=Group, help="Fetch and check pretrained weights.", no_args_is_help=True
)
app.add_typer(weights_app, name="weights")

Name = Annotated[str, typer.Argument(help="A backbone card's name, or a pattern such as 'dino*'.")]


@weights_app.command()
def fetch(name: Name) -> None:
    """Download the weights of one or several backbone cards into the cache."""
    from densebench.backbones.weights.hub import fetch as fetch_weights

    for matched in cards.match_names("backbones", name):
        card = cards.find_backbone(matched).card
        if card.weights is None:
            print(f"{matched}: needs no weights")
            continue
        print(f"{matched}: {fetch_weights(card)}")


@weights_app.command("list")
def list_weights(name: Name = "*") -> None:
    """List where weights are from, whether they are here, and by what they are recognised."""
    from densebench.backbones.weights.inventory import weights_state
    from densebench.host.memory import gigabytes

    for matched in cards.match_names("backbones", name):
        state = weights_state(matched)
        size = "-" if state.n_bytes is None else gigabytes(state.n_bytes)
        print(f"{matched:<24} {size:>10}  {_known(state):<30} {state.source or 'no weights'}")


@weights_app.command()
def verify(name: Name) -> None:
    """Read weights again and compare their SHA-256 with the card's or the recorded one."""
    from densebench.backbones.weights.inventory import verify_weights

    wrong = []
    for matched in cards.match_names("backbones", name):
        try:
            state = verify_weights(matched)
        except DensebenchError as error:
            wrong.append(matched)
            print(f"{matched}: {error}", file=sys.stderr)
            continue
        if not state.source:
            print(f"{matched}: needs no weights")
        elif state.path is None:
            print(f"{matched}: not here; `densebench weights fetch {matched}` gets them")
        else:
            print(f"{matched}: {state.path} ({_known(state)})")
    if wrong:
        raise DensebenchError(f"{', '.join(wrong)}: not the weights they were, as said above")


def _known(state: "WeightsState") -> str:
    """By what the weights are recognised, in short."""
    if not state.source:
        return ""
    if state.sha256 is None:
        return "sha256 unknown"
    commit = f" @{state.revision[:8]}" if state.revision else ""
    verb = "pinned" if state.known_from == "card" else "recorded"
    return f"{verb} {state.sha256[:12]}{commit}"
