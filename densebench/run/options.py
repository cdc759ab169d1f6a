"""What a run is asked to do."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from densebench.cards import LARGEST
from densebench.cards.block_numbers import checked_layers
from densebench.features.precision import Precision
from densebench.host.errors import DensebenchError
from densebench.learners.engines import EngineName
from densebench.records.called import DEFAULT_RESULTS

CacheMode = Literal["fp32", "fp16", "off"]


def check_count(name: str, value: int, least: int = 0) -> None:
    """Nothing, for a whole number from ``least`` on that every library can hold.

    Raises:
        DensebenchError: another one.
    """
    if not least <= value <= LARGEST:
        raise DensebenchError(f"{name} is a number from {least} to {LARGEST:,}, not {value:.6g}")


@dataclass(frozen=True)
class RunOptions:
    """What to run, and where. Sizes of batches and devices do not change the protocol's hash.

    ``layers`` are the backbone's blocks, counted from 0, in place of its own output;
    ``random_weights`` is a seed of weights that are drawn in place of those that were learnt;
    ``name`` is that of a plug-in's row.
    """

    backbone: str
    task: str
    variant: str = "reference"
    params: dict[str, Any] = field(default_factory=dict)
    weights: Path | None = None
    layers: tuple[int, ...] | None = None
    random_weights: int | None = None
    name: str | None = None
    data_root: Path | None = None
    train_list: Path | None = None
    val_list: Path | None = None
    subset: str | None = None
    subset_seed: int = 42
    limit: int | None = None
    seed: int = 0
    device: str = "auto"
    batch_size: int = 16
    workers: int | None = None
    precision: Precision = "fp32"
    results: Path = DEFAULT_RESULTS
    overwrite: bool = False
    skip_bad: bool = False
    panels: int = 0
    cache: CacheMode = "fp32"
    offline: bool = False
    allow_nondeterministic: bool = False
    deterministic: bool = False
    search_engine: EngineName = "auto"

    def __post_init__(self) -> None:
        """Refuse what Python lets through, before it is recorded as if it had been done."""
        kinds = {"precision": Precision, "cache": CacheMode, "search_engine": EngineName}
        for name, allowed in ((name, get_args(kind)) for name, kind in kinds.items()):
            value = getattr(self, name)
            if value not in allowed:
                raise DensebenchError(f"{name} is one of {', '.join(allowed)}, not '{value}'")
        counts = ("seed", "subset_seed", "panels", "batch_size", "workers", "random_weights")
        for name in counts:
            if (value := getattr(self, name)) is not None:
                check_count(name, value, least=int(name == "batch_size"))
        if self.random_weights is not None and self.weights is not None:
            raise DensebenchError("--weights and --random-weights: give one of them")
        if self.layers is not None:
            object.__setattr__(self, "layers", checked_layers(self.layers))
