"""What a run says of itself can be kept as it is."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from densebench.protocols.linear import Linear
from densebench.run.execute import evaluate
from densebench.run.options import RunOptions

pytestmark = pytest.mark.usefixtures("own_places")


def test_numbers_of_numpy_in_details_are_kept_as_numbers(
    tmp_path: Path, colour_task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"loss": np.float32(0.5), "best": {"at": np.int64(3)}, "each": [np.arange(2), (1, "a")]}
    whole = Linear.details

    def details(self: Any) -> dict[str, Any]:
        return {**whole(self), **told}

    monkeypatch.setattr(Linear, "details", details)
    task = colour_task.with_name("linear.toml")
    record, path = evaluate(RunOptions("rgb_s14", str(task), results=tmp_path, device="cpu"))
    wanted = {"loss": 0.5, "best": {"at": 3}, "each": [[0, 1], [1, "a"]]}
    assert record.protocol.details.items() >= wanted.items()
    assert json.loads(path.read_text())["protocol"]["details"] == record.protocol.details
