"""How often a 95% interval holds what it should, and equals are told apart, by simulation.

python benchmarks/coverage.py [TRIALS] writes benchmarks/results/coverage.md (minutes, one core).
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import get_args

import numpy as np
from jaxtyping import Float, Int64

from densebench.measures.base import grouped
from densebench.measures.comparison import Resampler, compare_runs, told_apart
from densebench.measures.jackknife import average, interval, leave_one_out
from densebench.measures.segmentation import Absent, MeanIoU, iou_per_class, mean_iou

RESULT = Path(__file__).parent / "results" / "coverage.md"
IMAGES, CLASSES, GROUPS = (20, 30, 100, 300, 1000), (5, 21, 50, 250), (2, 3, 5, 10, 30)
FRAMES, RESAMPLES, MANY = 20, 400, 5
TEXT = """# How often a 95% interval holds what it should

`python benchmarks/coverage.py {trials}`: {trials} simulated validation sets a line, {seconds:.0f} s
on one core. A share near 95% (or 5%) scatters by {error:.1f} points.

Images hold about three classes each, of very unequal frequency, so that few images lack many
classes; an image's difficulty is shared by its classes and by all backbones; part of what is missed
becomes a false positive of another class. What should be held is the mean mIoU of sets of that size
in which the same classes occur: of each class its mean IoU over the sets that have it, then the
mean over the classes of the set at hand (`zero`: those that it lacks count 0). *Left out*: the
interval of the records, by leaving out one image or group at a time. *Percentile*: the percentiles
of a bootstrap, as older records have them; *inside*: how often these hold even the score that they
are given for. *Two* and *{many}*: how often two equal backbones are told apart by `compare`, and
any two of {many} equal ones by the test of a table; about 5% is promised.

The interval is too wide where many classes lie in an image or two each, and too narrow only where
such a class is one of very few: of the 5 classes here one is in 2% of the images, so that a fifth
of the score hangs on one image or two of 30 to 100; there too five equal backbones are told apart
too often.

## Images

| images | classes | absent | mIoU | left out | percentile | inside | two | {many} |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
{images}

## Groups

Sequences of about {frames} frames that share classes and difficulty, 11 classes. *As images*: the
frames left out one by one, as if they were independent.

| groups | absent | mIoU | left out | percentile | as images | two | {many} |
| --- | --- | --- | --- | --- | --- | --- | --- |
{groups}
"""


@dataclass(frozen=True)
class Population:
    """Images of which validation sets are drawn: how frequent and how hard each class is."""

    frequency: Float[np.ndarray, " g"]
    skill: Float[np.ndarray, " g"]

    @staticmethod
    def of(n_classes: int, rng: np.random.Generator) -> "Population":
        """Three classes an image, of frequencies as unequal as a stick broken at random."""
        shares = rng.dirichlet(np.ones(n_classes))
        skill = np.clip(rng.normal(0.5, 0.25, n_classes), 0.02, 0.98)
        return Population(np.minimum(0.9, 3 * shares), skill)

    def draw(
        self, n: int, backbones: int, rng: np.random.Generator
    ) -> Int64[np.ndarray, "b n 3 g"]:
        """Counts of ``n`` images under equally good backbones."""
        shape, shares = (n, len(self.skill)), self.frequency / self.frequency.sum()
        there = rng.random(shape) < self.frequency
        there[np.arange(n), rng.choice(shape[1], n, p=shares)] = True
        area = np.where(there, 1000 * rng.lognormal(0, 1, shape), 0)
        ease = rng.normal(0, 0.15, (n, 1))
        return np.stack([self._counts(area, ease, shares, rng) for _ in range(backbones)])

    def _counts(
        self,
        area: Float[np.ndarray, "n g"],
        ease: Float[np.ndarray, "n 1"],
        shares: Float[np.ndarray, " g"],
        rng: np.random.Generator,
    ) -> Int64[np.ndarray, "n 3 g"]:
        n, n_classes = area.shape
        chance = np.clip(self.skill + ease + rng.normal(0, 0.2, area.shape), 0, 1)
        hits = np.round(area * chance).astype(np.int64)
        missed = np.round(area).astype(np.int64) - hits
        taken_for = rng.choice(n_classes, area.shape, p=shares)
        inside = rng.random(area.shape) < 0.6  # confused with the largest class of the image
        taken_for = np.where(inside, area.argmax(axis=1)[:, None], taken_for)
        false = np.zeros_like(hits)
        np.add.at(false, (np.arange(n)[:, None], taken_for), missed)
        return np.stack([hits, false, missed], axis=1)

    def sequences(
        self, n: int, backbones: int, rng: np.random.Generator
    ) -> tuple[Int64[np.ndarray, "b n 3 g"], list[str]]:
        """Counts of frames of ``n`` sequences, and the sequence of each frame."""
        counts, names = [], []
        for number in range(n):
            often = np.minimum(0.95, self.frequency * rng.lognormal(0, 0.8, self.skill.shape))
            skill = self.skill + rng.normal(0, 0.2) + rng.normal(0, 0.1, self.skill.shape)
            kind = Population(often, np.clip(skill, 0.01, 0.99))
            frames = int(rng.integers(FRAMES // 2, 2 * FRAMES))
            counts.append(kind.draw(frames, backbones, rng))
            names += [f"{number:03d}"] * frames
        return np.concatenate(counts, axis=1), names


@dataclass(frozen=True)
class Trial:
    """One validation set: the first backbone's score and intervals, and what was told apart."""

    miou: float
    iou: Float[np.ndarray, " g"]  # nan where the set lacks a class
    left_out: tuple[float, float]
    percentile: tuple[float, float]
    two: bool
    many: bool


