"""What a run works on: its images and its backbone, loaded, and the identity that they give it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from densebench.backbones import DenseBackbone, load_backbone
from densebench.backbones.base import IMAGENET_MEAN, IMAGENET_STD, Triple
from densebench.cards.block_numbers import layers_text
from densebench.datasets import Dataset
from densebench.datasets.targets import Target
from densebench.records.identity import protocol_hash, run_id
from densebench.run.images import Images
from densebench.run.plan import Plan
from densebench.run.remembered import Weights, remembering


@dataclass(frozen=True)
class Identity:
    """What tells a run from all others; where and how fast it runs does not.

    Attributes:
        plan: what is to be done.
        images: on which images.
        weights: with which weights.
    """

    plan: Plan
    images: Images
    weights: Weights

    @property
    def run_id(self) -> str:
        """Of all that can move a number."""
        plan, options = self.plan, self.plan.options
        return run_id(
            backbone=self.weights.fingerprint,
            task=plan.card.name,
            dataset=self.images.fingerprint,
            subset=(plan.share, options.subset_seed) if plan.share else None,
            limit=self.images.limit,
            skip_bad=options.skip_bad,
            protocol=self.protocol_hash,
            seed=options.seed,
            precision=plan.precision,
            allow_nondeterministic=options.allow_nondeterministic,
            layers=plan.layers,
        )

    @property
    def protocol_hash(self) -> str:
        """Of all that changes the number of a backbone on these images."""
        plan = self.plan
        return protocol_hash(
            name=plan.card.protocol,
            version=plan.protocol.version,
            variant=plan.options.variant,
            params=plan.params.model_dump(mode="json"),
            target=target_hashed(self.images.dataset.target),
        )


def target_hashed(target: Target) -> dict[str, Any]:
    """Labels as they were hashed when they were the only target, so that runs are found again."""
    if target.is_labels:
        return {"classes": target.classes, "ignore_index": int(target.void)}
    return {"target": target.meaning()}


@dataclass(frozen=True)
class Inputs(Identity):
    """All that a run works on: its identity, and the backbone, loaded.

    Attributes:
        backbone: its positions are resized as the plan says.
    """

    backbone: DenseBackbone

    @property
    def dataset(self) -> Dataset:
        """The images that are used."""
        return self.images.dataset

    @property
    def normalisation(self) -> tuple[Triple, Triple]:
        """Mean and deviation of the pixels that the backbone is given."""
        if self.plan.params.normalisation == "imagenet":
            return IMAGENET_MEAN, IMAGENET_STD
        return self.backbone.mean, self.backbone.std

    @property
    def workdir(self) -> Path:
        """Where checkpoints lie until the run is recorded."""
        return self.plan.options.results / ".unfinished" / self.run_id


def load_inputs(plan: Plan, images: Images, given: DenseBackbone | None = None) -> Inputs:
    """Load the backbone, and remember what its weights are; or take the one that is given.

    Raises:
        DensebenchError: weights that are missing, damaged or do not fit.
    """
    options = plan.options
    if given is not None:
        weights = Weights(_with_layers(options.backbone, plan), given.fingerprint)
        return _as_planned(Inputs(plan, images, weights, given))
    with remembering(plan) as remember:
        backbone = load_backbone(
            options.backbone,
            weights=options.weights,
            image_size=plan.input_size,
            device=str(plan.device),
            offline=options.offline,
            found=plan.backbone,
            random_weights=options.random_weights,
        )
        name = _with_layers(row_name(backbone, options.weights, options.name), plan)
        weights = Weights(name, backbone.fingerprint)
        remember(weights)
    return _as_planned(Inputs(plan, images, weights, backbone))


def _as_planned(inputs: Inputs) -> Inputs:
    """With its layers, and its table of learnt positions, as the plan says, where it has them.

    A protocol whose ``layers`` are the last leaves them to the backbone.
    """
    params = inputs.plan.params
    assert params.positions != "auto"  # it is resolved
    inputs.backbone.resize_positions(params.positions)
    inputs.backbone.use_layers(inputs.plan.layers or params.layers)
    return inputs


def _with_layers(name: str, plan: Plan) -> str:
    """Other layers than the backbone's output make another row."""
    return name if plan.layers is None else f"{name}, {layers_text(plan.layers)}"


def row_name(backbone: DenseBackbone, weights: Path | None, given: str | None = None) -> str:
    """The backbone's name; other weights than the card's make another row of a leaderboard."""
    name = backbone.name
    if backbone.card is None:
        name = given or Path(name).name  # a plug-in's file, wherever it lies
    elif name.endswith(".toml"):
        name = backbone.card.name
    if backbone.random_weights is not None:
        return f"{name}@random-{backbone.random_weights}"
    return name + (f"@{weights.stem}" if weights else "")
