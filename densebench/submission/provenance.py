"""Whether anybody can have the weights of a record, and whether they have seen its images."""

from collections.abc import Iterator

from densebench.cards import BackboneCard, Found, find_backbone, own_folder
from densebench.cards.block_numbers import layers_text
from densebench.files.hashes import content_hash
from densebench.host.errors import DensebenchError
from densebench.records.called import AS_THE_CARD_SAYS
from densebench.records.schema import BackboneRecord, RunRecord


def weight_problems(record: RunRecord) -> Iterator[str]:
    """Each thing that keeps others from having the same weights, or from believing the number."""
    backbone = record.backbone
    yield from _seen(record)
    if backbone.random_weights is not None:
        yield (
            f"backbone.random_weights is {backbone.random_weights}: weights that were drawn, not "
            "learnt"
        )
    elif not backbone.card:
        yield (
            f"backbone {backbone.name} has no card, so nobody else can load it; write "
            f"backbones/NAME.toml"
        )
    elif backbone.weights != AS_THE_CARD_SAYS:
        yield (
            f"backbone.weights are the file {backbone.weights}, not what the card names; say in "
            "the card's [weights] where they can be had, with their sha256"
        )
    else:
        yield from _card(backbone)


def brought_card(record: RunRecord) -> Found[BackboneCard] | None:
    """The card that must come with a record, because the package has none of its name.

    None comes with a post-training: its recipe and its base are in the record.

    Raises:
        DensebenchError: it is not here.
    """
    backbone = record.backbone
    name = str(backbone.card.get("name"))
    of_training = backbone.training is not None
    if is_of_a_library(backbone) or of_training or own_card(name) is not None:
        return None
    return find_backbone(name)


def is_of_a_library(backbone: BackboneRecord) -> bool:
    """Whether its name itself says where it is from: ``timm:ID``."""
    return backbone.name.startswith(f"{backbone.card.get('source')}:")


def own_card(name: str) -> Found[BackboneCard] | None:
    """Densebench's own card of that name, whatever other cards the user has."""
    files = (own_folder() / "backbones").glob("*.toml")
    file = next((file for file in files if file.stem == name), None)
    return None if file is None else find_backbone(file)


def _seen(record: RunRecord) -> Iterator[str]:
    known = record.contamination
    if known is not None and known.seen:
        yield (
            f"contamination.seen is {known.seen:,}: so many of the {known.total:,} validation "
            "images were among those of the post-training"
        )
    elif known is None and record.backbone.training is not None:
        yield (
            "contamination is not known: the post-training's images.sha256 was not beside its "
            "weights; restore it, and repeat the run"
        )


def _card(backbone: BackboneRecord) -> Iterator[str]:
    """A card that says how others get the weights; of a post-training, the recipe says it."""
    if backbone.card_hash != content_hash(backbone.card):
        yield "backbone.card_hash is not that of backbone.card"
    if backbone.training is not None:
        return
    source = backbone.card.get("weights")
    if isinstance(source, dict) and source.get("path") is not None:
        yield (
            f"backbone.card.weights.path is {source['path']}, a file that nobody else has; publish "
            "it, and give the card's [weights] a repo or a url, with its sha256"
        )
    if is_of_a_library(backbone):
        return
    name = str(backbone.card.get("name"))
    row = name if backbone.layers is None else f"{name}, {layers_text(backbone.layers)}"
    if backbone.name != row:
        yield f"backbone.name is {backbone.name}, and its card is {row}'s"
    try:
        here = own_card(name) or find_backbone(name)
    except DensebenchError as error:
        yield f"backbone {name} has no card here: {error}"
        return
    now = here.card.model_dump(mode="json")
    for key in sorted(now.keys() & backbone.card.keys()):
        if now[key] != backbone.card[key]:
            yield f"backbone.card.{key} is {backbone.card[key]}, and {here.file} says {now[key]}"
