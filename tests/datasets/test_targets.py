"""What a dataset gives beside an image, whatever it is, goes through views, cache and splits."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from densebench.backbones import load_backbone
from densebench.datasets.base import Split
from densebench.datasets.targets import Target, labels
from densebench.datasets.transforms import FlippedCrop, JitteredCrop, Squash, Transform
from densebench.features.cache import FeatureCache
from densebench.features.source import PatchSource
from densebench.host.errors import DensebenchError

DEPTH = Target("depth", "float32", 0.0)
HALF = (0.5, 0.5, 0.5)
VIEWS = [
    Squash(28, HALF, HALF),
    Squash(28, HALF, HALF, centred_mask=True),
    JitteredCrop(28, HALF, HALF),
    FlippedCrop(28, HALF, HALF),
]


@dataclass(frozen=True)
class Arrays:
    """Reads .npy files, as they are or as another type."""

    dtype: str = "float32"

    def read(self, file: Path) -> np.ndarray:
        return np.load(file).astype(self.dtype)

    def rules(self, file: Path) -> bytes:
        return b""


@pytest.fixture
def depths(tmp_path: Path) -> Split:
    """Three images of 40x30 pixels whose depths are real numbers that no byte holds."""
    rng = np.random.default_rng(3)
    names = ("a", "b", "c")
    for name in names:
        Image.fromarray(rng.integers(0, 255, (30, 40, 3), np.uint8)).save(tmp_path / f"{name}.png")
        np.save(tmp_path / f"{name}.npy", rng.uniform(300, 9000, (30, 40)).astype(np.float32))
    return Split(
        name="train",
        names=names,
        image_files=tuple(str(tmp_path / f"{name}.png") for name in names),
        mask_files=tuple(str(tmp_path / f"{name}.npy") for name in names),
        reader=Arrays(),
        target=DEPTH,
    )


def test_what_counts() -> None:
    values = np.array([0.0, 1.5, np.nan, np.inf, -2.0])
    assert DEPTH.valid(values).tolist() == [False, True, False, False, True]
    of_labels = labels(("a", "b"), 255)
    assert of_labels.is_labels and not DEPTH.is_labels
    assert of_labels.valid(np.array([0, 1, 255], np.uint8)).tolist() == [True, True, False]


def test_the_meaning_of_labels_is_their_classes_and_the_void_one() -> None:
    assert labels(("a", "b"), 255).meaning() == [["a", "b"], 255]
    meanings = [DEPTH, replace(DEPTH, void=-1.0), replace(DEPTH, dtype="int32")]
    meanings += [replace(DEPTH, kind="disparity"), labels((), 0)]
    assert len({repr(target.meaning()) for target in meanings}) == len(meanings)


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: type(view).__name__)
def test_a_view_holds_values_of_the_map_itself(depths: Split, view: Transform) -> None:
    whole = depths.mask(0)
    pixels, mask = view(depths.image(0), whole, seed=4)
    assert pixels.shape == (3, 28, 28)
    assert (mask.shape, str(mask.dtype)) == ((28, 28), "torch.float32")
    assert np.isin(mask.numpy(), whole).all()
    assert len(np.unique(mask.numpy())) > 28


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_cache_keeps_them_as_they_are(depths: Split, tmp_path: Path, dtype: str) -> None:
    cache = FeatureCache(tmp_path / "features", 10**9, dtype)
    plain = PatchSource(depths, load_backbone("rgb_s14"))
    kept = replace(plain, cache=cache)
    first, second, third = (
        np.concatenate([batch.masks.numpy() for batch in source.batches(VIEWS[0])])
        for source in (plain, kept, kept)
    )
    assert second.dtype == np.float32
    assert np.array_equal(first, second) and np.array_equal(second, third)
    assert len(list((tmp_path / "features").glob("*/meta.json"))) == 1


def test_a_reader_of_another_type_is_refused(depths: Split) -> None:
    other = replace(depths, reader=Arrays("float64"))
    with pytest.raises(DensebenchError, match=r"a\.npy: read as float64, but .* depth in float32"):
        other.mask(0)


def test_what_the_values_mean_is_in_the_fingerprint(depths: Split) -> None:
    others = [DEPTH, replace(DEPTH, void=1.0), replace(DEPTH, kind="disparity")]
    prints = {replace(depths, target=target).fingerprint() for target in others}
    assert len(prints) == len(others)
