"""What is checked once everything is loaded, before the work: memory, and features that repeat."""

from math import prod

import numpy as np
import torch

from densebench.backbones.repeatable import TOLERANCE, disagreement, largest_difference
from densebench.features.cache import FeatureCache
from densebench.host import memory
from densebench.host.device import free_on_gpu
from densebench.host.errors import DensebenchError
from densebench.host.ranks import processes_here
from densebench.host.watcher import Watcher
from densebench.protocols.base import Protocol
from densebench.run.inputs import Inputs

LESS_MEMORY = "lower memory_size, the number of images (--limit) or input_size"


def check_repeatable(inputs: Inputs, protocol: Protocol, watcher: Watcher) -> bool:
    """Whether features are the same at every pass.

    Raises:
        DensebenchError: they are not, and that was not asked for by name.
    """
    options, backbone = inputs.plan.options, inputs.backbone
    batch = min(2, options.batch_size)
    difference = largest_difference(backbone, protocol.input_shape, inputs.plan.device, batch)
    if difference <= TOLERANCE:
        return True
    told = disagreement(backbone, difference)
    if not options.allow_nondeterministic:
        raise DensebenchError(f"{told}; or --allow-nondeterministic records it so")
    watcher.say(f"warning: {told}; recorded as not repeatable")
    return False


def check_memory(
    inputs: Inputs, protocol: Protocol, cache: FeatureCache | None, watcher: Watcher
) -> None:
    """Say what the run will take.

    Raises:
        DensebenchError: it is more than is free.
    """
    dataset = inputs.dataset
    plan, on_gpu = memory.parts(protocol.memory_plan(len(dataset.train), len(dataset.val)))
    _check_gpu(inputs.plan.device, on_gpu)
    plan["a batch in the backbone"] = _batch_bytes(inputs, protocol)
    here = processes_here()  # each of which holds all of it
    plan = {name: here * size for name, size in plan.items()}
    needed = memory.require(plan, LESS_MEMORY)
    told = {**plan, **on_gpu}
    parts = ", ".join(f"{name} {memory.gigabytes(size)}" for name, size in told.items())
    watcher.say(
        f"memory: about {memory.gigabytes(memory.current_rss() + needed)} at the peak "
        f"({parts}); {memory.gigabytes(memory.available_bytes())} are free"
    )
    if cache is not None:
        watcher.say(
            f"features: up to {memory.gigabytes(kept_bytes(inputs, protocol))} are kept in "
            f"{cache.folder} (limit {memory.gigabytes(cache.limit)})"
        )


def _check_gpu(device: torch.device, plan: dict[str, int]) -> None:
    """Nothing, if what is planned for a GPU fits into what is free of it."""
    needed, free = sum(plan.values()), free_on_gpu(device)
    if needed > free and plan:
        raise DensebenchError(
            f"this run needs {memory.gigabytes(needed)} on the GPU ("
            f"{', '.join(name.removeprefix(memory.ON_GPU) for name in plan)}), and "
            f"{memory.gigabytes(free)} are free; {LESS_MEMORY}"
        )


def _batch_bytes(inputs: Inputs, protocol: Protocol) -> int:
    backbone, batch = inputs.backbone, inputs.plan.options.batch_size
    sides = protocol.input_shape
    return memory.batch_bytes(batch, *sides, backbone.patch_size, backbone.embed_dim)


def kept_bytes(inputs: Inputs, protocol: Protocol) -> int:
    """Size of all views that the protocol wants kept."""
    width = 2 if inputs.plan.options.cache == "fp16" else 4
    values = prod(protocol.input_shape) * np.dtype(inputs.dataset.target.dtype).itemsize
    per_image = prod(protocol.grid_shape) * inputs.backbone.embed_dim * width + values
    train = len(inputs.dataset.train) * protocol.needs.kept_train_views
    return (train + len(inputs.dataset.val) * protocol.needs.kept_val_views) * per_image
