"""The file of a depth head: what comes back from it, and what is refused."""

import pytest
import torch
from safetensors.torch import save_file

from densebench.host.errors import DensebenchError
from densebench.learners.depth_file import (
    depth_head_bytes,
    is_depth_head,
    load_depth_head,
)
from densebench.learners.depth_head import Bins, seeded_depth_head

ABOUT = {
    "height": 42,
    "width": 56,
    "mirrored": True,
    "padding_is_cut": False,
    "backbone": "rgb_s14",
    "fingerprint": "f" * 64,
    "mean": (0.5, 0.5, 0.5),
    "std": (0.2, 0.2, 0.2),
    "positions": "card",
}


@pytest.fixture
def head():
    return seeded_depth_head(5, Bins(count=7, spacing="log", weighting="softmax"), True, 3).eval()


def test_it_comes_back_whole(head, tmp_path):
    file = tmp_path / "head.safetensors"
    file.write_bytes(depth_head_bytes(head, ABOUT))
    kept = load_depth_head(file)
    patches = torch.randn(1, 2, 3, 5)
    assert torch.equal(kept.head(patches), head(patches))
    assert kept.head.bins == head.bins
    assert kept.about.mirrored and kept.about.width == 56
    assert is_depth_head(file)


BAD = [
    {"height": 0},
    {"height": 10**9},
    {"mirrored": None},
    {"std": (0.0, 0.2, 0.2)},
    {"bins": {"count": 8, "nearest": 0.1, "farthest": 1, "spacing": "log", "weighting": "linear"}},
    {"bins": {"count": 7, "nearest": -1, "farthest": 1, "spacing": "log", "weighting": "linear"}},
    {"normalised": False},
    {"more": 1},
]


@pytest.mark.parametrize("wrong", BAD, ids=[str(wrong)[:20] for wrong in BAD])
def test_what_it_says_is_checked(head, tmp_path, wrong):
    file = tmp_path / "head.safetensors"
    file.write_bytes(depth_head_bytes(head, {**ABOUT, **wrong}))
    with pytest.raises(DensebenchError, match="not a depth head of this version") as caught:
        load_depth_head(file)
    assert "\n" not in str(caught.value)


def test_other_files_are_none(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    (tmp_path / "text").write_text("text")
    for name in ("other.safetensors", "text", "gone"):
        assert not is_depth_head(tmp_path / name)
        with pytest.raises(DensebenchError, match="not a depth head"):
            load_depth_head(tmp_path / name)


def test_weights_that_are_not_finite_are_refused(head, tmp_path):
    head.project.weight.data[0] = float("nan")
    file = tmp_path / "head.safetensors"
    file.write_bytes(depth_head_bytes(head, ABOUT))
    with pytest.raises(DensebenchError, match="not finite"):
        load_depth_head(file)


def test_a_weight_that_was_changed_is_noticed(head, tmp_path):
    file = tmp_path / "head.safetensors"
    content = bytearray(depth_head_bytes(head, ABOUT))
    content[-3] ^= 1
    file.write_bytes(content)
    with pytest.raises(DensebenchError, match="weights are not what was written"):
        load_depth_head(file)
