"""Numbers of a backbone's blocks, as a user, a card or a record gives them."""

from collections.abc import Sequence

from densebench.host.errors import DensebenchError


def checked_layers(layers: object) -> tuple[int, ...]:
    """The blocks that are meant.

    Args:
        layers: one number or several, counted from 0, in ascending order.

    Raises:
        DensebenchError: something else. How many blocks there are is not known here.
    """
    given = (layers,) if isinstance(layers, int) else layers
    found = tuple(given) if isinstance(given, list | tuple) else ()
    whole = all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in found)
    if not found or not whole or list(found) != sorted(set(found)):
        raise DensebenchError(
            "layers are numbers of blocks, counted from 0, each once and in ascending order, such "
            f"as 8 or 2,5,8,11; not {layers!r:.60}"
        )
    return found


def read_layers(text: str) -> tuple[int, ...]:
    """What ``2,5,8,11`` names.

    Raises:
        DensebenchError: it names no blocks.
    """
    parts = [part.strip() for part in text.split(",")]
    digits = all(part.isascii() and part.isdecimal() and len(part) <= 6 for part in parts)
    return checked_layers([int(part) for part in parts] if digits else text)


def layers_text(layers: Sequence[int]) -> str:
    """As a row of a leaderboard names them: ``layers 2+5+8+11``."""
    return f"layer{'s' * (len(layers) > 1)} {'+'.join(map(str, layers))}"
