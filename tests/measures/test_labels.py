import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch.nn.functional import interpolate

from densebench.host.errors import DensebenchError
from densebench.measures.jackknife import degrees_of_freedom, interval, leave_one_out
from densebench.measures.labels import LabelScoring, label_map
from densebench.measures.scoring import Prediction, Scorer
from densebench.measures.segmentation import MeanIoU
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


def scorer(
    *resolutions: Any,
    classes: tuple[str, ...] = CLASSES,
    ignore: int = VOID,
    split: Any = SPLIT,
    groups: str | None = None,
    **changes: Any,
) -> Counted:
    options = {"matching": "none", "absent": "zero", "n_predicted": len(classes), **changes}
    scoring = LabelScoring(resolutions, classes=classes, ignore_index=ignore, **options)
    return Counted(scoring, split, groups)


def predicted(kind: str = "scores", repeat: int = 0, shift: int = 0) -> list[Prediction]:
    """All images in two batches, out of order."""
    values = {"scores": SCORES.roll(shift, 1), "labels": (LABELS + shift) % 4}[kind]
    parts = [torch.tensor([3, 0]), torch.tensor([4, 1, 2])]
    return [
        Prediction(i, torch.from_numpy(MASKS[i.numpy()]), repeat=repeat, **{kind: values[i]})
        for i in parts
    ]


def by_hand(truths: list[np.ndarray], labels: list[np.ndarray], ignore: int = VOID) -> np.ndarray:
    """Pixel by pixel."""
    confusion = np.zeros((len(CLASSES), len(CLASSES)), dtype=np.int64)
    for truth, label in zip(truths, labels, strict=True):
        for t, p in zip(truth.ravel().tolist(), label.ravel().tolist(), strict=True):
            if t != ignore:
                confusion[t, p] += 1
    return confusion


def bilinear(scores: np.ndarray, height: int, width: int) -> np.ndarray:
    """Upsampling with half-pixel centres, one value after the other."""
    _, h, w = scores.shape
    out = np.zeros((len(scores), height, width))
    for y, x in itertools.product(range(height), range(width)):
        fy = max((y + 0.5) * h / height - 0.5, 0)
        fx = max((x + 0.5) * w / width - 0.5, 0)
        y0, x0 = int(fy), int(fx)
        y1, x1 = min(y0 + 1, h - 1), min(x0 + 1, w - 1)
        top = scores[:, y0, x0] * (1 - fx + x0) + scores[:, y0, x1] * (fx - x0)
        low = scores[:, y1, x0] * (1 - fx + x0) + scores[:, y1, x1] * (fx - x0)
        out[:, y, x] = top * (1 - fy + y0) + low * (fy - y0)
    return out


def winners(height: int, width: int) -> list[np.ndarray]:
    return [bilinear(scores, height, width).argmax(0) for scores in SCORES.numpy()]


def nearest(mask: np.ndarray, size: int) -> np.ndarray:
    rows = [int(i * mask.shape[0] / size) for i in range(size)]
    columns = [int(i * mask.shape[1] / size) for i in range(size)]
    return mask[np.ix_(rows, columns)]


class TestCountingByHand:
    def test_at_the_input_size(self) -> None:
        counted = scorer("input")
        for prediction in predicted():
            counted.add(prediction)
        wanted = by_hand(list(MASKS), winners(INPUT, INPUT))
        assert counted.scores()[0].confusion == [wanted.tolist()]

    def test_at_the_original_size(self) -> None:
        counted = scorer("original")
        for prediction in predicted():
            counted.add(prediction)
        wanted = by_hand(list(ORIGINALS), winners(*ORIGINAL))
        assert counted.scores()[0].confusion == [wanted.tolist()]

    @pytest.mark.parametrize("size", [4, 6, 9])
    def test_at_a_size_in_pixels(self, size: int) -> None:
        counted = scorer(size)
        for prediction in predicted():
            counted.add(prediction)
        wanted = by_hand([nearest(mask, size) for mask in MASKS], winners(size, size))
        assert counted.scores()[0].confusion == [wanted.tolist()]

    def test_all_sizes_at_once_the_ranked_one_first(self) -> None:
        counted = scorer("original", "input", 4)
        for prediction in predicted():
            counted.add(prediction)
        scores = counted.scores()
        assert [score.resolution for score in scores] == ["original", "input", 4]
        for score in scores:
            alone = scorer(score.resolution)
            for prediction in predicted():
                alone.add(prediction)
            assert alone.scores() == [score]
        assert counted.value() == scores[0].value

    def test_a_void_label_that_is_a_class_is_not_counted(self) -> None:
        counted = scorer("input", ignore=0)
        for prediction in predicted():
            masks = prediction.masks.clamp(max=2)
            counted.add(Prediction(prediction.indices, masks, scores=prediction.scores))
        (confusion,) = counted.scores()[0].confusion
        wanted = by_hand(list(MASKS.clip(max=2)), winners(INPUT, INPUT), ignore=0)
        assert confusion == wanted.tolist()
        assert confusion[0] == [0, 0, 0]

    def test_cluster_labels_take_the_nearest_patch(self) -> None:
        (first, *_) = predicted("labels")
        found = label_map(first, 0, (8, 10))
        assert found.dtype == np.int64
        grid = LABELS[3].numpy()
        assert found.tolist() == [
            [int(grid[int(y * 3 / 8), int(x * 3 / 10)]) for x in range(10)] for y in range(8)
        ]


