"""Options that several commands share."""

from typing import Any

import pytest

from densebench.cli import shared
from densebench.datasets.published_lists import SUBSET_SEEDS
from densebench.host.errors import DensebenchError


def test_names_by_pattern_suite_and_comma_each_once() -> None:
    assert shared.names("backbones", "rgb_s14, hog_s14,rgb_s14") == ["rgb_s14", "hog_s14"]
    assert set(shared.names("backbones", "hog_*")) >= {"hog_s14"}
    assert "voc_incontext" in shared.names("tasks", "suite:neco-voc")
    with pytest.raises(DensebenchError, match="no task is named"):
        shared.names("tasks", " , ")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a=1", 1),
        ("a = 0.5", 0.5),
        ("a=true", True),
        ("a=[1, 2]", [1, 2]),
        ("a=auto", "auto"),
        ("a=x=y", "x=y"),
    ],
)
def test_a_value_is_tomls_or_a_word(text: str, value: Any) -> None:
    assert shared.overrides([text]) == {"a": value}


def test_one_of_suggests() -> None:
    shared.one_of("--x", "low", ("low", "high"))
    with pytest.raises(DensebenchError, match=r"--x must be one of low, high.*did you mean 'high'"):
        shared.one_of("--x", "hihg", ("low", "high"))


@pytest.mark.parametrize("seeds", ["0", "-1", "1001", "x", "1.5", "٣", "9" * 30])
def test_no_number_of_seeds(seeds: str) -> None:
    with pytest.raises(DensebenchError, match="--seeds wants a number from 1 to 1000"):
        shared.wanted_seeds([], seeds, {"seed": 0, "subset_seed": None})


def test_seeds_go_on_from_the_seed_and_the_subsets_has_its_usual_value() -> None:
    options = {"seed": 7, "subset_seed": None}
    assert shared.wanted_seeds([], "3", options) == (range(7, 10), None)
    assert options["subset_seed"] == shared.DEFAULT_SUBSET_SEED


@pytest.mark.parametrize("given", [(None, None), ("1/8", 3)])
def test_published_seeds_need_a_subset_and_no_seed_of_their_own(given: tuple[Any, Any]) -> None:
    options = {"seed": 0, "subset": given[0], "subset_seed": given[1]}
    with pytest.raises(DensebenchError, match=", ".join(map(str, SUBSET_SEEDS))):
        shared.wanted_seeds(["voc_incontext"], "published", options)
