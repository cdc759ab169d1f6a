"""The model card beside new weights: what they are, how to load them, what they score."""

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from densebench import __version__
from densebench.cards import BackboneCard
from densebench.posttrain.recipe import Recipe

STUDENT, TEACHER, README = "student.safetensors", "teacher.safetensors", "README.md"
PAPER = (
    'Pariza, Salehi, Burghouts, Locatello and Asano, "Near, far: Patch-ordering enhances vision '
    "foundation models' scene understanding\", ICLR 2025, arXiv 2408.11054"
)
RESULTS = "## Results\n"
_REGISTERS = "register_tokens"
_SIZES = {"small": "s", "base": "b", "large": "l", "giant": "g"}


@dataclass(frozen=True)
class Origin:
    """What a backbone was made from: its base, that one's file, and the images.

    `fingerprint` is the base's, `images_fingerprint` a SHA-256 of the images' content, `hub` the
    base's repository on the Hugging Face hub, where it comes from there.
    """

    backbone: str
    target: str
    file: Path | None
    fingerprint: str
    images: int
    images_fingerprint: str
    sources: tuple[str, ...]
    steps: int
    unreadable: int
    hub: str | None = None


@dataclass(frozen=True)
class Result:
    """Base and new backbone on one task, and their paired difference or why there is none."""

    task: str
    metric: str
    base: str
    new: str
    difference: str
    p: str


def hub_id(card: BackboneCard) -> str | None:
    """The repository of a card's weights on the Hugging Face hub, if they come from there."""
    return None if card.weights is None else card.weights.repo


def images_told(images: int, sources: Sequence[str]) -> str:
    """How many, and from where."""
    return f"{images:,} images of {', '.join(sources)}, no labels"


def model_card(
    card: BackboneCard, recipe: Recipe, origin: Origin, names: Collection[str] = ()
) -> str:
    """A short model card in markdown, with the metadata that the Hugging Face hub reads.

    Args:
        card: of the new backbone.
        recipe: that made it.
        origin: what it was made from.
        names: of the new weights, which say who can load them.
    """
    views, training = recipe.views, recipe.training
    skipped = f" {origin.unreadable} images could not be read and were left out." * bool(
        origin.unreadable
    )
    base = f"base_model: {json.dumps(origin.hub)}\n" if origin.hub else ""
    return f"""---
license: {json.dumps(card.license.lower())}
{base}tags: [densebench, neco, dense-features]
---

# {card.name}

{origin.backbone}, post-trained with NeCo (patch neighbour consistency); densebench {__version__}.

- Weights: `{_file(card)}` (what `{card.name}.toml` names) and `{TEACHER}` (their moving average),
  both in the base's own key naming.
- Images: {images_told(origin.images, origin.sources)}; fingerprint of their content
  `{origin.images_fingerprint[:12]}`, each one's SHA-256 in `images.sha256`.{skipped}
- Training: recipe {recipe.name}, {origin.steps} steps of {training.batch_size} images,
  {views.global_crops} global views of {views.global_size} and {views.local_crops} local views of
  {views.local_size} pixels, learning rate {recipe.optimiser.backbone_lr:g}; all of it in
  `recipe.toml`, the course of it in `log.jsonl`.
- Licence: {card.license}, carried over from the base; the images' own terms may bind you too.
- Method: {PAPER}.

## Use

In this folder:

{_snippets(card, names)}
{RESULTS}
Not evaluated yet. In this folder, without any data:

    densebench run --backbone {card.name}.toml --task scenes_incontext

`densebench list tasks` names the others.
"""


def _snippets(card: BackboneCard, names: Collection[str]) -> str:
    """Python that loads the weights, each piece a whole program."""
    found = [
        "import torch\n"
        "from densebench.backbones import load_backbone\n\n"
        f'backbone = load_backbone("{card.name}.toml")\n'
        f"images = torch.zeros(1, 3, {8 * card.patch_size}, {8 * card.patch_size})  # normalised\n"
        f"patches = backbone(images)  # (1, 8, 8, {card.embed_dim})\n",
        _by_timm(card),
        _by_hub(card, names),
        _by_transformers(card),
    ]
    return "\n".join(f"```python\n{code}```\n" for code in found if code)


def _by_timm(card: BackboneCard) -> str:
    transformer = re.match(r"(test_)?vit(_|$)|deit", card.id)
    if card.source != "timm" or not transformer or not card.final_norm:
        return ""
    if _REGISTERS in card.drop_keys:
        return ""  # which the file still has, and timm's loader refuses
    return (
        "import timm\nimport torch\n\n"
        "model = timm.create_model(\n"
        f'    "{card.id}",\n'
        "    pretrained=True,\n"
        f'    pretrained_cfg_overlay={{"file": "{STUDENT}"}},\n'
        "    num_classes=0,\n"
        ").eval()\n"
        'images = torch.zeros(1, *model.pretrained_cfg["input_size"])  # normalised\n'
        f"patches = model.forward_features(images)[:, {card.prefix_tokens}:]  "
        f"# (1, patches, {card.embed_dim})\n"
    )


def _by_transformers(card: BackboneCard) -> str:
    """Of the folder itself, which has the configuration as well."""
    if card.source != "hf":
        return ""
    return (
        "from transformers import AutoModel\n\n"
        'model = AutoModel.from_pretrained(".").eval()  # patches come after '
        f"{card.prefix_tokens} other tokens\n"
    )


def _file(card: BackboneCard) -> str:
    return STUDENT if card.weights is None else str(card.weights.path)


def _by_hub(card: BackboneCard, names: Collection[str]) -> str:
    """Of the official repositories of DINO and DINOv2, for weights in their naming."""
    found = _hub_entry(card.id)
    official = "mask_token" in names or card.id.endswith(".dino")
    if card.source != "timm" or found is None or not official or _REGISTERS in card.drop_keys:
        return ""
    repository, entry = found
    return (
        "import torch\nfrom safetensors.torch import load_file\n\n"
        f'model = torch.hub.load("{repository}", "{entry}", pretrained=False)\n'
        f'model.load_state_dict(load_file("{STUDENT}"))\n'
    )


def _hub_entry(name: str) -> tuple[str, str] | None:
    second = re.match(r"vit_(small|base|large|giant)_patch14_(reg4_)?dinov2", name)
    if second:
        registers = "_reg" if second[2] else ""
        return "facebookresearch/dinov2", f"dinov2_vit{_SIZES[second[1]]}14{registers}"
    first = re.fullmatch(r"vit_(small|base)_patch(8|16)_224\.dino", name)
    return (
        ("facebookresearch/dino:main", f"dino_vit{_SIZES[first[1]]}{first[2]}") if first else None
    )


def with_results(text: str, new: str, base: str, results: Sequence[Result], about: str) -> str:
    """A model card with what base and new backbone score, instead of what was said of it before.

    Args:
        text: the card.
        new: the new backbone's name.
        base: the other one's.
        results: a row each.
        about: what a difference is over.
    """
    head = ("task", "metric", base, new, "difference, 95% interval", "p")
    rows = [(r.task, r.metric, r.base, r.new, r.difference, r.p) for r in results]
    lines = [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
    return f"{text.partition(RESULTS)[0]}{RESULTS}\n" + "\n".join([*lines, "", about, ""])
