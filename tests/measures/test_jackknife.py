"""Intervals by leaving out one image or group: by hand, by property, by how often they hold."""

import importlib.util
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from densebench.host.errors import DensebenchError
from densebench.measures import jackknife
from densebench.measures.base import grouped
from densebench.measures.jackknife import (
    degrees_of_freedom,
    interval,
    p_value,
    standard_error,
)
from densebench.measures.segmentation import MeanIoU

seeds = st.integers(0, 2**31)


def benchmark() -> Any:
    """The simulation, which is a command and no module of the package."""
    file = Path(__file__).parents[2] / "benchmarks" / "coverage.py"
    spec = importlib.util.spec_from_file_location("coverage_benchmark", file)
    assert spec is not None and spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def flat(runs: Any) -> list[Any]:
    """Counts as evidence: those of all classes of an image in one vector."""
    return [run.reshape(*run.shape[:2], -1) for run in runs]


def average_miou(runs: Any, absent: Any) -> float:
    return jackknife.average(flat(runs), MeanIoU(absent=absent))


def leave_one_out(runs: Any, absent: Any) -> Any:
    return jackknife.leave_one_out(flat(runs), MeanIoU(absent=absent))


def sparse(seed: int, n: int, n_classes: int, repeats: int = 1) -> Any:
    """Counts of images that hold few of the classes each."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 1000, (repeats, n, 3, n_classes))
    pixels[:, rng.random((n, 3, n_classes)) < rng.random()] = 0
    return pixels.astype(np.uint32)


def slow_miou(pixels: Any, absent: str) -> Fraction:
    """Of one repeat, in whole numbers."""
    shares = []
    for c in range(pixels.shape[2]):
        hits, union = int(pixels[:, 0, c].sum()), int(pixels[:, :, c].sum())
        if union or absent == "zero":
            shares.append(Fraction(hits, union) if union else Fraction(0))
    return sum(shares, Fraction(0)) / max(len(shares), 1)


@pytest.mark.parametrize("absent", ["zero", "nan"])
@pytest.mark.parametrize("chunk", [10, 10**6])
def test_equals_a_slow_one(absent: Any, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jackknife, "CHUNK_CELLS", chunk)
    runs = [sparse(1, 9, 6, 2), sparse(2, 9, 6, 3)]
    wanted = [
        np.mean(
            [
                np.mean([float(slow_miou(np.delete(repeat, i, axis=0), absent)) for repeat in run])
                for run in runs
            ]
        )
        for i in range(9)
    ]
    found = leave_one_out(runs, absent)
    np.testing.assert_allclose(found, wanted, atol=1e-12)
    error = np.sqrt(8 / 9 * np.sum((np.array(wanted) - np.mean(wanted)) ** 2))
    assert standard_error(found) == pytest.approx(error)
    low, high = interval(0.5, found, (-9, 9))
    df = degrees_of_freedom(found)
    assert (high - low) / 2 == pytest.approx(stats.t(df).isf(0.025) * error)
    assert (high + low) / 2 == pytest.approx(0.5)


def test_of_a_mean_it_is_the_t_test() -> None:
    values = np.random.default_rng(3).uniform(-0.4, 0.6, 12)
    left_out = (values.sum() - values) / 11
    found = stats.ttest_1samp(values, 0)
    bounds = found.confidence_interval(0.95)
    assert interval(values.mean(), left_out, (-9, 9)) == pytest.approx((bounds.low, bounds.high))
    assert p_value(values.mean(), left_out) == pytest.approx(found.pvalue)


def test_fewer_degrees_of_freedom_where_few_images_make_the_error() -> None:
    even, few = np.linspace(0, 1, 100), np.zeros(100)
    few[:2] = 1, -1
    assert degrees_of_freedom(even) == 99
    assert degrees_of_freedom(few) == pytest.approx(6)
    assert degrees_of_freedom(np.zeros(9)) == 8
    normal = np.random.default_rng(1).normal(size=20_000)
    assert degrees_of_freedom(normal) == pytest.approx(20_000, rel=0.05)


@given(seeds, st.integers(2, 40), st.integers(1, 60), st.sampled_from(["zero", "nan"]))
@settings(max_examples=60, deadline=None)
def test_the_interval_contains_its_estimate(seed: int, n: int, classes: int, absent: Any) -> None:
    runs = [sparse(seed, n, classes)]
    miou = average_miou(runs, absent)
    low, high = interval(miou, leave_one_out(runs, absent), (0.0, 1.0))
    assert 0 <= low <= miou <= high <= 1


@given(seeds, st.integers(2, 30), st.floats(-0.3, 0.3))
@settings(max_examples=60, deadline=None)
def test_p_is_below_5_where_the_interval_leaves_0_out(seed: int, n: int, d: float) -> None:
    left_out = d + np.random.default_rng(seed).normal(0, 0.05, n)
    low, high = interval(d, left_out, (-1.0, 1.0))
    assert (p_value(d, left_out) < 0.05) == (low > 0 or high < 0)


def test_many_classes_on_few_images_as_in_the_report_of_the_fault() -> None:
    """250 classes on 30 images: percentiles of resamples lay wholly below the score."""
    bench = benchmark()
    population = bench.Population.of(250, np.random.default_rng(0))
    (counts,) = population.draw(30, 1, np.random.default_rng(1))
    found = bench.trial(np.stack([counts, counts]), "zero", bench.Resampler(30, 200))
    assert found.percentile[1] < found.miou
    assert found.left_out[0] < found.miou < found.left_out[1]


@pytest.mark.parametrize("absent", ["zero", "nan"])
@pytest.mark.parametrize(("n", "classes"), [(20, 21), (20, 250), (30, 50), (300, 21)])
def test_holds_the_mean_of_other_sets_as_often_as_promised(
    n: int, classes: int, absent: Any, least: float = 0.91
) -> None:
    bench = benchmark()
    population = bench.Population.of(classes, np.random.default_rng(classes))
    rng = np.random.default_rng(n + classes)
    trials = [bench.trial(population.draw(n, 1, rng), absent, None) for _ in range(300)]
    assert bench.held(trials, absent) >= least


def test_holds_it_less_often_where_a_fifth_of_the_score_hangs_on_an_image() -> None:
    test_holds_the_mean_of_other_sets_as_often_as_promised(20, 5, "zero", least=0.82)


@pytest.mark.parametrize("groups", [2, 5, 10])
def test_over_groups_of_frames_that_are_alike(groups: int) -> None:
    bench = benchmark()
    population = bench.Population.of(11, np.random.default_rng(11))
    rng = np.random.default_rng(groups)
    sets = [population.sequences(groups, 1, rng) for _ in range(300)]
    together = [bench.trial(grouped(counts, names), "zero", None) for counts, names in sets]
    assert bench.held(together, "zero") >= 0.91
    frames = [bench.trial(counts, "zero", None) for counts, _ in sets]
    assert bench.held(frames, "zero") < 0.85


@given(seeds, st.integers(1, 12), st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_groups_sum_their_images_in_any_order(seed: int, n: int, repeats: int) -> None:
    pixels = sparse(seed, n, 4, repeats)
    names = np.random.default_rng(seed).choice(["a", "b", "c"], n)
    found = grouped(pixels, tuple(names))
    wanted = [pixels[:, names == name].sum(axis=1) for name in sorted(set(names))]
    np.testing.assert_array_equal(found, np.stack(wanted, axis=1))
    order = np.random.default_rng(seed).permutation(n)
    np.testing.assert_array_equal(grouped(pixels[:, order], tuple(names[order])), found)


def test_counts_as_large_as_they_come_are_exact() -> None:
    pixels = np.full((1, 5000, 3, 2), 2**31, dtype=np.uint32)
    pixels[:, :, 1:] = 2**30
    assert average_miou([pixels], "zero") == pytest.approx(0.5)
    assert leave_one_out([pixels], "zero") == pytest.approx(0.5)
    assert grouped(pixels, ["one"] * 5000)[0, 0, 0, 0] == 5000 * 2**31


def test_a_metric_of_nothing_that_is_no_number_is_refused() -> None:
    """Otherwise its error would be taken for none, and equals for different."""
    left_out = np.array([0.4, np.nan, 0.5])
    with pytest.raises(DensebenchError, match="not finite"):
        jackknife.standard_error(left_out)
    with pytest.raises(DensebenchError, match="not finite"):
        jackknife.p_value(0.1, left_out)
