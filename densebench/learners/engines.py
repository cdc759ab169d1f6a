"""Which engine searches a memory bank, and what it takes; nothing heavy is loaded to know that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Method = Literal["exact", "ivf"]
EngineName = Literal["auto", "faiss", "torch"]
Engine = Literal["faiss", "torch"]


def chosen_engine(engine: EngineName, device: torch.device) -> Engine:
    """The engine; ``auto`` is faiss on a CPU."""
    if engine != "auto":
        return engine
    return "faiss" if device.type == "cpu" else "torch"


@dataclass(frozen=True)
class Place:
    """Where a bank is searched, and by what.

    Attributes:
        method: exact, or by an inverted file.
        engine: of the exact one.
        device: of the run; the bank is in the host's memory.
        half_bank: whether that is in half precision.
    """

    method: Method
    engine: EngineName
    device: torch.device
    half_bank: bool

    def beside(self, rows: int, width: int) -> dict[str, int]:
        """Bytes of the host that the search takes beside the bank, by what they are for."""
        if self.method == "ivf":
            return {"inverted file": rows * width * 4}
        if self._proven_on("cpu") and not self.half_bank:
            return {"memory features in half precision": rows * width * 2}
        return {}

    def on_gpu(self, rows: int, width: int) -> dict[str, int]:
        """Bytes that a GPU must have; rows in full precision stay away where there is no room."""
        if self.method == "exact" and self._proven_on("cuda"):
            return {"memory features in half precision": rows * width * 2}
        return {}

    def _proven_on(self, kind: str) -> bool:
        return self.device.type == kind and chosen_engine(self.engine, self.device) == "torch"
