"""Labelling an image with a head: class numbers of any size, and heads that choose none."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from densebench.backbones import load_backbone
from densebench.host.errors import DensebenchError
from densebench.learners.heads import Head, head_bytes
from densebench.run.predict import predict_image


def write_head(path: Path, n_classes: int, winner: int, value: float = 1.0) -> Path:
    """A head on rgb_s14 that gives ``winner`` the logit ``value``, and 0 to the others."""
    backbone = load_backbone("rgb_s14")
    head = Head(backbone.embed_dim, n_classes, "linear")
    with torch.no_grad():
        head.classify.weight.zero_()
        head.classify.bias.zero_()
        head.classify.bias[winner] = value
    about = {
        "classes": [f"class {i}" for i in range(n_classes)],
        "palette": [(i % 256, i // 256, 0) for i in range(n_classes)],
        "ignore_index": 255,
        "input_size": 28,
        "backbone": "rgb_s14",
        "fingerprint": backbone.fingerprint,
        "mean": backbone.mean,
        "std": backbone.std,
        "positions": "card",
    }
    path.write_bytes(head_bytes(head, "linear", about))
    return path


@pytest.fixture
def image(tmp_path: Path) -> Path:
    Image.new("RGB", (30, 20), (90, 120, 30)).save(tmp_path / "image.png")
    return tmp_path / "image.png"


@pytest.mark.parametrize(("n_classes", "winner"), [(256, 255), (257, 256), (400, 399)])
def test_class_numbers_do_not_wrap(
    tmp_path: Path, image: Path, n_classes: int, winner: int
) -> None:
    head, out = write_head(tmp_path / "head", n_classes, winner), tmp_path / "out.png"
    assert predict_image("rgb_s14", head, image, out) == {f"class {winner}": 1.0}
    written = Image.open(out)
    assert written.size == (30, 20)
    assert np.unique(np.array(written)).tolist() == [winner]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_head_that_chooses_no_class_is_refused(tmp_path: Path, image: Path, value: float) -> None:
    head, out = write_head(tmp_path / "head", 3, 1, value), tmp_path / "out.png"
    with pytest.raises(DensebenchError, match="not finite"):
        predict_image("rgb_s14", head, image, out)
    assert not out.exists()
