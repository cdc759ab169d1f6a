"""Whole runs on scenes, whatever number of threads computes: the same to the last digit."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import faiss
import pytest
import torch

from densebench.cards import own_folder

PARAMS: dict[str, dict[str, Any]] = {
    "scenes_incontext": {},
    "scenes_linear": {"epochs": 2, "batch_size": 6, "drop_last": False},
    "scenes_overcluster": {"K": 21, "seeds": 2},
}


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """The number for torch and for faiss, as OMP_NUM_THREADS sets both."""
    before = torch.get_num_threads(), faiss.omp_get_max_threads()
    torch.set_num_threads(number)
    faiss.omp_set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        faiss.omp_set_num_threads(before[1])


def _equal(run: Callable[..., Any], task: str, numbers: tuple[int, ...], **options: Any) -> None:
    results = []
    for number in numbers:
        with _threads(number):
            results.append(
                run(
                    "linear",
                    "reference",
                    f"{number} threads",
                    task=own_folder() / "tasks" / f"{task}.toml",
                    params=PARAMS[task],
                    cache="off",
                    own_cache=False,  # where the scenes are drawn, once
                    **options,
                )
            )
    assert all(result == results[0] for result in results)


@pytest.mark.parametrize("task", PARAMS)
def test_a_few_scenes(task: str, run: Callable[..., Any]) -> None:
    _equal(run, task, (1, 3), limit=12)


@pytest.mark.slow
@pytest.mark.parametrize("task", PARAMS)
def test_all_scenes(task: str, run: Callable[..., Any]) -> None:
    _equal(run, task, (1, 2, 3, 5), limit=None)
