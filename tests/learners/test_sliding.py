"""Whole images by windows equal DINOv3's: logits, probabilities, predictions, several scales."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import avg_pool2d, interpolate

from densebench.backbones.base import DenseBackbone
from densebench.datasets.base import Split
from densebench.datasets.targets import labels
from densebench.datasets.windows import Sliding, Window, scaled_side, window_boxes
from densebench.features.source import PatchSource
from densebench.host.errors import DensebenchError
from densebench.learners.heads import class_logits
from densebench.learners.normed_head import NormedHead
from densebench.learners.sliding import SlidingTest, WindowSum, at_pixels
from densebench.measures.class_means import MeanAccuracy, MeanDice, MeanFScore, MeanPrecision
from densebench.measures.labels import LabelScoring, label_map
from densebench.measures.scoring import Prediction, Scorer

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
GOLDEN_MEAN, GOLDEN_STD = (128 / 255,) * 3, (64 / 255,) * 3  # x = u8 / 64 - 2
TTA = (0.9, 0.95, 1.0, 1.05, 1.1)
KEYS = {
    "mIoU": "miou",
    "acc": "mean_accuracy",
    "aAcc": "pixel_accuracy",
    "dice": "mean_dice",
    "fscore": "mean_fscore",
    "precision": "mean_precision",
    "recall": "mean_accuracy",
}


class Colours(DenseBackbone):
    """The goldens' backbone: the mean colour of each patch less half of the window's, mapped."""

    def __init__(self, arrays, case: str) -> None:
        super().__init__("colours", int(arrays[f"{case}/patch"]), len(arrays[f"{case}/Wf"]))
        self.register_buffer("weights", torch.from_numpy(arrays[f"{case}/Wf"]))

    def patch_map(self, images: torch.Tensor) -> torch.Tensor:
        colours = avg_pool2d(images, self.patch_size)
        colours = colours - 0.5 * colours.mean(dim=(2, 3), keepdim=True)
        return torch.einsum("dc,bchw->bhwd", self.weights, colours)


def head_of(arrays, case: str) -> NormedHead:
    names = {"W": "classify.weight", "b": "classify.bias", "bn_w": "norm.weight"}
    names |= {"bn_b": "norm.bias", "bn_mean": "norm.running_mean", "bn_var": "norm.running_var"}
    state = {name: torch.from_numpy(arrays[f"{case}/{key}"]) for key, name in names.items()}
    state["classify.weight"] = state["classify.weight"][:, :, None, None]
    head = NormedHead(*reversed(state["classify.weight"].shape[:2]))
    head.load_state_dict({**head.state_dict(), **state})
    return head.eval()


class Masks:
    """The zero class and void as 255, the others one less, as the published loader does."""

    def read(self, file: Path) -> np.ndarray:
        mask = np.array(Image.open(file.with_suffix(".mask.png")))
        return np.where((mask == 0) | (mask == 255), 255, mask - 1).astype(np.uint8)

    def rules(self, file: Path) -> bytes:
        return b""


def source_of(folder: Path, images: list[np.ndarray], backbone: DenseBackbone) -> PatchSource:
    files = [folder / f"{number}.png" for number in range(len(images))]
    for file, image in zip(files, images, strict=True):
        Image.fromarray(image).save(file)
    paths, names = tuple(map(str, files)), tuple(file.stem for file in files)
    split = Split("val", names, paths, paths, Masks(), labels(tuple("abcde"), 255))
    return PatchSource(split, backbone, batch_size=3)


def view_of(backbone: Colours, mean, std, side: int = 0):
    """Views of windows, or of whole images that are stretched to a side."""

    def view(shape: tuple[int, int]) -> Window:
        size = (side, side) if side else shape
        return Window(size, mean, std, backbone.patch_size, stretched=bool(side))

    return view


def resized_probabilities(logits: torch.Tensor, size) -> torch.Tensor:
    return interpolate(logits[None], size=tuple(size), mode="bilinear")[0].softmax(dim=0)


@pytest.mark.parametrize("case", ["land", "port", "both", "small", "short"])
def test_dinov3_logits_by_windows_are_equal(golden, tmp_path, case):
    arrays, name = golden("dinov3_seg"), f"slide/{case}"
    backbone, head = Colours(arrays, "slide"), head_of(arrays, "slide")
    image = arrays[f"{name}/x_u8"].transpose(1, 2, 0)
    crop, stride = int(arrays[f"{name}/crop"]), int(arrays[f"{name}/stride"])
    source = source_of(tmp_path, [np.ascontiguousarray(image)], backbone)
    way = Sliding(min(image.shape[:2]), crop, stride)
    test = SlidingTest(source, [way], view_of(backbone, GOLDEN_MEAN, GOLDEN_STD))
    ((place, logits),) = test.scores(lambda patches: class_logits(head, patches))
    assert place == 0
    np.testing.assert_allclose(logits.numpy(), arrays[f"{name}/logits"], rtol=0, atol=1e-5)
    probabilities = resized_probabilities(logits, arrays[f"{name}/prob"].shape[1:])
    np.testing.assert_allclose(probabilities.numpy(), arrays[f"{name}/prob"], rtol=0, atol=7e-6)
    ones, count = torch.ones(1, 1, 1), WindowSum(0, image.shape[:2])
    for box in window_boxes(image.shape[:2], crop, stride):
        count.add(box, ones.expand(1, box.bottom - box.top, box.right - box.left))
    np.testing.assert_array_equal(count.windows.numpy(), arrays[f"{name}/count"])


def waves(shape) -> torch.Tensor:
    """The golden's image of the published size: values that no file of eight bits holds."""
    rows, columns = (torch.arange(n, dtype=torch.float64) for n in shape)
    channels = [
        torch.sin(0.02 * (c + 1) * rows[:, None] + 0.013 * (c + 2) * columns[None] + c)
        for c in range(3)
    ]
    return torch.stack(channels).float()


