"""The device of these tests; without one each is skipped, with what it would have shown.

``DENSEBENCH_GPU_TESTS=cpu`` runs what does not ask a GPU for its memory on the processor, so that
the tests themselves are tried where there is none.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from densebench.records.schema import RunRecord
from densebench.run.execute import evaluate
from densebench.run.options import RunOptions

TRIED = os.environ.get("DENSEBENCH_GPU_TESTS") == "cpu"


def shows(what: str, own_memory: bool = False) -> pytest.MarkDecorator:
    """Skips a test without a GPU, telling what it would have shown."""
    tried = TRIED and not own_memory
    missing = not torch.cuda.is_available() and not tried
    return pytest.mark.skipif(missing, reason=f"there is no GPU here to show that {what}")


@pytest.fixture
def gpu() -> Iterator[torch.device]:
    """The GPU, whose peak of memory begins anew."""
    if not torch.cuda.is_available():
        yield torch.device("cpu")
        return
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    yield torch.device("cuda", torch.cuda.current_device())
    torch.cuda.empty_cache()


@pytest.fixture
def run(own_places: Path) -> Callable[..., RunRecord]:
    """A run with results and a cache of its own."""

    def run_on(device: torch.device, task: Path, place: str, **options: Any) -> RunRecord:
        results = own_places / place
        how = {"device": str(device), "results": results, "cache": "off", **options}
        return evaluate(RunOptions(how.pop("backbone", "hog_s14"), str(task), **how))[0]

    return run_on
