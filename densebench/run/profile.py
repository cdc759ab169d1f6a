"""How fast and how large a backbone is: images per second, latency, memory, operations.

Noise images go through the backbone alone, so that neither disk nor protocol counts.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from threading import Event, Thread
from time import perf_counter

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from densebench.backbones import DenseBackbone, card_for, load_backbone
from densebench.cards import find_task
from densebench.cards.block_numbers import layers_text
from densebench.features.precision import Precision
from densebench.features.source import AUTOCAST
from densebench.files.atomic import require_writable
from densebench.host import memory
from densebench.host.device import peak_cuda, pick_device
from densebench.host.errors import DensebenchError
from densebench.host.processor import processor_name
from densebench.host.versions import versions
from densebench.host.watcher import Watcher
from densebench.protocols import load_protocol, task_params
from densebench.protocols.base import resolve_input_size
from densebench.records.called import DEFAULT_RESULTS
from densebench.records.schema import ProfileRecord
from densebench.records.store import save_profile
from densebench.run.inputs import row_name

WARM_UP, FEWEST = 2, 5
SECONDS, MOST = 10.0, 200  # of one measurement: whichever ends first, after the fewest
POLL_SECONDS = 0.002


@dataclass(frozen=True)
class ProfileOptions:
    """What to measure. ``size`` or else the input size of ``task``, or else the largest usual."""

    backbone: str
    task: str | None = None
    size: int | None = None
    weights: Path | None = None
    device: str = "auto"
    batch_size: int = 16
    precision: Precision = "fp32"
    results: Path = DEFAULT_RESULTS
    offline: bool = False
    random_weights: int | None = None


def profile_backbone(
    options: ProfileOptions, watcher: Watcher | None = None
) -> tuple[ProfileRecord, Path]:
    """Measure a backbone at one input size on one device, and save what was found.

    Args:
        options: What and where.
        watcher: Told of each measurement before it begins.

    Returns:
        The record, and its file; one of before, of the same size, device and precision, is
        replaced.

    Raises:
        DensebenchError: no such backbone, task or device, a size that the patch does not divide,
            or a batch that does not fit into the GPU's memory.
    """
    if options.task is not None and options.size is not None:
        raise DensebenchError("give --task or --size, not both")
    device = pick_device(options.device)
    backbone, size = _load(options, device)
    if device.type == "cpu":
        batch = (options.batch_size, size, size, backbone.patch_size, backbone.embed_dim)
        needed = {"a batch in the backbone": memory.batch_bytes(*batch)}
        memory.require(needed, "give a smaller --batch-size")
    require_writable(options.results)
    try:
        record = _measure(
            Meter(backbone, size, device, options.precision), options, watcher or Watcher()
        )
    except torch.cuda.OutOfMemoryError as error:
        raise DensebenchError(
            f"a batch of {options.batch_size} images of {size}x{size} does not fit into the "
            "GPU's memory; give a smaller --batch-size"
        ) from error
    return record, save_profile(record, options.results)


def _load(options: ProfileOptions, device: torch.device) -> tuple[DenseBackbone, int]:
    """The backbone, and the size of its input; a plug-in's patch is known when it is loaded."""
    side_for = _side_for(options)
    card = card_for(options.backbone, options.offline)
    size = side_for(card.patch_size) if card and card.patch_size else None
    backbone = load_backbone(
        options.backbone,
        weights=options.weights,
        image_size=size,
        device=str(device),
        offline=options.offline,
        random_weights=options.random_weights,
    )
    return backbone, side_for(backbone.patch_size)


def _side_for(options: ProfileOptions) -> Callable[[int], int]:
    """From the side of a patch to that of the input: the task's, or the one that was asked for."""
    if options.task is None:
        return partial(resolve_input_size, "auto" if options.size is None else options.size)
    found = find_task(options.task)
    protocol = load_protocol(found.card.protocol)
    params = protocol.resolve(task_params(found.card, str(found.file)), protocol.variants[0])

    def side(patch_size: int) -> int:
        height, width = protocol.shape_for(params, patch_size)
        if height != width:
            raise DensebenchError(
                f"task {found.card.name} takes inputs of {height}x{width}, and square ones are "
                "measured; give --size instead of --task"
            )
        return height

    return side