def test_dinov3_windows_of_the_published_size_are_equal(golden):
    arrays, name = golden("dinov3_seg"), "slide/true"
    backbone, head = Colours(arrays, name), head_of(arrays, name)
    shape = tuple(map(int, arrays[f"{name}/shape"]))
    image, total = waves(shape), WindowSum(0, shape)

    def logits_of(pixels: torch.Tensor, stretched: bool = False) -> torch.Tensor:
        size = tuple(pixels.shape[1:])
        view = Window(size, MEAN, STD, backbone.patch_size, stretched=stretched)
        return at_pixels(class_logits(head, backbone(pixels[None]))[0], view)

    for box in window_boxes(shape, int(arrays[f"{name}/crop"]), int(arrays[f"{name}/stride"])):
        total.add(box, logits_of(image[:, box.top : box.bottom, box.left : box.right]))
    part = (slice(3, None, 24), slice(5, None, 24))
    logits, count = total.mean, total.windows
    np.testing.assert_array_equal(count[part].numpy(), arrays[f"{name}/count_sub"])
    found, wanted = logits[(slice(None), *part)].numpy(), arrays[f"{name}/logits_sub"]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)
    wanted = arrays[f"{name}/prob"]
    found = resized_probabilities(logits, wanted.shape[1:]).numpy()
    np.testing.assert_allclose(found, wanted, rtol=0, atol=7e-6)
    # The mode "whole": always a square of 512; these are logits, upsampled from the patches.
    wanted = arrays[f"{name}/whole_300x400"]
    square = interpolate(image[None, :, :300, :400], size=(512, 512), mode="bilinear")[0]
    logits = logits_of(square, stretched=True)
    found = interpolate(logits[None], size=wanted.shape[1:], mode="bilinear")[0]
    np.testing.assert_allclose(found.numpy(), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("case", "model", "side", "scales"),
    [
        ("plain", "slide", 48, (1.0,)),
        ("true", "slide/true", 512, (1.0,)),
        ("tta", "eval/tta", 96, TTA),
    ],
)
def test_dinov3_evaluation_is_equal(golden, tmp_path, case, model, side, scales):
    arrays, name = golden("dinov3_seg"), f"eval/{case}"
    backbone, head = Colours(arrays, model), head_of(arrays, model)
    cut = {"plain": "slide/land", "true": "slide/true", "tta": "eval/tta"}[case]
    crop, stride = int(arrays[f"{cut}/crop"]), int(arrays[f"{cut}/stride"])
    images = [arrays[f"eval/img{i}"] for i in range(3)]
    source = source_of(tmp_path, images, backbone)
    for i in range(3):
        Image.fromarray(arrays[f"eval/mask{i}"]).save(tmp_path / f"{i}.mask.png")
    ways = [
        Sliding(scaled_side(side, scale), crop, stride, flipped)
        for flipped in ((False, True) if len(scales) > 1 else (False,))
        for scale in scales
    ]
    test = SlidingTest(source, ways, view_of(backbone, MEAN, STD))
    further = MeanAccuracy(), MeanPrecision(), MeanDice(), MeanFScore()
    scoring = LabelScoring(("original",), "none", "nan", 5, tuple("abcde"), 255, further)
    scorer = Scorer(scoring, source.split)
    for place, scores in test.scores(lambda patches: class_logits(head, patches)):
        wanted = arrays[f"{name}/prob{place}"]
        found = scores if len(ways) > 1 else resized_probabilities(scores, wanted.shape[1:])
        np.testing.assert_allclose(found.numpy(), wanted, rtol=0, atol=7e-6)
        empty = torch.zeros(1, 1, 1, dtype=torch.uint8)
        prediction = Prediction(torch.tensor([place]), empty, scores=scores[None])
        predicted = label_map(prediction, 0, wanted.shape[1:])
        np.testing.assert_array_equal(predicted, arrays[f"{name}/pred{place}"])
        scorer.add(prediction)
    (result,) = scorer.results()
    hits, false, missed = result.evidence.vectors[0].reshape(3, 3, 5).transpose(1, 0, 2).astype(int)
    areas = np.stack([hits, hits + false + missed, hits + false, hits + missed], axis=1)
    np.testing.assert_array_equal(areas, arrays[f"{name}/areas"])
    reported = json.loads(str(arrays[f"{name}/result"]))
    values = {measured.metric.name: measured.value for measured in result.measured}
    for key, metric in KEYS.items():
        assert values[metric] == pytest.approx(float(arrays[f"{name}/{key}"]), rel=0, abs=2e-7)
        assert round(100 * values[metric], 2) == pytest.approx(reported[key], abs=1e-9)


