"""Whole runs of the linear head, whatever is extracted at once: the same to the last digit."""

from collections.abc import Callable
from typing import Any

import pytest

from densebench.cards import own_folder


def _equal(run: Callable[..., Any], extracted: tuple[int, ...], limit: int | None, **params: Any):
    card = own_folder() / "tasks" / "scenes_linear.toml"
    results = [
        run(
            "linear",
            "reference",
            f"extracted by {size}",
            task=card,
            params={"drop_last": False, **params},
            limit=limit,
            batch_size=size,
            cache="off",
            own_cache=False,  # where the scenes are drawn, once
        )
        for size in extracted
    ]
    assert all(result == results[0] for result in results)
    return results[0]["details"]["scored_images"]["100"]


def test_a_few_scenes(run: Callable[..., Any]) -> None:
    assert _equal(run, (1, 4, 100), limit=14, batch_size=6, epochs=1) == 14


@pytest.mark.slow
def test_all_scenes(run: Callable[..., Any]) -> None:
    assert _equal(run, (1, 24, 100), limit=None, batch_size=48) == 64
