"""The paired bootstrap against a slow one, by its properties, and on data without a difference."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from densebench import comparison
from densebench.comparison import (
    Resampler,
    average_miou,
    compare_runs,
    ranks,
    told_apart,
)

CLASSES = 4


def run(rng: np.random.Generator, n_images: int, skill: float = 0.7, repeats: int = 1) -> Any:
    """Counts of pictures of 400 pixels, each class right with a chance about ``skill``."""
    ease = rng.normal(0, 0.1, (1, n_images, 1))
    chance = np.clip(skill + ease + rng.normal(0, 0.1, (repeats, n_images, CLASSES)), 0, 1)
    hits = rng.binomial(100, chance)
    return np.stack([hits, rng.binomial(40, 1 - chance), 100 - hits], axis=2).astype(np.uint32)


def slow_miou(pixels: Any, chosen: list[int], absent: str) -> Fraction:
    """One repeat on chosen images, in whole numbers."""
    shares: list[Fraction] = []
    for c in range(pixels.shape[2]):
        hits = sum(int(pixels[i, 0, c]) for i in chosen)
        union = sum(int(pixels[i, :, c].sum()) for i in chosen)
        if union or absent == "zero":
            shares.append(Fraction(hits, union) if union else Fraction(0))
    return sum(shares, Fraction(0)) / len(shares)


def slow_mean(runs: list[Any], chosen: list[int], absent: str) -> float:
    """Over seeds of the mean over repeats."""
    means = [sum(slow_miou(r, chosen, absent) for r in seeds) / len(seeds) for seeds in runs]
    return float(sum(means, Fraction(0)) / len(means))


class TestTheFormula:
    @pytest.mark.parametrize("absent", ["zero", "nan"])
    def test_equals_a_slow_one_with_seeds_and_repeats(self, absent: Any) -> None:
        rng = np.random.default_rng(1)
        first = [run(rng, 12, 0.75, repeats=2), run(rng, 12, 0.75, repeats=2)]
        second = [run(rng, 12, 0.7, repeats=3)]
        for counts in (*first, *second):
            counts[:, 2:, :, 3] = 0  # a class in two images alone, so that some resamples lack it
        found = compare_runs(first, second, absent, resamples=300, seed=5)
        drawn = np.random.default_rng(5).integers(0, 12, (300, 12)).tolist()
        slow = np.array([slow_mean(first, d, absent) - slow_mean(second, d, absent) for d in drawn])
        whole = list(range(12))
        wanted = slow_mean(first, whole, absent) - slow_mean(second, whole, absent)
        assert found.difference == pytest.approx(wanted, abs=1e-12)
        assert found.low == pytest.approx(np.quantile(slow, 0.025), abs=1e-12)
        assert found.high == pytest.approx(np.quantile(slow, 0.975), abs=1e-12)
        below, above = sum(slow <= 0), sum(slow >= 0)
        assert found.p == pytest.approx(min(1, 2 * (1 + min(below, above)) / 301))
        assert (found.n_images, found.resamples, found.seed) == (12, 300, 5)

    def test_does_not_depend_on_the_size_of_the_chunks(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rng = np.random.default_rng(2)
        runs = [run(rng, 30)]
        whole = Resampler(30, 100).mious(runs, "zero")
        monkeypatch.setattr(comparison, "CHUNK_CELLS", 30 * 7)
        np.testing.assert_array_equal(Resampler(30, 100).mious(runs, "zero"), whole)

    def test_counts_as_large_as_they_come_are_exact(self) -> None:
        pixels = np.full((1, 5000, 3, 2), 2**31, dtype=np.uint32)
        pixels[:, :, 1:] = 2**30
        assert average_miou([pixels], "zero") == pytest.approx(0.5)
        assert Resampler(5000, 3).mious([pixels], "zero") == pytest.approx(0.5)

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
        there = compare_runs(first, second, "zero", resamples=200)
        back = compare_runs(second, first, "zero", resamples=200)
        assert back.difference == pytest.approx(-there.difference, abs=1e-12)
        assert (back.low, back.high) == pytest.approx((-there.high, -there.low), abs=1e-12)
        assert back.p == there.p

    @given(seeds, st.integers(2, 40), st.integers(1, 4))
    @settings(max_examples=25, deadline=None)
    def test_with_itself_there_is_no_difference(self, seed: int, n: int, times: int) -> None:
        one = run(np.random.default_rng(seed), n)
        found = compare_runs([one] * times, [one], "nan", resamples=200)
        assert found.difference == pytest.approx(0, abs=1e-12)
        assert (found.low, found.high, found.p) == (0, 0, 1)
        draws = [Resampler(n, 200).mious(runs, "nan") for runs in ([one] * times, [one])]
        assert ranks([0.5, 0.5], draws, n) == [1, 1]

    @given(seeds, st.integers(2, 40))
    @settings(max_examples=25, deadline=None)
    def test_p_and_interval_agree(self, seed: int, n: int) -> None:
        rng = np.random.default_rng(seed)
        found = compare_runs([run(rng, n)], [run(rng, n, 0.66)], "zero", resamples=400)
        assert 0 < found.p <= 1
        assert found.low <= found.high
        if found.low > 0 or found.high < 0:
            assert found.p <= 0.06
        if found.p < 0.045:
            assert found.low > 0 or found.high < 0

    def test_the_order_of_images_does_not_matter(self) -> None:
        rng = np.random.default_rng(6)
        first, second, order = run(rng, 80), run(rng, 80, 0.68), rng.permutation(80)
        one = compare_runs([first], [second], "zero")
        other = compare_runs([first[:, order]], [second[:, order]], "zero")
        width = one.high - one.low
        assert other.difference == pytest.approx(one.difference, abs=1e-12)
        assert other.low == pytest.approx(one.low, abs=0.05 * width)
        assert other.high == pytest.approx(one.high, abs=0.05 * width)

    def test_pairing_tells_apart_what_two_intervals_cannot(self) -> None:
        rng = np.random.default_rng(7)
        first = run(rng, 60)
        first[:, :30, 0] //= 4  # half of the images are hard, for both
        second = first.copy()
        second[:, :, 1] += rng.integers(2, 4, second[:, :, 1].shape, dtype=np.uint32)
        found = compare_runs([first], [second], "zero")
        alone = np.percentile(Resampler(60).mious([first], "zero"), [2.5, 97.5])
        assert alone[0] < average_miou([second], "zero") < alone[1]
        assert found.low > 0
        assert found.p < 0.001


class TestCalibration:
    """Where there is no difference, one is found about as often as promised."""

    def test_of_two(self) -> None:
        rng = np.random.default_rng(8)
        trials, found = 500, 0
        for _ in range(trials):
            pair = [[run(rng, 60)], [run(rng, 60)]]
            found += compare_runs(*pair, "zero", resamples=400).p < 0.05
        assert 0.025 < found / trials < 0.085

    def test_of_many_at_once(self) -> None:
        rng = np.random.default_rng(9)
        resampler, trials, found = Resampler(60, 400), 300, 0
        for _ in range(trials):
            runs = [[run(rng, 60)] for _ in range(5)]
            mious = [average_miou(r, "zero") for r in runs]
            draws = [resampler.mious(r, "zero") for r in runs]
            found += bool(told_apart(mious, draws, 60).any())
        assert 0.02 < found / trials < 0.085

    def test_a_real_difference_is_found(self) -> None:
        rng = np.random.default_rng(10)
        found = compare_runs([run(rng, 200, 0.8)], [run(rng, 200, 0.7)], "zero")
        assert found.low > 0
        assert found.p < 0.01


class TestRanks:
    def test_those_that_cannot_be_told_apart_share_one(self) -> None:
        rng = np.random.default_rng(11)
        runs = [[run(rng, 100, skill)] for skill in (0.8, 0.8, 0.7, 0.7, 0.5)]
        mious = [average_miou(r, "zero") for r in runs]
        draws = [Resampler(100, 2000).mious(r, "zero") for r in runs]
        assert ranks(mious, draws, 100) == [1, 1, 3, 3, 5]

    def test_one_alone_is_the_first(self) -> None:
        assert ranks([0.4], [np.full(50, 0.4)], 9) == [1]

    def test_more_pairs_than_the_resamples_have_p_values(self) -> None:
        rng = np.random.default_rng(12)
        base = rng.normal(0, 0.01, 400)
        mious = [0.9 - 0.01 * i for i in range(30)]
        draws = [m + base + rng.normal(0, 0.0005, 400) for m in mious]
        assert ranks(mious, draws, 500) == list(range(1, 31))

    def test_equals_the_step_down_by_its_definition(self) -> None:
        rng = np.random.default_rng(13)
        shared = rng.normal(0, 0.02, 300)
        mious = [0.50, 0.49, 0.45, 0.46, 0.30]
        draws = [m + shared + rng.normal(0, 0.01 + 0.01 * m, 300) for m in mious]
        left = {(i, j) for i in range(5) for j in range(i)}
        apart = set()
        while True:
            size, null = {}, {}
            for i, j in left:
                drawn = draws[i] - draws[j]
                t = abs(mious[i] - mious[j]) / drawn.std() * (11 / 12) ** 0.5
                size[i, j] = stats.norm.isf(stats.t(11).sf(t))
                null[i, j] = abs(drawn - (mious[i] - mious[j])) / drawn.std()
            largest = np.max(list(null.values()), axis=0)
            new = {
                p for p in left if (1 + np.sum(largest >= size[p])) / 301 <= 1 - comparison.LEVEL
            }
            if not new:
                break
            apart |= new
            left -= new
        found = told_apart(mious, draws, 12)
        assert {(max(a, b), min(a, b)) for a, b in np.argwhere(found).tolist()} == apart
        assert 0 < len(apart) < 10
        assert all(mious[a] > mious[b] for a, b in np.argwhere(found).tolist())
