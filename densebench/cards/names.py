"""Names by a pattern, as the Python API lists them."""

from densebench.cards.search import match_names


def backbones(pattern: str = "*") -> list[str]:
    """The names of backbones that a pattern such as ``dinov2_*`` matches.

    Raises:
        DensebenchError: none.
    """
    return match_names("backbones", pattern)


def tasks(pattern: str = "*") -> list[str]:
    """The names of tasks that a pattern such as ``camvid_*`` matches.

    Raises:
        DensebenchError: none.
    """
    return match_names("tasks", pattern)