class TestNumbers:
    def score(self, **changes: Any) -> Any:
        counted = scorer("input", **changes)
        for prediction in predicted():
            counted.add(prediction)
        return counted.scores()[0]

    def test_follow_from_the_counts(self) -> None:
        score = self.score()
        confusion = by_hand(list(MASKS), winners(INPUT, INPUT))
        hits = np.diag(confusion)
        iou = hits / (confusion.sum(0) + confusion.sum(1) - hits)
        assert list(score.classes) == list(CLASSES)
        assert list(score.classes.values()) == pytest.approx(iou.tolist())
        assert score.value == pytest.approx(iou.mean())
        assert score.main.repeats == [score.value]
        assert score.of("pixel_accuracy").value == pytest.approx(hits.sum() / confusion.sum())
        assert score.mapping == [[0, 1, 2]]

    def test_a_class_that_is_nowhere(self) -> None:
        absent = scorer("input", classes=(*CLASSES, "nothing"))
        left_out = scorer("input", classes=(*CLASSES, "nothing"), absent="nan")
        for p in predicted():
            never = torch.full((len(p.indices), 1, GRID, GRID), -9.0, dtype=torch.float64)
            wider = Prediction(p.indices, p.masks, scores=torch.cat([p.scores, never], dim=1))
            absent.add(wider)
            left_out.add(wider)
        zero, out = absent.scores()[0], left_out.scores()[0]
        assert zero.classes["nothing"] is None
        assert zero.value == zero.of("miou_absent_zero").value == out.of("miou_absent_zero").value
        wanted = (found.of("miou_absent_left_out").value for found in (out, zero))
        assert [out.value] * 2 == list(wanted)
        assert zero.value == pytest.approx(0.75 * out.value)

    def test_hungarian_matching_undoes_a_renaming(self) -> None:
        def run(matching: str, renamed: bool) -> Any:
            truth = torch.from_numpy(ORIGINALS[:, :GRID, :GRID])
            perfect = torch.nn.functional.one_hot(truth.clamp(max=2).long(), 3)
            scores = perfect.permute(0, 3, 1, 2).double()
            if renamed:
                scores = scores[:, [2, 0, 1]]  # class 0 is predicted as 1, 1 as 2, 2 as 0
            counted = scorer("input", matching=matching)
            counted.add(Prediction(torch.arange(N), truth, scores=scores))
            return counted.scores()[0]

        assert run("none", renamed=False).value == 1
        assert run("none", renamed=True).value < 0.5
        undone = run("hungarian", renamed=True)
        assert undone.value == 1
        assert undone.mapping == [[2, 0, 1]]
        assert np.array(undone.confusion[0])[~np.eye(3, dtype=bool)].sum() == 0

    def test_more_clusters_than_classes_go_where_they_are_most_precise(self) -> None:
        counted = scorer("input", matching="precision", n_predicted=4)
        for prediction in predicted("labels"):
            counted.add(prediction)
        score = counted.scores()[0]
        joint = np.zeros((3, 4), dtype=int)
        for mask, grid in zip(MASKS, LABELS.numpy(), strict=True):
            label = grid.repeat(2, 0).repeat(2, 1)
            for t, p in zip(mask.ravel(), label.ravel(), strict=True):
                if t != VOID:
                    joint[t, p] += 1
        assert score.mapping == [joint.argmax(axis=0).tolist()]
        assert np.sum(score.confusion) == joint.sum()

    def test_nothing_labelled_is_refused(self) -> None:
        counted = scorer("input")
        void = torch.full((1, INPUT, INPUT), VOID, dtype=torch.uint8)
        counted.add(Prediction(torch.tensor([0]), void, scores=SCORES[:1]))
        with pytest.raises(DensebenchError, match="no labelled pixel"):
            counted.scores()

    def test_nothing_predicted_is_refused(self) -> None:
        with pytest.raises(DensebenchError, match="no validation image"):
            scorer("input").scores()


