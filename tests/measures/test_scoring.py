from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from densebench.host.errors import DensebenchError
from densebench.measures.base import Metric
from densebench.measures.labels import LabelScoring
from densebench.measures.scoring import Prediction, Scorer, Scoring, Tally, upsampled
from densebench.measures.segmentation import class_counts, fold
from densebench.run.scores import make_score

CLASSES = ("sky", "ground", "tree")
VOID = 255
N, GRID, INPUT, ORIGINAL = 5, 3, 6, (8, 10)
RNG = np.random.default_rng(3)
ORIGINALS = RNG.choice([0, 1, 2, VOID], size=(N, *ORIGINAL), p=[0.5, 0.3, 0.1, 0.1]).astype("u1")
MASKS = ORIGINALS[:, :INPUT, :INPUT]  # any masks at input size will do
SCORES = torch.from_numpy(RNG.random((N, len(CLASSES), GRID, GRID)))
LABELS = torch.from_numpy(RNG.integers(0, 4, (N, GRID, GRID)))
NAMES = tuple(f"{i:03d}" for i in range(500))
SPLIT: Any = SimpleNamespace(mask=lambda i: ORIGINALS[i], names=NAMES, groups=None)


class Counted(Scorer):
    """A scorer whose results are told as a record tells them."""

    def scores(self) -> list[Any]:
        return [make_score(result) for result in self.results()]


class TestTally:
    @given(
        st.integers(1, 6),
        st.integers(1, 4),
        st.integers(1, 5),
        st.integers(0, 2**32 - 1),
    )
    @settings(max_examples=30, deadline=None)
    def test_images_sum_to_the_whole_under_any_mapping(
        self, n_images: int, n_classes: int, n_predicted: int, seed: int
    ) -> None:
        rng = np.random.default_rng(seed)
        images = rng.integers(0, 50, (n_images, n_classes, n_predicted))
        images[rng.random(images.shape) < 0.6] = 0
        counts = Tally()
        for index, confusion in enumerate(images):
            counts.add(index, confusion.ravel())
        classes = tuple(map(str, range(n_classes)))
        scoring = LabelScoring(("input",), "precision", "zero", n_predicted, classes, VOID)
        mapping = rng.integers(0, n_classes, n_predicted)
        np.testing.assert_array_equal(counts.total, images.sum(axis=0).ravel())
        per_image = counts.vectors(scoring, mapping)
        wanted = [class_counts(fold(confusion, mapping)).ravel() for confusion in images]
        np.testing.assert_array_equal(per_image, wanted)
        whole = class_counts(fold(images.sum(axis=0), mapping))
        np.testing.assert_array_equal(per_image.sum(axis=0), whole.ravel())


@dataclass(frozen=True)
class MeanError(Metric):
    """Of what was predicted in metres."""

    name: str = "error"
    title: str = "error"
    unit: str = "m"
    higher: bool = False

    def finish(self, sums: Any) -> Any:
        return sums[..., 0] / np.maximum(sums[..., 1], 1)


@dataclass(frozen=True)
class DepthScoring(Scoring):
    """Absolute errors of valid pixels, and how many there are."""

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return (MeanError(),)

    def vector(self, prediction: Prediction, position: int, truth: Any) -> Any:
        assert prediction.values is not None
        depth = upsampled(prediction.values[position], truth.shape)[0].numpy()
        valid = truth > 0
        return np.array([np.abs(depth - truth)[valid].sum(), valid.sum()])


METRES = np.random.default_rng(4).uniform(1, 9, (N, *ORIGINAL)).astype(np.float32)
METRES[:, 0] = 0  # not measured
DEPTHS: Any = SimpleNamespace(mask=lambda i: METRES[i], names=NAMES, groups=None)


def depths_of(indices: Any) -> Prediction:
    values = SCORES[indices, :1].float() * 10
    masks = torch.from_numpy(METRES[indices.numpy(), :INPUT, :INPUT])
    return Prediction(indices, masks, values=values)


