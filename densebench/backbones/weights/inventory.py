"""The weights of cards as a whole: where they are from, whether they are here, and are the same."""

import os
from dataclasses import dataclass
from pathlib import Path

from densebench.backbones.weights import hub
from densebench.cards import find_backbone
from densebench.host.errors import DensebenchError


@dataclass(frozen=True)
class WeightsState:
    """What is known of one card's weights.

    Attributes:
        name: the card's.
        source: where they are from; "" for a backbone without weights.
        path: the file, if it is on this machine.
        sha256: what the file's must be, as far as it is known.
        known_from: who says so: "card", "record" (of the first use), or "" for nobody.
        is_own: whether the file lies beside the card, and is not fetched.
        revision: of a repository: the commit that is used, or the branch before the first use.
    """

    name: str
    source: str
    path: Path | None = None
    sha256: str | None = None
    known_from: str = ""
    revision: str = ""
    is_own: bool = False

    @property
    def n_bytes(self) -> int | None:
        """Size of the file."""
        return None if self.path is None else self.path.stat().st_size


def weights_state(name: str) -> WeightsState:
    """The weights of a card by name or path; uses no network and reads no weights.

    Raises:
        DensebenchError: no such card, or it is not valid.
    """
    found = find_backbone(name)
    card = found.card
    if card.weights is None:
        return WeightsState(name, "")
    source = card.weights
    entry = hub.recorded(source)
    return WeightsState(
        name=name,
        source=hub.place(source),
        path=hub.cached(card, found.folder),
        sha256=hub.known_sha256(source),
        known_from="card" if source.sha256 else "record" if entry is not None else "",
        revision=hub.revision(source) if source.repo else "",
        is_own=source.path is not None,
    )


def verify_weights(name: str) -> WeightsState:
    """Reads the weights that are here and compares them; what is not yet recorded is recorded.

    Raises:
        DensebenchError: they are other ones than they must be, or no file lies in their place.
    """
    state = weights_state(name)
    found = find_backbone(name)
    source = found.card.weights
    if state.path is not None and source is not None:
        hub.check(source, name, state.path)
    elif source is not None and source.path and os.path.lexists(found.folder / source.path):
        raise DensebenchError(f"{found.folder / source.path}: there, but no file of weights")
    else:
        return state
    return weights_state(name)
