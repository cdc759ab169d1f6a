"""Depth PNGs: what is read, and what is refused."""

import numpy as np
import pytest
from PIL import Image

from densebench.datasets.depth_maps import METRES, DepthReader
from densebench.datasets.targets import Target
from densebench.host.errors import DensebenchError


def test_values_are_metres(tmp_path, golden):
    steps = golden("dinov3_depth")["tf/depth_mm"]
    Image.fromarray(steps).save(tmp_path / "depth.png")
    depth = DepthReader().read(tmp_path / "depth.png")
    assert depth.dtype == np.float32
    np.testing.assert_allclose(depth, steps / 1000, rtol=0, atol=5e-7)
    coarse = DepthReader(0.004).read(tmp_path / "depth.png")
    np.testing.assert_allclose(coarse, steps / 250, rtol=1e-6)
    assert DepthReader().rules(tmp_path) != DepthReader(0.004).rules(tmp_path)


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "1", "RGBA"])
def test_what_is_no_16_bit_map_is_refused(tmp_path, mode):
    Image.new(mode, (4, 3)).save(tmp_path / "depth.png")
    with pytest.raises(DensebenchError, match="must be a 16-bit PNG with one channel"):
        DepthReader().read(tmp_path / "depth.png")


def test_what_is_no_png_is_refused(tmp_path):
    (tmp_path / "depth.png").write_bytes(b"no picture")
    with pytest.raises(DensebenchError, match="not a readable map"):
        DepthReader().read(tmp_path / "depth.png")
    Image.fromarray(np.zeros((3, 4), np.uint16)).save(tmp_path / "depth.tif")
    with pytest.raises(DensebenchError, match="not a readable map"):
        DepthReader().read(tmp_path / "depth.tif")


def test_the_unit_is_part_of_the_meaning_where_there_is_one():
    plain = Target("depth", "float32", 0.0)
    assert plain.meaning() == ["depth", "float32", 0.0, []]
    assert METRES.meaning() == [*plain.meaning(), "m"]
    assert METRES.is_pictured and not plain.is_pictured
