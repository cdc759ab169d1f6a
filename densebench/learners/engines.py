"""Which engine searches a memory bank, and what it takes; nothing heavy is loaded to know that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Method = Literal["exact", "ivf"]
EngineName = Literal["auto", "faiss", "torch"]
Engine = Literal["faiss", "torch"]


def chosen_engine(engine: EngineName, device: torch.device, half_bank: bool) -> Engine:
    """The engine; ``auto`` is faiss on a CPU, but for banks in half precision, which it copies."""
    if engine != "auto":
        return engine
    return "faiss" if device.type == "cpu" and not half_bank else "torch"


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
        single, half = rows * width * 4, rows * width * 2
        if self.method == "ivf":
            return {"inverted file": single}
        if self._is_faiss:
            return {"memory features in full precision": single} if self.half_bank else {}
        if self.half_bank or self.device.type != "cpu":
            return {}
        return {"memory features in half precision": half}

    def on_gpu(self, rows: int, width: int) -> dict[str, int]:
        """Bytes that a GPU must have; rows in full precision stay away where there is no room."""
        if self.method == "ivf" or self._is_faiss or self.device.type == "cpu":
            return {}
        return {"memory features in half precision": rows * width * 2}

    @property
    def _is_faiss(self) -> bool:
        return chosen_engine(self.engine, self.device, self.half_bank) == "faiss"