class TestRepeats:
    SHIFTS = (0, 1, 2)

    def test_numbers_are_means_and_matrices_stand_one_after_another(self) -> None:
        together, alone = scorer("input", absent="nan"), []
        for repeat, shift in enumerate(self.SHIFTS):
            one = scorer("input", absent="nan")
            for prediction in predicted(repeat=repeat, shift=shift):
                together.add(prediction)
                one.add(Prediction(prediction.indices, prediction.masks, prediction.scores))
            alone.append(one.scores()[0])
        score = together.scores()[0]
        assert len({one.value for one in alone}) == len(self.SHIFTS)
        assert score.main.repeats == [one.value for one in alone]
        assert score.value == pytest.approx(np.mean([one.value for one in alone]))
        assert together.value() == pytest.approx(score.value)
        assert score.of("pixel_accuracy").value == pytest.approx(
            np.mean([o.of("pixel_accuracy").value for o in alone])
        )
        assert score.confusion == [one.confusion[0] for one in alone]
        assert score.mapping == [one.mapping[0] for one in alone]
        for name in CLASSES:
            assert score.classes[name] == pytest.approx(
                np.mean([one.classes[name] for one in alone])
            )

    def test_the_interval_is_that_of_the_mean(self) -> None:
        once, twice = scorer("input"), scorer("input")
        for prediction in predicted():
            once.add(prediction)
            twice.add(prediction)
        for prediction in predicted(repeat=1):
            twice.add(prediction)
        assert once.scores()[0].interval == twice.scores()[0].interval


class TestInterval:
    def score(self, n_images: int, seed: int = 0) -> Any:
        rng = np.random.default_rng(seed)
        truth = rng.integers(0, 3, (n_images, 4, 4)).astype(np.uint8)
        wrong = rng.random(truth.shape) < rng.random((n_images, 1, 1))
        guess = np.where(wrong, rng.integers(0, 3, truth.shape), truth)
        scores = torch.nn.functional.one_hot(torch.from_numpy(guess), 3).permute(0, 3, 1, 2)
        counted = scorer("input")
        counted.add(
            Prediction(torch.arange(n_images), torch.from_numpy(truth), scores=scores.double())
        )
        return counted.scores()[0]

    @pytest.mark.parametrize("seed", range(5))
    def test_holds_the_score_and_narrows_with_more_images(self, seed: int) -> None:
        few, many = self.score(20, seed), self.score(500, seed)
        for score, n in ((few, 20), (many, 500)):
            assert score.interval.low < score.value < score.interval.high
            assert (score.interval.level, score.interval.over) == (0.95, "images")
            assert score.interval.n == n
        width = [s.interval.high - s.interval.low for s in (few, many)]
        assert width[1] < 0.4 * width[0]

    def test_agrees_with_leaving_out_images_by_hand(self) -> None:
        n_images = 60
        rng = np.random.default_rng(1)
        truth = rng.integers(0, 3, (n_images, 4, 4)).astype(np.uint8)
        guess = np.where(rng.random(truth.shape) < 0.4, rng.integers(0, 3, truth.shape), truth)
        counted = scorer("input")
        scores = torch.nn.functional.one_hot(torch.from_numpy(guess), 3).permute(0, 3, 1, 2)
        counted.add(
            Prediction(torch.arange(n_images), torch.from_numpy(truth), scores=scores.double())
        )
        score = counted.scores()[0]
        values = []
        for i in range(n_images):
            t, g = np.delete(truth, i, axis=0), np.delete(guess, i, axis=0)
            shared = [np.sum((t == c) & (g == c)) / np.sum((t == c) | (g == c)) for c in range(3)]
            values.append(np.mean(shared))
        df = degrees_of_freedom(np.array(values))
        half = stats.t(df).isf(0.025) * np.sqrt(59 * np.var(values))
        assert score.interval.low == pytest.approx(score.value - half)
        assert score.interval.high == pytest.approx(score.value + half)

    def test_one_image_has_none_and_it_says_why(self) -> None:
        found = self.score(1).main
        assert found.interval.low is found.interval.high is None
        assert found.interval_text == "none: a single one of the images"

    def test_the_order_of_images_does_not_matter(self) -> None:
        assert self.score(30) == self.score(30)

    def test_over_the_groups_that_a_split_names(self) -> None:
        grouped = SimpleNamespace(**{**vars(SPLIT), "groups": ("x", "y", "x", "z", "z")})
        both = []
        for split in (SPLIT, grouped):
            counted = scorer("input", split=split, groups="films")
            for prediction in predicted():
                counted.add(prediction)
            both.append((counted.scores()[0], counted.results()[0].evidence))
        (images, plain), (films, counts) = both
        assert images.value == films.value
        assert (images.interval.over, images.interval.n) == ("images", N)
        assert (films.interval.over, films.interval.n) == ("films", len(set(grouped.groups)))
        assert plain.groups is None
        assert (counts.groups, counts.over) == (grouped.groups, "films")
        bounds = interval(films.value, leave_one_out([counts.units], MeanIoU()), (0.0, 1.0))
        assert (films.interval.low, films.interval.high) == pytest.approx(bounds)


def test_the_hand_made_upsampling_is_the_published_one() -> None:
    """align_corners off, as the protocols say; so that the tests above test the right thing."""
    ours = bilinear(SCORES[0].numpy(), 7, 5)
    theirs = interpolate(SCORES[:1], size=(7, 5), mode="bilinear", align_corners=False)[0]
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-12)
