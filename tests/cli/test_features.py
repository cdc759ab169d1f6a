"""`densebench extract`."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.usefixtures("own_places")

COMMAND = (sys.executable, "-m", "densebench.cli")
SCRIPT = Path(sys.executable).with_name("densebench")
Cli = Callable[..., Any]


class TestExtract:
    def extract(self, run: Cli, image: Path, out: Path, size: int = 28) -> Any:
        place = ["--image", image, "--out", out, "--size", size]
        return run("extract", "--backbone", "rgb_s14", "--device", "cpu", *place)

    def test_a_folder_and_a_file_agree(self, run: Cli, tiny_task: Path, tmp_path: Path) -> None:
        images = tiny_task.parent / "images"
        done = self.extract(run, images, tmp_path / "new" / "all.npz")
        assert done.out == f"{tmp_path}/new/all.npz: patches 6x2x2x6\n"
        self.extract(run, images / "picture03.png", tmp_path / "one.npz")
        with np.load(tmp_path / "new" / "all.npz") as every, np.load("one.npz") as one:
            assert every["patches"].shape == (6, 2, 2, 6)
            assert every["patches"].dtype == one["patches"].dtype == np.float32
            assert every["names"].tolist() == [f"picture{i:02d}.png" for i in range(6)]
            assert one["names"].tolist() == ["picture03.png"]
            np.testing.assert_array_equal(every["patches"][3:4], one["patches"])

    def test_random_weights(self, run: Cli, tiny_task: Path, write_timm_card: Path) -> None:
        image = tiny_task.parent / "images" / "picture00.png"
        found = []
        for seed in (0, 0, 1):
            place = ["--image", image, "--out", "x.npz", "--size", 32, "--random-weights", seed]
            done = run("extract", "--backbone", write_timm_card, "--device", "cpu", *place)
            with np.load("x.npz") as arrays:
                found.append(arrays["patches"])
        assert "its weights are drawn at random (seed 1)" in done.err
        np.testing.assert_array_equal(found[0], found[1])
        assert not np.array_equal(found[0], found[2])

    def test_values_are_those_of_the_pixels(self, run: Cli, tmp_path: Path) -> None:
        colour = (51, 102, 204)
        Image.new("RGB", (28, 28), colour).save(tmp_path / "flat.png")
        self.extract(run, tmp_path / "flat.png", tmp_path / "x.npz")
        with np.load("x.npz") as arrays:
            wanted = [*(value / 255 - 0.45 for value in colour), *[-0.1] * 3]
            np.testing.assert_allclose(arrays["patches"][0], np.full((2, 2, 6), wanted), atol=1e-5)

    def test_layers(self, run: Cli, tiny_task: Path, tmp_path: Path, blocks: str) -> None:
        how = ["--image", tiny_task.parent / "images", "--size", 28, "--device", "cpu"]
        command = ["extract", "--backbone", blocks, *how, "--out", tmp_path / "x.npz", "--layers"]
        assert run(*command, "0,2").out == f"{tmp_path}/x.npz: patches 6x2x2x104\n"
        assert "has the layers 0 to 2, not [3]" in run(*command, "3").error
        assert "counted from 0" in run(*command, "-1").error

    def test_errors(self, run: Cli, tiny_task: Path, tmp_path: Path) -> None:
        images, out = tiny_task.parent / "images", tmp_path / "x.npz"
        assert "28" in self.extract(run, images, out, size=30).error
        assert "no image there" in self.extract(run, tmp_path / "nowhere", out).error
        (tmp_path / "empty").mkdir()
        assert "no image there" in self.extract(run, tmp_path / "empty", out).error
        assert "not a readable image" in self.extract(run, tiny_task, out).error
        assert str(tmp_path) in self.extract(run, images, tmp_path / "empty").error
        assert not out.exists()
        assert not list(tmp_path.glob(".*.part"))
