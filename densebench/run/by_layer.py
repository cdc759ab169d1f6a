"""Every layer of a backbone on a task: a run each, whose features come from one pass."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from densebench.cards.block_numbers import checked_layers
from densebench.host.errors import DensebenchError
from densebench.host.watcher import Watcher
from densebench.records.schema import RunRecord
from densebench.run import done
from densebench.run.images import Images, images_at_once
from densebench.run.options import RunOptions


def evaluate_layers(
    base: RunOptions, layers: Sequence[int] | None = None, watcher: Watcher | None = None
) -> list[tuple[RunRecord, Path]]:
    """A run for each layer, one after the other; a run whose record is there is read.

    Features of all layers that have no record yet are kept the first time that a view is extracted,
    as far as cache and memory reach. What is left by an interruption goes on where it stopped.

    Args:
        base: the backbone, the task, and how to run; its own ``layers`` mean nothing.
        layers: numbers of blocks, in ascending order; all of them, if none are given.
        watcher: told how it goes.

    Returns:
        Each layer's record and its file.

    Raises:
        DensebenchError: bad input, no such layer, or a run that does not fit into memory.
    """
    told = watcher or Watcher()
    if base.cache == "off":
        raise DensebenchError("layers share one pass through the cache of features; it is off")
    wanted = _all_layers(base) if layers is None else checked_layers(layers)
    images = images_at_once(replace(base, layers=wanted[:1]), told)
    found: dict[int, tuple[RunRecord, Path]] = {}
    for layer in wanted:
        known = done.recall(replace(base, layers=(layer,)), images) if images else None
        if known is not None:
            found[layer] = known
    left = [layer for layer in wanted if layer not in found]
    if len(left) < len(wanted):
        told.say(f"already done: {len(wanted) - len(left)} of {len(wanted)} layers")
    for number, layer in enumerate(left):
        told.say(f"[{number + 1}/{len(left)}] layer {layer}")
        found[layer] = _evaluated(base, layer, tuple(left[number + 1 :]), images, told)
    return [found[layer] for layer in wanted]


def _evaluated(
    base: RunOptions, layer: int, others: tuple[int, ...], images: Images | None, told: Watcher
) -> tuple[RunRecord, Path]:
    from densebench.run.execute import evaluate

    options = replace(base, layers=(layer,))
    return evaluate(options, told, images, others=others)


def _all_layers(base: RunOptions) -> tuple[int, ...]:
    """The numbers of all blocks, which only the backbone itself knows.

    Raises:
        DensebenchError: its blocks cannot be had one by one.
    """
    from densebench.backbones import load_backbone
    from densebench.run.plan import plan_run

    plan = plan_run(replace(base, layers=(0,)))
    backbone = load_backbone(
        base.backbone,
        weights=base.weights,
        image_size=plan.input_size,
        offline=base.offline,
        found=plan.backbone,
    )
    count = len(backbone.layer_widths())
    if not count:
        raise DensebenchError(f"{base.backbone}: gives no features of single blocks")
    return tuple(range(count))
