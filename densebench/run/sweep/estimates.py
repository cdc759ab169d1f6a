"""What a sweep will take, by the profiles of backbones that are there; no weights are loaded."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from math import prod

import numpy as np

from densebench.backbones.base import IMAGENET_MEAN, IMAGENET_STD
from densebench.cards import BackboneCard
from densebench.datasets import Dataset, load_dataset
from densebench.datasets.subset import limited, share_of
from densebench.files.hashes import content_hash
from densebench.host.errors import DensebenchError
from densebench.host.memory import parts
from densebench.protocols.base import Protocol, Setting
from densebench.records.schema import ProfileRecord
from densebench.records.store import load_profiles
from densebench.run.options import RunOptions
from densebench.run.plan import Plan, plan_run


@dataclass(frozen=True)
class Estimate:
    """What a run will take; None for what is not known.

    Attributes:
        images: of both splits.
        hours: of the backbone alone, without what the caches have already.
        features: bytes that are kept in the cache.
        memory: bytes at once, on the device and beside it.
        device: that of the profile.
        unknown: why something is not known.
    """

    images: int | None = None
    hours: float | None = None
    features: int | None = None
    memory: int | None = None
    device: str = ""
    unknown: str = ""


def estimates(runs: Sequence[RunOptions]) -> list[Estimate]:
    """One for each run, by the newest profile of its backbone on the kind of device it asks for.

    The profiles are those in the folder of results, which is the same for all.

    Raises:
        DensebenchError: a file of a profile is none.
    """
    results, device = runs[0].results, runs[0].device.partition(":")[0]
    found = load_profiles(results) if results.is_dir() else []
    profiles = [p for _, p in found if device == "auto" or p.device.startswith(device)]
    images: dict[str, Dataset | DensebenchError] = {}
    told = []
    for run in runs:
        plan = plan_run(replace(run, device="cpu"))
        key = content_hash(asdict(replace(run, backbone="", seed=0)))
        if key not in images:
            images[key] = _images(plan)
        told.append(_estimate(plan, images[key], profiles))
    return told


def total(parts: Sequence[Estimate]) -> Estimate:
    """Of several: the sum of what is known; of memory, the most."""
    hours = [part.hours for part in parts if part.hours is not None]
    features = [part.features for part in parts if part.features is not None]
    return Estimate(
        images=sum(part.images or 0 for part in parts),
        hours=sum(hours) if hours else None,
        features=sum(features) if features else None,
        memory=max((part.memory for part in parts if part.memory is not None), default=None),
    )


def _estimate(
    plan: Plan, data: Dataset | DensebenchError, profiles: Iterable[ProfileRecord]
) -> Estimate:
    if isinstance(data, DensebenchError):
        return Estimate(unknown=str(data))
    images = len(data.train) + len(data.val)
    if plan.backbone is None or plan.input_size is None:
        return Estimate(images, unknown=f"{plan.options.backbone} is known when it is loaded")
    card, size = plan.backbone.card, plan.input_size
    protocol = _protocol(plan, card, data)
    features = _kept_bytes(plan, protocol, card, data)
    if isinstance(size, tuple):
        told = f"profiles are of square inputs, and {plan.card.name} takes {size[0]}x{size[1]}"
        return Estimate(images, features=features, unknown=told)
    profile = _newest(profiles, plan, card, size)
    if profile is None:
        return Estimate(images, features=features, unknown=_no_profile(plan, size))
    peak = profile.peak_cuda_bytes or profile.peak_rss_bytes or 0
    share = max(1.0, plan.options.batch_size / profile.batch_size)
    held = sum(parts(protocol.memory_plan(len(data.train), len(data.val)))[0].values())
    return Estimate(
        images=images,
        hours=_passes(plan, protocol, data) / profile.images_per_second / 3600,
        features=features,
        memory=held + round(peak * share),
        device=profile.device,
    )


def _images(plan: Plan) -> Dataset | DensebenchError:
    """The images that are used, or why they cannot be; their content is not read."""
    options = plan.options
    try:
        data = load_dataset(
            plan.card.dataset,
            card_path=plan.task.file,
            data_root=options.data_root,
            train_list=options.train_list,
            val_list=options.val_list,
        )
        if plan.share is not None:
            data = share_of(data, plan.share, options.subset_seed)
        return data if options.limit is None else limited(data, options.limit)
    except DensebenchError as error:
        return error


def _protocol(plan: Plan, card: BackboneCard, data: Dataset) -> Protocol:
    setting = Setting(
        target=data.target,
        patch_size=card.patch_size,
        embed_dim=card.embed_dim,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        variant=plan.options.variant,
        seed=plan.options.seed,
        device=plan.device,
    )
    return plan.protocol(plan.params, setting)


def _kept_bytes(plan: Plan, protocol: Protocol, card: BackboneCard, data: Dataset) -> int:
    """Of the views that are kept, with their targets."""
    if plan.options.cache == "off":
        return 0
    width = 2 if plan.options.cache == "fp16" else 4
    target = prod(protocol.input_shape) * np.dtype(data.target.dtype).itemsize
    needs, maps = protocol.needs, len(plan.layers or (0,))
    views = len(data.train) * needs.kept_train_views + len(data.val) * needs.kept_val_views
    return views * (prod(protocol.grid_shape) * card.embed_dim * maps * width + target)


def _passes(plan: Plan, protocol: Protocol, data: Dataset) -> int:
    """Images through the backbone: views that are kept go through it once."""
    needs, cached = protocol.needs, plan.options.cache != "off"
    kept = needs.kept_train_views if cached else 0
    train = kept * len(data.train) or needs.views(len(data.train))
    val = (
        needs.kept_val_views if cached else (needs.val_passes + needs.looks) * needs.kept_val_views
    )
    return train + len(data.val) * val


def _no_profile(plan: Plan, size: int) -> str:
    options = plan.options
    return (
        f"no profile of {options.backbone} at {size}x{size} in {options.precision}: "
        f"densebench profile --backbone {options.backbone} --size {size}"
    )


def _newest(
    profiles: Iterable[ProfileRecord], plan: Plan, card: BackboneCard, size: int
) -> ProfileRecord | None:
    weights = plan.options.weights
    wanted = (card.name + (f"@{weights.stem}" if weights else ""), size, plan.options.precision)
    found = [p for p in profiles if (p.backbone, p.size, p.precision) == wanted]
    return max(found, key=lambda profile: profile.created, default=None)