def test_an_image_that_cannot_be_read_is_left_out(tmp_path):
    draws = np.random.default_rng(0)
    images = [draws.integers(0, 256, (24, 40, 3), dtype=np.uint8) for _ in range(3)]
    arrays = {"a/patch": 8, "a/Wf": np.eye(3, dtype=np.float32)}
    source = source_of(tmp_path, images, Colours(arrays, "a"))
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:200])
    test = SlidingTest(source, [Sliding(24, 24, 16)], view_of(source.backbone, MEAN, STD))
    with pytest.raises(DensebenchError, match=r"1\.png: not a readable image"):
        list(test.scores(lambda patches: patches.movedim(-1, 1)))
    source.skip_bad = True
    test = SlidingTest(source, [Sliding(24, 24, 16)], view_of(source.backbone, MEAN, STD))
    places = [place for place, _ in test.scores(lambda patches: patches.movedim(-1, 1))]
    assert places == [0, 2]
    assert list(source.unreadable) == ["1"]


def test_what_is_beside_a_padded_window_is_cut_off():
    logits = torch.arange(16.0).reshape(1, 4, 4)
    dropped = at_pixels(logits, Window((50, 50), MEAN, STD, 14, drops=True))
    padded = at_pixels(logits, Window((50, 50), MEAN, STD, 14, drops=False))
    torch.testing.assert_close(
        dropped, interpolate(logits[None], size=(50, 50), mode="bilinear")[0]
    )
    whole = interpolate(logits[None], size=(56, 56), mode="bilinear")[0]
    torch.testing.assert_close(padded, whole[:, :50, :50])
