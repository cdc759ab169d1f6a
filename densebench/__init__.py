"""densebench: an evaluation benchmark suite for dense (patch-level) visual features.

The names below are imported on first use, so that ``import densebench`` does not load torch.
"""

from importlib import import_module
from typing import Any

from densebench.host.errors import DensebenchError

__version__ = "0.1.0"

_LAZY = {
    "DenseBackbone": "densebench.backbones",
    "load_backbone": "densebench.backbones",
    "evaluate": "densebench.run.execute",
}
__all__ = ["DenseBackbone", "DensebenchError", "__version__", "evaluate", "load_backbone"]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'densebench' has no attribute '{name}'")
    return getattr(import_module(_LAZY[name]), name)
