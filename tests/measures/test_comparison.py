"""The paired comparison by its properties, and on data without a difference."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from densebench.measures import comparison, jackknife
from densebench.measures.comparison import Comparison, Resampler, Sample, told_apart
from densebench.measures.jackknife import (
    degrees_of_freedom,
    interval,
    p_value,
    standard_error,
)
from densebench.measures.segmentation import MeanIoU

CLASSES = 4


def flat(runs: Any) -> list[Any]:
    """Counts as evidence: those of all classes of an image in one vector."""
    return [run.reshape(*run.shape[:2], -1) for run in runs]


def average_miou(runs: Any, absent: Any) -> float:
    return jackknife.average(flat(runs), MeanIoU(absent=absent))


def leave_one_out(runs: Any, absent: Any) -> Any:
    return jackknife.leave_one_out(flat(runs), MeanIoU(absent=absent))


def compare_runs(first: Any, second: Any, absent: Any, over: str = "images") -> Comparison:
    return comparison.compare_runs(flat(first), flat(second), MeanIoU(absent=absent), over)


def resampled(resampler: Resampler, runs: Any, absent: Any) -> Any:
    return resampler.values(flat(runs), MeanIoU(absent=absent))


def sampled(resampler: Resampler, runs: Any, absent: Any) -> Sample:
    return resampler.sample(flat(runs), MeanIoU(absent=absent))


def run(rng: np.random.Generator, n_images: int, skill: float = 0.7, repeats: int = 1) -> Any:
    """Counts of pictures of 400 pixels, each class right with a chance about ``skill``."""
    ease = rng.normal(0, 0.1, (1, n_images, 1))
    chance = np.clip(skill + ease + rng.normal(0, 0.1, (repeats, n_images, CLASSES)), 0, 1)
    hits = rng.binomial(100, chance)
    return np.stack([hits, rng.binomial(40, 1 - chance), 100 - hits], axis=2).astype(np.uint32)


def samples(rng: np.random.Generator, n: int, *skills: float, resamples: int = 400) -> Any:
    resampler = Resampler(n, resamples)
    return [sampled(resampler, [run(rng, n, skill)], "zero") for skill in skills]


class TestTheFormula:
    @pytest.mark.parametrize("absent", ["zero", "nan"])
    def test_is_the_jackknife_of_the_difference_with_seeds_and_repeats(self, absent: Any) -> None:
        rng = np.random.default_rng(1)
        first = [run(rng, 12, 0.75, repeats=2), run(rng, 12, 0.75, repeats=2)]
        second = [run(rng, 12, 0.7, repeats=3)]
        for counts in (*first, *second):
            counts[:, 1:, :, 3] = 0  # a class in one image alone, so that leaving it out loses it
        found = compare_runs(first, second, absent, "sequences")
        wanted = average_miou(first, absent) - average_miou(second, absent)
        left_out = leave_one_out(first, absent) - leave_one_out(second, absent)
        assert found.difference == pytest.approx(wanted, abs=1e-12)
        df = degrees_of_freedom(left_out)
        half = stats.t(df).isf(0.025) * np.sqrt(11 / 12 * np.sum((left_out - left_out.mean()) ** 2))
        assert (found.low, found.high) == pytest.approx((wanted - half, wanted + half))
        assert found.p == p_value(wanted, left_out)
        assert (found.n, found.over) == (12, "sequences")

    def test_a_resample_is_scored_as_its_images_are(self) -> None:
        rng = np.random.default_rng(5)
        pixels = run(rng, 12, repeats=2)
        drawn = np.random.default_rng(0).integers(0, 12, (50, 12))
        wanted = [average_miou([pixels[:, d]], "nan") for d in drawn]
        np.testing.assert_allclose(
            resampled(Resampler(12, 50), [pixels], "nan"), wanted, atol=1e-12
        )

    def test_does_not_depend_on_the_size_of_the_chunks(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rng = np.random.default_rng(2)
        runs = [run(rng, 30)]
        whole = resampled(Resampler(30, 100), runs, "zero")
        monkeypatch.setattr(comparison, "CHUNK_CELLS", 30 * 7)
        np.testing.assert_array_equal(resampled(Resampler(30, 100), runs, "zero"), whole)

    def test_counts_as_large_as_they_come_are_exact(self) -> None:
        pixels = np.full((1, 5000, 3, 2), 2**31, dtype=np.uint32)
        pixels[:, :, 1:] = 2**31 - 1
        assert resampled(Resampler(5000, 3), [pixels], "zero") == pytest.approx(1 / 3)

    def test_other_images_or_classes_are_refused(self) -> None:
        rng = np.random.default_rng(3)
        with pytest.raises(ValueError, match="different images"):
            compare_runs([run(rng, 5)], [run(rng, 6)], "zero")


seeds = st.integers(0, 2**31)


class TestProperties:
    @given(seeds, st.integers(2, 40), st.integers(1, 3))
    @settings(max_examples=25, deadline=None)
    def test_the_other_way_round_is_the_negative(self, seed: int, n: int, many: int) -> None:
        rng = np.random.default_rng(seed)
        first, second = [run(rng, n) for _ in range(many)], [run(rng, n, 0.65)]
        there = compare_runs(first, second, "zero")
        back = compare_runs(second, first, "zero")
        assert back.difference == pytest.approx(-there.difference, abs=1e-12)
        assert (back.low, back.high) == pytest.approx((-there.high, -there.low), abs=1e-12)
        assert back.p == pytest.approx(there.p)

    @given(seeds, st.integers(2, 40), st.integers(1, 4))
    @settings(max_examples=25, deadline=None)
    def test_with_itself_there_is_no_difference(self, seed: int, n: int, times: int) -> None:
        one = run(np.random.default_rng(seed), n)
        found = compare_runs([one] * times, [one], "nan")
        assert found.difference == pytest.approx(0, abs=1e-12)
        assert (found.low, found.high) == pytest.approx((0, 0), abs=1e-12)
        assert found.p == 1
        resampler = Resampler(n, 200)
        alike = [sampled(resampler, runs, "nan") for runs in ([one] * times, [one])]
        assert not told_apart(alike).any()

    @given(seeds, st.integers(2, 40))
    @settings(max_examples=25, deadline=None)
    def test_p_and_interval_agree(self, seed: int, n: int) -> None:
        rng = np.random.default_rng(seed)
        found = compare_runs([run(rng, n)], [run(rng, n, 0.66)], "zero")
        assert 0 <= found.p <= 1
        assert found.low <= found.difference <= found.high
        assert (found.p < 0.05) == (found.low > 0 or found.high < 0)

    def test_the_order_of_images_does_not_matter(self) -> None:
        rng = np.random.default_rng(6)
        first, second, order = run(rng, 80), run(rng, 80, 0.68), rng.permutation(80)
        one = compare_runs([first], [second], "zero")
        other = compare_runs([first[:, order]], [second[:, order]], "zero")
        values = [(c.difference, c.low, c.high, c.p) for c in (one, other)]
        assert values[0] == pytest.approx(values[1])

    def test_pairing_tells_apart_what_two_intervals_cannot(self) -> None:
        rng = np.random.default_rng(7)
        first = run(rng, 60)
        first[:, :30, 0] //= 4  # half of the images are hard, for both
        second = first.copy()
        second[:, :, 1] += rng.integers(2, 4, second[:, :, 1].shape, dtype=np.uint32)
        found = compare_runs([first], [second], "zero")
        miou = average_miou([first], "zero")
        low, high = interval(miou, leave_one_out([first], "zero"), (0.0, 1.0))
        assert low < average_miou([second], "zero") < high
        assert found.low > 0
        assert found.p < 0.001


class TestCalibration:
    """Where there is no difference, one is found about as often as promised."""

    def test_of_two(self) -> None:
        rng = np.random.default_rng(8)
        trials, found = 500, 0
        for _ in range(trials):
            found += compare_runs([run(rng, 60)], [run(rng, 60)], "zero").p < 0.05
        assert 0.025 < found / trials < 0.085

    @pytest.mark.parametrize(("n", "lowest"), [(60, 0.02), (5, 0), (3, 0), (2, 0)])
    def test_of_many_at_once(self, n: int, lowest: float) -> None:
        rng = np.random.default_rng(9)
        resampler, trials, found = Resampler(n, 400), 300, 0
        for _ in range(trials):
            alike = [sampled(resampler, [run(rng, n)], "zero") for _ in range(5)]
            found += bool(told_apart(alike).any())
        assert lowest <= found / trials < 0.085

    def test_a_real_difference_is_found(self) -> None:
        rng = np.random.default_rng(10)
        found = compare_runs([run(rng, 200, 0.8)], [run(rng, 200, 0.7)], "zero")
        assert found.low > 0
        assert found.p < 0.01


def made(mious: Any, draws: Any, n: int, spread: float = 0.01) -> list[Sample]:
    """Samples whose differences have about the error that the draws have."""
    rng = np.random.default_rng(0)
    left_out = [m + rng.normal(0, spread / np.sqrt(n), n) for m in mious]
    return [Sample(m, o, np.asarray(d)) for m, o, d in zip(mious, left_out, draws, strict=True)]


class TestToldApart:
    def test_of_skills_that_differ_and_some_that_do_not(self) -> None:
        rng = np.random.default_rng(11)
        found = told_apart(samples(rng, 100, 0.8, 0.8, 0.7, 0.7, 0.5))
        assert found.sum(axis=1).tolist() == [3, 3, 1, 1, 0]
        assert found.sum(axis=0).tolist() == [0, 0, 2, 2, 4]

    def test_one_alone(self) -> None:
        assert told_apart(samples(np.random.default_rng(1), 9, 0.7)).tolist() == [[False]]

    def test_more_pairs_than_the_resamples_have_p_values(self) -> None:
        rng = np.random.default_rng(12)
        base = rng.normal(0, 0.01, 400)
        mious = [0.9 - 0.01 * i for i in range(30)]
        draws = [m + base + rng.normal(0, 0.0005, 400) for m in mious]
        found = told_apart(made(mious, draws, 500, 0.0005))
        assert found.sum() == 30 * 29 / 2

    def test_equals_the_step_down_by_its_definition(self) -> None:
        rng = np.random.default_rng(13)
        shared = rng.normal(0, 0.02, 300)
        mious = [0.50, 0.49, 0.45, 0.46, 0.30]
        draws = [m - 0.01 + shared + rng.normal(0, 0.01 + 0.01 * m, 300) for m in mious]
        those = made(mious, draws, 25, 0.02)
        left = {(i, j) for i in range(5) for j in range(i)}
        apart = set()
        while True:
            size, null, alone = {}, {}, {}
            for i, j in left:
                drawn = draws[i] - draws[j]
                left_out = those[i].left_out - those[j].left_out
                t = abs(mious[i] - mious[j]) / standard_error(left_out)
                alone[i, j] = 2 * stats.t(degrees_of_freedom(left_out)).sf(t)
                size[i, j] = stats.norm.isf(alone[i, j] / 2)
                null[i, j] = abs(drawn - drawn.mean()) / drawn.std()
            largest = np.max(list(null.values()), axis=0)
            new = {
                p
                for p in left
                if max(alone[p], (1 + np.sum(largest >= size[p])) / 301) < 1 - comparison.LEVEL
            }
            if not new:
                break
            apart |= new
            left -= new
        found = told_apart(those)
        assert {(max(a, b), min(a, b)) for a, b in np.argwhere(found).tolist()} == apart
        assert 0 < len(apart) < 10

    @given(seeds, st.integers(2, 25), st.lists(st.floats(0.3, 0.9), min_size=2, max_size=7))
    @settings(max_examples=40, deadline=None)
    def test_what_is_better_has_more_and_is_better_alone_too(
        self, seed: int, n: int, skills: list[float]
    ) -> None:
        rng = np.random.default_rng(seed)
        runs = [[run(rng, n, skill)] for skill in skills]
        resampler = Resampler(n, 100)
        found = told_apart([sampled(resampler, r, "zero") for r in runs])
        assert not (found & found.T).any()
        for a, b in np.argwhere(found).tolist():
            two = compare_runs(runs[a], runs[b], "zero")
            assert two.difference > 0
            assert two.p < 0.05
