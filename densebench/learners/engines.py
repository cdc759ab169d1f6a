"""Which engine searches a memory bank, and what it takes; nothing heavy is loaded to know that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from densebench.host.memory import ON_GPU

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
        """Bytes that the search takes beside the bank, by what they are for.

        Of a GPU only rows in half precision are counted: those in full stay away without room.
        """
        if self.method == "ivf":
            return {"inverted file": rows * width * 4}
        on_gpu = self.device.type == "cuda"
        if chosen_engine(self.engine, self.device) == "faiss" or (self.half_bank and not on_gpu):
            return {}
        name = "memory features in half precision"
        return {(ON_GPU if on_gpu else "") + name: rows * width * 2}