class TestFloats:
    def test_depth_in_metres_is_scored_by_the_same_code(self) -> None:
        counted = Counted(DepthScoring(("original", "input", 4)), DEPTHS)
        counted.add(depths_of(torch.arange(N)))
        ranked, small, _ = counted.scores()
        whole = interpolate(SCORES[:, :1].float() * 10, size=ORIGINAL, mode="bilinear")[:, 0]
        wanted = np.abs(whole.numpy() - METRES)[METRES > 0].mean()
        assert ranked.value == pytest.approx(wanted, rel=1e-5)
        assert counted.value() == ranked.value != small.value
        assert ranked.interval.low < ranked.value < ranked.interval.high
        assert (ranked.main.higher, ranked.main.unit) == (False, "m")
        assert (ranked.classes, ranked.mapping, ranked.confusion) == ({}, [], [])


@dataclass(frozen=True)
class Broken(Metric):
    """No number, whatever the images."""

    name: str = "broken"
    title: str = "broken"
    found: float = float("nan")

    def finish(self, sums: Any) -> Any:
        return np.full(sums.shape[:-1], self.found)


class TestNoNumbers:
    @pytest.mark.parametrize("found", ["nan", "inf", "-inf"])
    @pytest.mark.parametrize("place", [0, 1])
    def test_a_metric_that_is_none_is_one_line_that_names_it(
        self, found: str, place: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        metrics: list[Metric] = [MeanError(), MeanError()]
        metrics[place] = Broken(found=float(found))
        monkeypatch.setattr(DepthScoring, "metrics", tuple(metrics))
        counted = Counted(DepthScoring(("original",)), DEPTHS)
        counted.add(depths_of(torch.arange(N)))
        with pytest.raises(DensebenchError) as caught:
            counted.results()
        assert str(caught.value).startswith(f"the metric 'broken' is {found} over 5 validation ")


class TestSeveralProcesses:
    @given(st.permutations(range(N)), st.integers(1, N), st.randoms(use_true_random=False))
    @settings(max_examples=25, deadline=None)
    def test_evidence_of_several_in_any_order_equals_that_of_one(
        self, order: list[int], processes: int, draw: Any
    ) -> None:
        """Bit for bit, floats as well: they are summed in the order of the images."""

        def made(kind: str) -> Counted:
            if kind == "depth":
                return Counted(DepthScoring(("original", 4)), DEPTHS)
            scoring = LabelScoring(("original", 4), "hungarian", "zero", 4, CLASSES, VOID)
            return Counted(scoring, SPLIT)

        def fill(counted: Counted, kind: str, images: list[int]) -> Counted:
            for index in images:
                one = torch.tensor([index])
                masks = torch.from_numpy(MASKS[one.numpy()])
                if kind == "depth":
                    counted.add(depths_of(one))
                else:
                    for repeat in range(2):
                        labels = (LABELS[one] + repeat) % 4
                        counted.add(Prediction(one, masks, labels=labels, repeat=repeat))
            return counted

        for kind in ("labels", "depth"):
            whole = fill(made(kind), kind, list(range(N)))
            parts = [fill(made(kind), kind, order[p::processes]) for p in range(processes)]
            draw.shuffle(parts)
            together = made(kind)
            together.join(parts)
            assert together.scores() == whole.scores()
            for ours, theirs in zip(together.results(), whole.results(), strict=True):
                assert ours.evidence.names == theirs.evidence.names
                np.testing.assert_array_equal(ours.evidence.vectors, theirs.evidence.vectors)

    def test_an_image_that_two_of_them_scored_is_refused(self) -> None:
        first, second = (Counted(DepthScoring(("input",)), DEPTHS) for _ in range(2))
        first.add(depths_of(torch.tensor([0, 1])))
        second.add(depths_of(torch.tensor([1, 2])))
        with pytest.raises(ValueError, match="the image 1 was scored twice"):
            first.join([second])
        with pytest.raises(ValueError, match="the image 0 was scored twice"):
            first.add(depths_of(torch.tensor([0])))
