"""A whole run of the linear head, whatever is extracted at once: the same to the last digit."""

from collections.abc import Callable
from typing import Any

from densebench.cards import own_folder


def test_scenes(run: Callable[..., Any]) -> None:
    params = {"drop_last": False, "batch_size": 48, "epochs": 2}
    of_batch = [
        run(
            "linear",
            "reference",
            f"extracted by {size}",
            task=own_folder() / "tasks" / "scenes_linear.toml",
            params=params,
            limit=60,
            batch_size=size,
        )
        for size in (1, 24, 100)
    ]
    assert of_batch[0] == of_batch[1] == of_batch[2]
    assert of_batch[0]["details"]["scored_images"]["100"] == 60