def _measure(meter: "Meter", options: ProfileOptions, watcher: Watcher) -> ProfileRecord:
    backbone, size = meter.backbone, meter.size
    about = f"{backbone.name} at {size}x{size}, {options.precision} on {meter.device_name}"
    watcher.say(f"{about}: operations of one image")
    gflops = meter.gflops()
    watcher.say(f"memory of a batch of {options.batch_size}")
    rss, cuda = meter.peak_memory(options.batch_size)
    watcher.say(f"images per second in batches of {options.batch_size}")
    batches = meter.seconds(options.batch_size)
    watcher.say("latency of one image")
    single = meter.seconds(1)
    return ProfileRecord(
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        backbone=_name(options, backbone),
        fingerprint=backbone.fingerprint,
        parameters=sum(p.numel() for p in backbone.parameters()),
        size=size,
        precision=options.precision,
        device=meter.device_name,
        batch_size=options.batch_size,
        images_per_second=options.batch_size / float(np.median(batches)),
        latency_median=float(np.median(single)),
        latency_p95=float(np.percentile(single, 95)),
        gflops=gflops,
        peak_rss_bytes=rss,
        peak_cuda_bytes=cuda,
        versions=versions(),
    )


class Meter:
    """Measures one backbone at one input size on one device."""

    def __init__(
        self, backbone: DenseBackbone, size: int, device: torch.device, precision: Precision
    ) -> None:
        self.backbone, self.size = backbone, size
        self._device, self._dtype = device, AUTOCAST.get(precision)

    @property
    def device_name(self) -> str:
        """The GPU's name, or the processor's with the threads in use."""
        if self._device.type == "cuda":
            return f"cuda ({torch.cuda.get_device_name(self._device)})"
        return f"cpu ({processor_name()}, {torch.get_num_threads()} threads, {sys.platform})"

    def gflops(self) -> float | None:
        """Operations of one image in units of 1e9, a multiply-add being two.

        Counted by torch in matrix products, convolutions and attention; all else is left out. None
        of a backbone that has none of these.
        """
        counter = FlopCounterMode(display=False)
        # Fused attention of processors is not counted; the plain one has the same products.
        with counter, sdpa_kernel(SDPBackend.MATH):
            self._forward(self._images(1))
        return counter.get_total_flops() / 1e9 or None

    def seconds(self, batch_size: int) -> list[float]:
        """Wall times of single batches, after a warm-up."""
        images = self._images(batch_size)
        for _ in range(WARM_UP):
            self._forward(images)
        times: list[float] = []
        while len(times) < FEWEST or (sum(times) < SECONDS and len(times) < MOST):
            start = perf_counter()
            self._forward(images)
            times.append(perf_counter() - start)
        return times

    def peak_memory(self, batch_size: int) -> tuple[int | None, int | None]:
        """Peak bytes of one batch: resident above the loaded backbone; or on the GPU, in all."""
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
            self._forward(self._images(batch_size))
            return None, peak_cuda(self._device)
        before = memory.current_rss()
        with _highest_rss() as highest:
            self._forward(self._images(batch_size))
        return max(0, max(highest) - before), None

    def _images(self, batch_size: int) -> Float[Tensor, "b 3 H W"]:
        """Noise, which takes as long as pictures do."""
        generator = torch.Generator().manual_seed(0)
        shape = (batch_size, 3, self.size, self.size)
        return torch.randn(shape, generator=generator).to(self._device)

    @torch.inference_mode()
    def _forward(self, images: Float[Tensor, "b 3 H W"]) -> None:
        with torch.autocast(self._device.type, dtype=self._dtype, enabled=self._dtype is not None):
            self.backbone(images)
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


@contextmanager
def _highest_rss() -> Iterator[list[int]]:
    """Resident bytes of this process while the block runs, looked at every few milliseconds.

    The system's own peak would be that of the whole process, loading included.
    """
    seen = [memory.current_rss()]
    done = Event()

    def watch() -> None:
        while not done.wait(POLL_SECONDS):
            seen.append(memory.current_rss())

    watcher = Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield seen
    finally:
        done.set()
        watcher.join()
        seen.append(memory.current_rss())


def _name(options: ProfileOptions, backbone: DenseBackbone) -> str:
    """As run records name it; other weights than the card's are told apart."""
    layers = "" if backbone.layers is None else f", {layers_text(backbone.layers)}"
    return row_name(backbone, options.weights) + layers
