"""Depth of one image by a head that a run left."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from densebench.host.errors import DensebenchError
from densebench.host.watcher import Watcher
from densebench.measures.depth_scoring import DepthScoring
from densebench.run.execute import Run
from densebench.run.options import RunOptions
from densebench.run.predict_depth import predict_depth

PARAMS = (
    "input_size = [30, 50]\ncrop = [20, 40]\ntrain_box = 'full'\neval_box = 'full'\nsteps = 4\n"
    "warmup_steps = 1\nbatch_size = 2\nlr = 0.1\n"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, write_dataset, write_depth) -> Path:
    place = write_dataset(tmp_path_factory.mktemp("depth") / "data", 4, 2).parent
    write_depth(place, "depth_linear", PARAMS)
    return place


@pytest.mark.parametrize("variant", ["reference", "clean"])
def test_it_is_what_the_run_predicted(folder, tmp_path, variant):
    options = RunOptions("rgb_s14", str(folder / "depth_linear.toml"), device="cpu", cache="off")
    run = Run(replace(options, variant=variant, results=tmp_path), Watcher())
    _, path = run.record()
    head, out = path.with_suffix(".head.safetensors"), tmp_path / "out.png"
    val = run.inputs.dataset.val
    told = predict_depth("rgb_s14", head, Path(val.image_files[0]), out, device="cpu")
    prediction = next(run.protocol.predict(run._source("val", "predict")))
    truth = val.mask(0)
    wanted = DepthScoring(("original",)).depth(prediction, 0, truth, truth > 0)
    written = np.asarray(Image.open(out))
    assert written.dtype == np.uint16 and written.shape == truth.shape
    np.testing.assert_allclose(written / 1000, wanted, atol=6e-4)
    assert told["nearest"] <= told["median"] <= told["farthest"] <= 10.0
    assert told["nearest"] == pytest.approx(wanted.min(), abs=1e-5)


def test_another_backbone_is_refused(folder, tmp_path):
    options = RunOptions("rgb_s14", str(folder / "depth_linear.toml"), device="cpu", cache="off")
    _, path = Run(replace(options, results=tmp_path), Watcher()).record()
    head = path.with_suffix(".head.safetensors")
    image = next((folder / "images").iterdir())
    with pytest.raises(DensebenchError, match="was trained on the features of rgb_s14"):
        predict_depth("hog_s14", head, image, tmp_path / "out.png", device="cpu")
    assert not (tmp_path / "out.png").exists()
