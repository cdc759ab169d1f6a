"""A metric that is no segmentation: floats, metres, lower is better."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from densebench.measures.base import Evidence, Metric, grouped
from densebench.measures.comparison import Resampler, compare_runs, told_apart
from densebench.measures.jackknife import average, degrees_of_freedom, interval, leave_one_out
from densebench.measures.segmentation import MeanIoU, PixelAccuracy

seeds = st.integers(0, 2**31)


@dataclass(frozen=True)
class RMSE(Metric):
    """Root mean squared error, from the squared errors of each image and how many they are."""

    name: str = "rmse"
    title: str = "RMSE"
    unit: str = "m"
    higher: bool = False
    decimals: int = 3
    bounds: tuple[float, float] = (0.0, math.inf)
    power: float = 0.5

    def finish(self, sums: Any) -> Any:
        return (sums[..., 0] / np.maximum(sums[..., 1], 1)) ** self.power


def depths(rng: np.random.Generator, n: int, error: float, repeats: int = 1) -> Any:
    """Evidence of images with 100 pixels each, some of them hard for every backbone."""
    ease = np.random.default_rng(0).uniform(0.5, 2, (1, n, 1))
    errors = rng.normal(0, error, (repeats, n, 100)) * ease
    return np.stack([(errors**2).sum(axis=2), np.full((repeats, n), 100.0)], axis=-1)


def samples(rng: np.random.Generator, n: int, *errors: float) -> Any:
    resampler = Resampler(n, 400)
    return [resampler.sample([depths(rng, n, error)], RMSE()) for error in errors]


class TestLowerIsBetter:
    def test_the_number_and_its_interval_are_those_by_hand(self) -> None:
        runs = [
            depths(np.random.default_rng(1), 12, 0.5, 2),
            depths(np.random.default_rng(2), 12, 0.5),
        ]

        def by_hand(kept: list[int]) -> float:
            each = [
                np.mean([math.sqrt(r[kept, 0].sum() / r[kept, 1].sum()) for r in run])
                for run in runs
            ]
            return float(np.mean(each))

        everything = list(range(12))
        assert average(runs, RMSE()) == pytest.approx(by_hand(everything))
        wanted = [by_hand([j for j in everything if j != i]) for i in everything]
        np.testing.assert_allclose(leave_one_out(runs, RMSE()), wanted)
        low, high = interval(average(runs, RMSE()), np.array(wanted), RMSE().bounds)
        assert 0 <= low < average(runs, RMSE()) < high < math.inf

    def test_nothing_is_below_its_bounds(self) -> None:
        run = depths(np.random.default_rng(1), 5, 1e-3)
        run[:, 0] = 100.0, 100.0  # one image makes all of the error
        value = average([run], RMSE())
        low, high = interval(value, leave_one_out([run], RMSE()), RMSE().bounds)
        assert low == 0
        assert high > 1

    def test_what_one_image_hides_is_there_without_it(self) -> None:
        """A difference of sums would be 0 by rounding, or below, and its root no number."""
        run = np.full((1, 4, 2), 3.0)
        run[0, :, 0] = 1e16, 1.0, 1.0, 0.0
        left_out = leave_one_out([run], RMSE())
        assert left_out[0] == math.sqrt(2 / 9)

    def test_a_smaller_error_is_told_apart_as_the_better_one(self) -> None:
        rng = np.random.default_rng(3)
        found = told_apart(samples(rng, 100, 0.5, 0.3, 0.3, 0.9), higher=False)
        assert found.sum(axis=1).tolist() == [1, 2, 2, 0]
        assert found.sum(axis=0).tolist() == [2, 0, 0, 3]

    def test_it_is_the_test_of_the_negative_numbers(self) -> None:
        those = samples(np.random.default_rng(4), 60, 0.5, 0.49, 0.45, 0.44)
        turned = [replace(s, value=-s.value, left_out=-s.left_out, draws=-s.draws) for s in those]
        found = told_apart(those, higher=False)
        np.testing.assert_array_equal(found, told_apart(turned))
        assert found.any()

    def test_a_comparison_is_the_difference_of_the_numbers(self) -> None:
        rng = np.random.default_rng(5)
        good, bad = depths(rng, 60, 0.4), depths(rng, 60, 0.6)
        found = compare_runs([good], [bad], RMSE())
        assert found.difference == average([good], RMSE()) - average([bad], RMSE())
        assert found.difference < found.high < 0
        assert found.p < 0.01

    def test_the_comparison_of_means_is_the_t_test_whatever_the_size_of_the_numbers(self) -> None:
        rng = np.random.default_rng(6)
        mean = RMSE(power=1)  # sums over the number of pixels: a mean, for equal numbers of them
        first, second = (depths(rng, 30, 4000.0) for _ in range(2))
        found = compare_runs([first], [second], mean)
        error = stats.sem(first[0, :, 0] / 100 - second[0, :, 0] / 100)
        df = degrees_of_freedom(leave_one_out([first], mean) - leave_one_out([second], mean))
        assert found.p == pytest.approx(2 * stats.t(df).sf(abs(found.difference) / error))
        same = compare_runs([first, first, first], [first], mean)
        assert same.p == 1

    @given(seeds, st.integers(2, 30))
    @settings(max_examples=20, deadline=None)
    def test_what_is_told_apart_is_better_alone_too(self, seed: int, n: int) -> None:
        rng = np.random.default_rng(seed)
        runs = [[depths(rng, n, error)] for error in rng.uniform(0.2, 0.6, 4)]
        resampler = Resampler(n, 100)
        found = told_apart([resampler.sample(run, RMSE()) for run in runs], higher=False)
        for better, worse in np.argwhere(found).tolist():
            two = compare_runs(runs[better], runs[worse], RMSE())
            assert two.difference < 0
            assert two.p < 0.05

    def test_where_there_is_no_difference_one_is_found_about_as_often_as_promised(self) -> None:
        rng = np.random.default_rng(7)
        found = 0
        for _ in range(200):
            found += bool(told_apart(samples(rng, 40, *[0.5] * 4), higher=False).any())
        assert found / 200 < 0.1


class TestEvidence:
    def test_floats_of_groups_are_summed(self) -> None:
        vectors = np.array([[[0.5, 1.0], [0.25, 2.0], [1.0, 3.0]]])
        evidence = Evidence(("a", "b", "c"), vectors, ("x", "y", "x"), "films")
        assert evidence.units.tolist() == [[[1.5, 4.0], [0.25, 2.0]]]
        assert evidence.over == "films"
        assert replace(evidence, groups=None).units is vectors

    def test_whole_numbers_do_not_overflow(self) -> None:
        large = np.full((1, 3, 1), 2**32 - 1, dtype=np.uint32)
        assert grouped(large, ["one"] * 3).tolist() == [[[3 * (2**32 - 1)]]]


class TestText:
    @pytest.mark.parametrize(
        ("metric", "value", "text"),
        [
            (MeanIoU(), 0.12345, "12.35"),
            (PixelAccuracy(), 1.0, "100.00"),
            (RMSE(), 0.4567, "0.457"),
        ],
    )
    def test_by_scale_and_decimals(self, metric: Metric, value: float, text: str) -> None:
        assert metric.text(value) == text

    def test_what_a_metric_adds_are_its_parameters(self) -> None:
        assert RMSE(power=1).parameters == {"power": 1}
        assert MeanIoU(absent="nan").parameters == {"absent": "nan"}
        assert PixelAccuracy().parameters == {}
