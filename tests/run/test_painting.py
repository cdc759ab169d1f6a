"""Panels of depth: what is kept is what was predicted, on one scale, with its bar."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from densebench.cards import find_task
from densebench.datasets import load_dataset
from densebench.records.panels import contact_sheet, load_panels, panel_folder
from densebench.records.scales import ramp
from densebench.run.execute import evaluate
from densebench.run.keeper import PanelKeeper
from densebench.run.options import RunOptions
from densebench.run.painting import shrunk

LINEAR = (
    "input_size = [42, 56]\ncrop = 42\ntrain_box = 'full'\neval_box = 'full'\nsteps = 4\n"
    "warmup_steps = 1\nbatch_size = 2\n"
)
RETRIEVAL = 'input_size = 56\nn_neighbours = 2\nmemory_size = "unbounded"\n'


@pytest.fixture(scope="module")
def folder(tmp_path_factory, write_dataset, write_depth) -> Path:
    place = write_dataset(tmp_path_factory.mktemp("depth") / "data", 4, 2).parent
    write_depth(place, "depth_linear", LINEAR)
    write_depth(place, "depth_in_context", RETRIEVAL)
    return place


def run(folder, protocol, results):
    task = str(folder / f"{protocol}.toml")
    options = RunOptions("rgb_s14", task, results=results, device="cpu", cache="off")
    return panel_folder(evaluate(replace(options, panels=2))[1])


def test_truth_is_shown_in_metres_on_one_scale(folder, tmp_path):
    kept = run(folder, "depth_linear", tmp_path)
    index = load_panels(kept)
    assert len(index.panels) == 2 and index.scale.unit == "m"
    assert [tuple(colour) for colour in index.palette] == ramp()
    card = find_task(folder / "depth_linear.toml")
    val = load_dataset(card.card.dataset, card_path=card.file).val
    every = np.concatenate([val.mask(i)[val.mask(i) > 0] for i in range(2)])
    assert (index.scale.low, index.scale.high) == pytest.approx((every.min(), every.max()))
    for number, panel in enumerate(index.panels):
        places = np.asarray(Image.open(kept / panel.truth))
        shown, depth = index.scale.values(places), val.mask(number)
        assert np.array_equal(np.isnan(shown), depth == 0)
        assert np.nanmax(np.abs(shown - depth)[depth > 0]) < 0.02
        for picture in (panel.image, panel.truth, panel.prediction):
            assert Image.open(kept / picture).size == (56, 42)
        assert panel.memory is None
    assert Image.open(kept / "bar.png").width == 256


def test_the_retrieval_shows_how_far_its_memory_is(folder, tmp_path):
    kept = run(folder, "depth_in_context", tmp_path)
    memory = load_panels(kept).panels[0].memory
    assert memory.queries
    assert all(200 <= tile[4] <= 700 for tile in memory.tiles)  # centimetres


def test_a_sheet_of_them_has_a_bar(folder, tmp_path):
    kept = run(folder, "depth_linear", tmp_path)
    sheet = np.asarray(contact_sheet({"rgb_s14": kept}, 40))
    colours = {tuple(colour) for row in sheet[-40:] for colour in row.tolist()}
    assert len(colours & set(ramp())) > 60


def test_pictures_keep_their_proportions():
    assert shrunk((480, 640), 256) == (192, 256)
    assert shrunk((56, 56), 256) == (56, 56)
    assert shrunk((1000, 1), 256) == (256, 1)


def test_what_a_panel_shows_is_not_mirrored(folder, tmp_path, monkeypatch):
    """The run sees each image twice, the second time mirrored."""
    seen = {}
    keep = PanelKeeper.save

    def noted(keeper, *arguments, **more):
        seen.update(keeper._patches)
        keep(keeper, *arguments, **more)

    monkeypatch.setattr(PanelKeeper, "save", noted)
    run(folder, "depth_linear", tmp_path)
    card = find_task(folder / "depth_linear.toml")
    val = load_dataset(card.card.dataset, card_path=card.file).val
    for index, patches in seen.items():  # whose first value is the mean of red
        red = np.asarray(val.image(index)).astype(float)[..., 0].reshape(3, 14, 4, 14)
        means = red.mean(axis=(1, 3)).ravel()
        assert np.corrcoef(patches[..., 0].numpy().ravel(), means)[0, 1] > 0.99