def trial(
    counts: Int64[np.ndarray, "b n 3 g"], absent: Absent, resampler: Resampler | None
) -> Trial:
    """What is said of one set; without a resampler only what needs none."""
    runs, metric = [[one.reshape(1, len(one), -1)] for one in counts], MeanIoU(absent=absent)
    miou = average(runs[0], metric)
    bounds = interval(miou, leave_one_out(runs[0], metric), metric.bounds)
    iou = iou_per_class(counts[0].sum(axis=0))
    if resampler is None:
        return Trial(miou, iou, bounds, (0, 0), False, False)
    samples = [resampler.sample(run, metric) for run in runs]
    low, high = np.percentile(samples[0].draws, [2.5, 97.5])
    two = compare_runs(runs[0], runs[1], metric).p < 0.05
    return Trial(miou, iou, bounds, (low, high), two, bool(told_apart(samples).any()))


def wanted(trials: Sequence[Trial], absent: Absent) -> Float[np.ndarray, " t"]:
    """For each set, the mean over sets in which the same classes occur."""
    iou = np.stack([t.iou for t in trials])
    there = ~np.isnan(iou)
    means = np.nan_to_num(iou).sum(axis=0) / np.maximum(there.sum(axis=0), 1)
    return mean_iou(np.where(there, means, np.nan), absent)


def held(trials: Sequence[Trial], absent: Absent) -> float:
    """How often the interval of a set holds what it should."""
    pairs = zip(trials, wanted(trials, absent), strict=True)
    return float(np.mean([t.left_out[0] <= value <= t.left_out[1] for t, value in pairs]))


def _shares(trials: Sequence[Trial], absent: Absent) -> dict[str, str]:
    pairs = list(zip(trials, wanted(trials, absent), strict=True))
    found = {
        "left out": held(trials, absent),
        "percentile": np.mean([t.percentile[0] <= v <= t.percentile[1] for t, v in pairs]),
        "inside": np.mean([t.percentile[0] <= t.miou <= t.percentile[1] for t in trials]),
        "two": np.mean([t.two for t in trials]),
        "many": np.mean([t.many for t in trials]),
    }
    shares = {name: f"{100 * share:.1f}%" for name, share in found.items()}
    return {"mIoU": f"{100 * np.mean([t.miou for t in trials]):.1f}", **shares}


def _image_lines(trials: int) -> Iterator[str]:
    for n in IMAGES:
        resampler = Resampler(n, RESAMPLES)
        for n_classes in CLASSES:
            population = Population.of(n_classes, np.random.default_rng(n_classes))
            rng = np.random.default_rng([n, n_classes])
            found: dict[Absent, list[Trial]] = {"zero": [], "nan": []}
            for _ in range(trials):
                counts = population.draw(n, MANY, rng)
                for absent, those in found.items():
                    those.append(trial(counts, absent, resampler))
            for absent, those in found.items():
                cells = _shares(those, absent).values()
                yield f"| {n} | {n_classes} | {absent} | " + " | ".join(cells) + " |"


def _group_lines(trials: int) -> Iterator[str]:
    population = Population.of(11, np.random.default_rng(11))
    for n in GROUPS:
        resampler, rng = Resampler(n, RESAMPLES), np.random.default_rng([n, 11])
        sets = [population.sequences(n, MANY, rng) for _ in range(trials)]
        for absent in get_args(Absent):
            together = [trial(grouped(c, names), absent, resampler) for c, names in sets]
            cells = _shares(together, absent)
            frames = [trial(c, absent, None) for c, _ in sets]
            cells["inside"] = f"{100 * held(frames, absent):.1f}%"
            yield f"| {n} | {absent} | " + " | ".join(cells.values()) + " |"


def main(trials: int = 200) -> None:
    start = perf_counter()
    images, groups = "\n".join(_image_lines(trials)), "\n".join(_group_lines(trials))
    error = 100 * (0.95 * 0.05 / trials) ** 0.5
    values = {"trials": trials, "error": error, "many": MANY, "frames": FRAMES}
    seconds = perf_counter() - start
    text = TEXT.format(images=images, groups=groups, seconds=seconds, **values)
    RESULT.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
