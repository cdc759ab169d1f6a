"""densebench: an evaluation benchmark suite for dense (patch-level) visual features.

The names below are imported on first use, so that ``import densebench`` does not load torch.
``densebench.api`` has every function of the Python API.
"""

from importlib import import_module
from typing import Any

from densebench.host.errors import DensebenchError

__version__ = "0.1.0"

_LAZY = {
    "DenseBackbone": "densebench.backbones",
    "MeanIoU": "densebench.measures.meter",
    "Metric": "densebench.measures.base",
    "PosttrainOptions": "densebench.posttrain.session",
    "Prediction": "densebench.measures.scoring",
    "Protocol": "densebench.protocols.base",
    "RunOptions": "densebench.run.options",
    "Scoring": "densebench.measures.scoring",
    "Watcher": "densebench.host.watcher",
    "compare": "densebench.api",
    "evaluate": "densebench.api",
    "extract": "densebench.api",
    "ladder": "densebench.api",
    "leaderboard": "densebench.api",
    "load_backbone": "densebench.backbones",
    "reproduce": "densebench.api",
    "tasks": "densebench.cards",
}
CALLABLE = ("backbones", "posttrain")  # packages that are functions as well
__all__ = [
    "DenseBackbone",
    "DensebenchError",
    "MeanIoU",
    "Metric",
    "PosttrainOptions",
    "Prediction",
    "Protocol",
    "RunOptions",
    "Scoring",
    "Watcher",
    "__version__",
    "backbones",
    "compare",
    "evaluate",
    "extract",
    "ladder",
    "leaderboard",
    "load_backbone",
    "posttrain",
    "reproduce",
    "tasks",
]


def __getattr__(name: str) -> Any:
    if name in CALLABLE:
        return import_module(f"densebench.{name}")
    if name not in _LAZY:
        raise AttributeError(f"module 'densebench' has no attribute '{name}'")
    return getattr(import_module(_LAZY[name]), name)
