"""A post-training as one call from Python."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from densebench.cards import suggestion
from densebench.host.errors import DensebenchError
from densebench.host.watcher import Watcher
from densebench.posttrain.session import PosttrainOptions, posttrain


def posttrain_backbone(
    model: "str | Path",
    data: "str | Path | Sequence[str | Path]",
    *,
    name: str | None = None,
    recipe: str | None = None,
    steps: int | None = None,
    watcher: Watcher | None = None,
    **options: Any,
) -> Path:
    """Train a registered backbone with NeCo on images without labels.

    Args:
        model: A card's name or path, or any other name of a backbone.
        data: A folder of photographs, or several.
        name: Of the new backbone; the base's with the recipe's, if it is not given.
        recipe: A recipe card's name or path; the published one of the base's family if not given.
        steps: How many, instead of the recipe's.
        watcher: Told how it goes.
        options: Further ones of ``PosttrainOptions``, such as ``device`` or ``overrides``.

    Returns:
        The new backbone's card.

    Raises:
        DensebenchError: bad input, a loss that is not finite, or too many unreadable images.
    """
    known = {field.name for field in fields(PosttrainOptions)}
    for option in options.keys() - known:
        raise DensebenchError(f"posttrain has no option '{option}'{suggestion(option, known)}")
    if not isinstance(model, str | Path):
        raise DensebenchError(
            f"posttrain takes a backbone by name, not a {type(model).__name__}; what is trained "
            "must be built again later: write a FILE.py:FUNCTION that builds it"
        )
    folders = [data] if isinstance(data, str | Path) else data
    overrides = dict(options.pop("overrides", {}))
    if steps is not None:
        overrides["training.steps"] = steps
    base = Path(str(model).rpartition(":")[2]).stem
    chosen = PosttrainOptions(
        str(model),
        tuple(Path(folder) for folder in folders),
        name or f"{base}_{Path(recipe).stem if recipe else 'neco'}",
        recipe=recipe,
        overrides=overrides,
        **options,
    )
    return posttrain(chosen, watcher)
