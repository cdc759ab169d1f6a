"""What a post-training leaves: weights, a backbone card, the recipe, a model card; and its name."""

import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors.torch import save

from densebench.backbones.base import DenseBackbone
from densebench.backbones.trainable import Trainable
from densebench.backbones.weights.hub import file_sha256
from densebench.backbones.weights.official import official_state
from densebench.backbones.weights.state_dict import StateDict
from densebench.cards import BackboneCard, TrainingCard, WeightsSource, find_backbone
from densebench.files.atomic import write_atomically
from densebench.host.paths import user_home
from densebench.host.versions import versions
from densebench.posttrain.architecture import fold_class_token
from densebench.posttrain.model_card import (
    PAPER,
    README,
    STUDENT,
    TEACHER,
    Origin,
    images_told,
    model_card,
)
from densebench.posttrain.recipe import Recipe
from densebench.posttrain.views import Engine

# Seeds of one training are averaged, so that a seed is none of what makes it another one.
_MOVES_NO_WEIGHT: dict[str, Any] = {
    "name": True,
    "description": True,
    "monitor": True,
    "training": {"seed", "checkpoint_every", "keep_checkpoints"},
}
VIEW_LIBRARIES: dict[Engine, tuple[str, ...]] = {
    "pillow": ("torchvision", "pillow"),
    "torch": ("torch", "torchvision", "pillow"),
}


def export(
    folder: Path,
    name: str,
    student: DenseBackbone,
    teacher: DenseBackbone,
    recipe: Recipe,
    origin: Origin,
) -> Path:
    """Write everything into a folder; returns the card's path.

    The card comes last, so that a name is never without its weights.
    """
    for backbone in (student, teacher):
        fold_class_token(backbone)
    state, beside = _written(student, origin)
    write_atomically(folder / student_file(student), save(state))
    write_atomically(folder / TEACHER, save(_written(teacher, origin)[0]))
    for file, content in beside.items():
        write_atomically(folder / file, content)
    write_atomically(folder / "recipe.toml", as_toml(recipe.model_dump(mode="json")))
    card = new_card(folder, name, student, recipe, origin)
    write_atomically(folder / README, model_card(card, recipe, origin, state.keys()))
    path = folder / f"{name}.toml"
    write_atomically(
        path,
        as_toml(card.model_dump(mode="json", exclude_none=True, exclude={"weights": {"revision"}})),
    )
    return path


def _written(backbone: DenseBackbone, origin: Origin) -> tuple[StateDict, dict[str, bytes]]:
    """Weights under the names of the base's file or of the base's library, and what is beside."""
    published = backbone.published() if isinstance(backbone, Trainable) else None
    return (official_state(backbone, origin.file), {}) if published is None else published


def student_file(backbone: DenseBackbone) -> str:
    """The name of the file of weights: that by which the base's library looks for it, or ours."""
    return (isinstance(backbone, Trainable) and backbone.weights_file) or STUDENT


def new_card(
    folder: Path, name: str, backbone: DenseBackbone, recipe: Recipe, origin: Origin
) -> BackboneCard:
    """The base's card, with the new weights beside it; for a plug-in, one made of what it says."""
    base, weights = backbone.card or _plugin_card(backbone, origin), student_file(backbone)
    update = {
        "name": name,
        "description": f"{origin.backbone} after NeCo post-training ({recipe.name})",
        "weights": WeightsSource(path=weights, sha256=file_sha256(folder / weights)),
        "training_data": f"{base.training_data}; then {images_told(origin.images, origin.sources)}",
        "adapted_from": origin.backbone,
        "citation": "; ".join(filter(None, (base.citation, PAPER))),
        "id": _absolute(base, origin) if base.source == "python" else base.id,
        "training": training_card(recipe, origin),
    }
    return base.model_copy(update=update)


def training_card(recipe: Recipe, origin: Origin) -> TrainingCard:
    """The facts of a training, for the card."""
    moving = recipe.model_dump(mode="json", exclude=_MOVES_NO_WEIGHT | recipe.unsaid)
    everything = [moving, origin.fingerprint, origin.images_fingerprint]
    known, engine = versions(), recipe.views.engine
    digest = hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()
    return TrainingCard(
        base=origin.backbone,
        base_fingerprint=origin.fingerprint,
        recipe=recipe.name,
        recipe_hash=digest,
        seed=recipe.training.seed,
        steps=origin.steps,
        view_engine=", ".join(f"{name} {known[name]}" for name in VIEW_LIBRARIES[engine]),
    )


def _plugin_card(backbone: DenseBackbone, origin: Origin) -> BackboneCard:
    return BackboneCard(
        name=Path(origin.backbone).stem,
        source="python",
        id=origin.target,
        patch_size=backbone.patch_size,
        embed_dim=backbone.embed_dim,
        mean=backbone.mean,
        std=backbone.std,
        position_embedding="none",
        license="not stated",
        training_data="not stated",
    )


def _absolute(base: BackboneCard, origin: Origin) -> str:
    """A plug-in's code stays where it is, and the new card lies elsewhere."""
    file, colon, function = base.id.rpartition(":")
    folder = Path() if origin.target == base.id else find_backbone(origin.target).folder
    return f"{(folder / file).resolve()}{colon}{function}"


def registered_card(name: str) -> Path:
    """Where a registered backbone's card is found: a link to the card in its own folder."""
    return user_home() / "backbones" / f"{name}.toml"


def register(name: str, card: Path) -> None:
    """Make a card's name known to every later command of this user."""
    link = registered_card(name)
    link.parent.mkdir(parents=True, exist_ok=True)
    fresh = link.with_name(f".{name}.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(card.resolve())
    fresh.replace(link)


def as_toml(values: dict[str, Any]) -> str:
    """A table of plain values, lists and tables one level down, as TOML."""
    plain = {key: value for key, value in values.items() if not isinstance(value, dict)}
    lines = [f"{key} = {_toml_value(value)}" for key, value in plain.items()]
    for key, table in values.items():
        if isinstance(table, dict):
            lines += ["", f"[{key}]", *(f"{k} = {_toml_value(v)}" for k, v in table.items())]
    return "\n".join(lines) + "\n"


def _toml_value(value: Any) -> str:
    """JSON's notation of strings, numbers, truth values and lists is TOML's, but for DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
