"""The views of the page, as a reader sees them."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from densebench.run.execute import evaluate
from densebench.run.options import RunOptions

Reader = Any  # who reads the page; see conftest.py
VIEW = "tiny_retrieval, reference"


@pytest.fixture
def errors(
    read: Callable[[Path], Reader], write_page: Callable[..., Path], mixed: Path, own_places: Path
) -> Reader:
    """A reader of a board of two metrics."""
    return read(write_page(mixed, mixed.parent / "mixed.html"))


class TestAnErrorInMetres:
    def test_less_is_better_in_every_view(self, errors: Reader) -> None:
        errors.open("depth, reference")
        assert errors.names() == ["flat", "sharp"]
        assert "RMSE (m)" in errors.texts("#results thead th")
        best, worst = errors.texts("#results tbody tr td:nth-child(2)")
        assert re.fullmatch(r"0\.\d{3}", best) and float(best) < float(worst)
        assert not errors.driver.find_element("id", "classes").is_displayed()
        errors.click("#sort-value")
        assert errors.names() == ["sharp", "flat"]
        errors.see("tradeoff")
        assert errors.texts("#tradeoff-title") == ["RMSE against cost"]
        assert "RMSE m (less is better)" in errors.ask(
            "return document.getElementById('tradeoff-body').textContent"
        )
        assert errors.texts("#tradeoff-about") == ["The line is the Pareto front: flat."]
        errors.see("pairs")
        ((change, told),) = zip(
            errors.texts("#pairs .big"), errors.texts("#pairs .minor"), strict=True
        )
        assert change.startswith("+0.") and told.startswith("RMSE 0.")
        assert errors.ask("return document.querySelector('#pairs .big').classList.contains('down')")

    def test_a_mean_of_errors_goes_the_other_way(self, errors: Reader) -> None:
        errors.open("All tasks, reference, RMSE")
        best = "return document.querySelector('#results td.best').closest('tr').innerText"
        assert errors.ask(best).startswith("flat")
        errors.see("tradeoff")
        assert errors.texts("#tradeoff-about") == ["The line is the Pareto front: flat."]

    def test_the_other_metric_is_as_ever(self, errors: Reader) -> None:
        errors.open("colours, reference")
        assert errors.names() == ["sharp", "flat"]
        errors.see("classes")
        assert errors.texts("#classes-title") == ["IoU of each class"]

    def test_all_tasks_of_each_metric(self, errors: Reader) -> None:
        for metric, first in (("mIoU", "sharp"), ("RMSE", "flat")):
            errors.open(f"All tasks, reference, {metric}")
            assert errors.names()[0] == first


class TestTables:
    def test_sort_by_clicks_with_what_is_missing_last(self, reader: Reader) -> None:
        reader.open()
        ranked = reader.names()
        assert ranked[:3] == ["tuned", "rgb_s14", "hog_s14"]
        reader.click("#sort-parameters")
        assert reader.names()[0] == "hog_s14"
        assert reader.ask("return document.activeElement.id") == "sort-parameters"
        order = "return document.activeElement.closest('th').getAttribute('aria-sort')"
        assert reader.ask(order) == "ascending"
        reader.click("#sort-parameters")
        assert reader.ask(order) == "descending"
        assert reader.names()[-1] == "hog_s14"
        reader.click("#sort-value")
        assert reader.names() == ranked
        assert len(reader.ask("return document.querySelectorAll('[aria-sort=none]')")) > 3

    def test_all_tasks_leave_the_mean_blank(self, reader: Reader) -> None:
        reader.open("All tasks, reference")
        assert reader.names()[0] == "rgb_s14"
        means = reader.texts("#results tbody td:nth-child(2)")
        assert means == ["60.00", "1 of 2 tasks", "1 of 2 tasks", "1 of 2 tasks"]
        for _ in range(2):
            reader.click("#sort-mean")
            assert reader.names()[0] == "rgb_s14"  # whichever way: the others have none
        assert reader.ask("return document.getElementById('classes').hidden")

    def test_the_filter_holds_everywhere(self, reader: Reader) -> None:
        reader.open()
        reader.click("#filter")
        reader.press("T", "u", "N")
        assert reader.names() == ["tuned"]
        assert reader.texts("#count") == ["1 of 4 backbones"]
        reader.see("classes")
        assert reader.texts(".heat tbody th") == ["tuned"]
        reader.see("examples")
        assert reader.texts(".model h3") == ["tuned"]
        reader.press("x")
        assert reader.texts("#results .empty") == ["No backbone of that name."]

    def test_the_task_is_chosen_and_in_the_address(self, reader: Reader) -> None:
        reader.open()
        reader.choose("task", "another, reference")
        assert reader.names() == ["rgb_s14"]
        assert reader.driver.current_url.endswith("#another%2C%20reference")

    def test_classes_are_coloured_against_the_baseline(self, reader: Reader) -> None:
        reader.open().see("classes")
        assert reader.texts("#results tr.baseline th") == ["rgb_s14"]  # it is the base of another
        row = "#classes tbody tr:first-child td"
        assert reader.texts(row) == ["90.0", "10.0", "–"]
        colours = self.colours(reader, row)
        assert len(set(colours)) == 3
        reader.choose("classes-numbers", "difference")
        assert [text[0] for text in reader.texts(row)[:2]] == ["+", "−"]
        reader.choose("baseline", "tuned")
        reader.see("classes")
        assert self.colours(reader, row) != colours
        assert reader.texts("#results tr.baseline th") == ["tuned"]

    def colours(self, reader: Reader, selector: str) -> list[str]:
        return reader.ask(
            "return [...document.querySelectorAll(arguments[0])]"
            ".map((e) => getComputedStyle(e).backgroundColor)",
            selector,
        )


class TestPlots:
    def test_the_front_is_marked_and_points_have_names(self, reader: Reader) -> None:
        reader.open().see("tradeoff")
        assert reader.texts("#tradeoff-about") == ["The line is the Pareto front: hog_s14, tuned."]
        points = "#tradeoff circle"
        told = reader.ask(
            "return [...document.querySelectorAll(arguments[0])]"
            ".map((e) => [e.tabIndex, e.getAttribute('aria-label')])",
            points,
        )
        assert [0, "tuned: mIoU 62.00, parameters 86.0 M"] in told
        assert len(reader.ask("return document.querySelectorAll('#tradeoff .point.on')")) == 2

    def test_curves_have_the_shares_as_their_axis(self, reader: Reader) -> None:
        reader.open().see("efficiency")
        labels = reader.ask(
            "return [...document.querySelectorAll('#efficiency text')].map((e) => e.textContent)"
        )
        assert {"all", "1/2", "1/8", "mIoU %"} <= set(labels)
        places = reader.ask(
            "return [...document.querySelectorAll('#efficiency circle')]"
            ".filter((e) => e.ariaLabel.startsWith('rgb')).map((e) => e.cx.baseVal.value)"
        )
        steps = np.diff(places)  # 1/8, 1/2, all: two doublings, then one
        assert steps[0] == pytest.approx(2 * steps[1], rel=1e-3)

    def test_ladders_follow_the_filter(self, reader: Reader) -> None:
        reader.open()
        rung = {"name": "r", "protocol": "knn", "variant": "clean", "told": [], "published": []}
        metric = reader.ask("return {...metric(), value: 0.5, interval: null}")
        for backbone in ("hog_s14", "rgb_s14"):
            ladder = {"ladder": "steps", "backbone": backbone, "description": "d"}
            ladder["rungs"] = [{**rung, "metric": metric}]
            reader.ask("data.ladders.push(arguments[0]); draw();", ladder)
        names = "return [...byId('ladder-name').options].map((o) => o.textContent)"
        reader.see("ladder")
        assert reader.ask(names) == ["hog_s14 on steps", "rgb_s14 on steps"]
        reader.click("#filter")
        reader.press("r", "g", "b")
        reader.see("ladder")
        assert reader.ask(names) == ["rgb_s14 on steps"]
        assert reader.ask("return document.querySelectorAll('#ladder circle').length") == 1
        reader.press("x")
        reader.see("ladder")
        assert reader.texts("#ladder .empty") == ["No ladder of a backbone of that name."]


class TestImages:
    def test_a_panel_opens_and_every_picture_has_a_text(self, reader: Reader) -> None:
        reader.open().see("examples")
        reader.click("#examples-images button:nth-child(2)")
        reader.see("examples")
        pictures = reader.ask(
            "return [...document.querySelectorAll('#examples img')]"
            ".map((e) => [e.naturalWidth, e.alt])"
        )
        assert all(width > 0 and alt for width, alt in pictures)
        assert len(pictures) == 2 + 2 + 4 * 3
        assert "picture08" in reader.texts(".source figcaption")[0]

    def test_a_clicked_patch_shows_its_neighbours(
        self, reader: Reader, page: Path, blocks: Callable[[Path], Any]
    ) -> None:
        reader.open().see("examples")
        reader.click(".pick button:nth-child(3)")
        (data,) = [t for t in blocks(page)["data"]["tables"] if t["title"] == VIEW]
        number = blocks(page)["data"]["tables"].index(data)
        example = blocks(page)[f"example-{number}-0"]
        memory = example["models"][0]["memory"]
        shown = reader.texts(".model:first-child .near li")
        for text, tile, similarity in zip(
            shown, memory["nearest"][2], memory["similarity"][2], strict=True
        ):
            label = data["classes"][memory["tiles"][tile][4]]
            assert text.split("\n") == [f"{similarity:.2f}", label]
        painted = reader.driver.execute_async_script(
            "const canvas = document.querySelector('.near canvas'); const done = arguments[0];"
            "const read = () => canvas.getContext('2d').getImageData(0, 0, 48, 48).data"
            ".some((v, i) => i % 4 === 3 && v) ? done(true) : setTimeout(read, 20); read();"
        )
        assert painted

    def test_two_backbones_stand_side_by_side_on_one_image(
        self, reader: Reader, page: Path, blocks: Callable[[Path], Any]
    ) -> None:
        reader.open().see("versus")
        reader.choose("versus-first", "rgb_s14")
        reader.choose("versus-second", "hog_s14")
        reader.see("versus")
        assert reader.texts("#told") == ["Compared: rgb_s14 and hog_s14"]
        captions = reader.texts("#versus figcaption")
        assert captions[:4] == ["picture06", "Ground truth", "rgb_s14", "hog_s14"]
        about = "mIoU % of all images: 50.00 and 30.00, +20.00."
        assert reader.texts("#versus-about")[0].endswith(about)
        shares = [float(x) for x in re.findall(r"wrong: ([\d.]+)%", captions[4])]
        assert len(shares) == 3
        data = blocks(page)
        (number,) = [i for i, t in enumerate(data["data"]["tables"]) if t["title"] == VIEW]
        rows = {row["label"]: i for i, row in enumerate(data["data"]["tables"][number]["rows"])}
        wrong = {model["row"]: model["wrong"] for model in data[f"example-{number}-0"]["models"]}
        for name, alone in (("rgb_s14", shares[0]), ("hog_s14", shares[1])):
            assert alone + shares[2] == pytest.approx(100 * wrong[rows[name]], abs=0.11)
        painted = (
            "const c = document.querySelector('#versus canvas');"
            "return new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size"
        )
        assert reader.ask(painted) > 1

    def test_pictures_have_the_shape_of_the_photograph(self, reader: Reader) -> None:
        reader.open().see("examples")
        shapes = reader.ask(
            "return [...document.querySelectorAll('#examples img')]"
            ".map((e) => e.clientWidth / e.clientHeight)"
        )
        assert len(shapes) > 10
        assert shapes == pytest.approx([40 / 30] * len(shapes), rel=0.02)

    def test_classes_have_the_colours_of_the_dataset(self, reader: Reader) -> None:
        reader.open().see("classes")
        reader.see("examples")
        legend = (
            "return [...document.querySelectorAll(arguments[0])].map((e) => e.style.background)"
        )
        colours = [reader.ask(legend, f"{place} .swatch") for place in ("#classes", ".source")]
        assert len(set(colours[0])) == 3
        assert set(colours[1]) <= set(colours[0])

    def test_before_and_after_stand_side_by_side(self, reader: Reader) -> None:
        reader.open().see("pairs")
        assert reader.texts("#pairs h3") == ["rgb_s14 → tuned"]
        assert reader.texts("#pairs .big") == ["+12.00"]
        assert reader.texts("#pairs .gains span") == ["red", "green"]
        assert len(reader.texts("#pairs figcaption")) == 4


@pytest.fixture
def depths(
    read: Callable[[Path], Reader],
    write_page: Callable[..., Path],
    write_dataset: Callable[..., Path],
    write_depth: Callable[..., Path],
    tmp_path: Path,
) -> Reader:
    """A reader of pictures of depths."""
    folder = write_dataset(tmp_path / "data", 4, 2).parent
    task = write_depth(folder, "depth_in_context", "input_size = 28\nn_neighbours = 2\n")
    for backbone in ("rgb_s14", "hog_s14"):
        place = tmp_path / "results"
        evaluate(RunOptions(backbone, str(task), results=place, panels=1, cache="off"))
    return read(write_page(tmp_path / "results", tmp_path / "depths.html"))


class TestDepths:
    def test_panels_have_a_bar_of_colours(self, depths: Reader) -> None:
        depths.open("depth_in_context, reference").see("examples")
        low, middle, high = depths.texts("#examples .scale .ends span")
        near, half, far = (float(text.removesuffix(" m")) for text in (low, middle, high))
        assert near < half < far and half == pytest.approx((near + far) / 2, abs=0.11)
        ramp = "return getComputedStyle(document.querySelector('#examples .ramp')).backgroundImage"
        assert depths.ask(ramp).count("rgb(") == 255
        assert all(re.fullmatch(r"RMSE about \d\.\d\d m", t) for t in depths.texts(".model .minor"))
        assert all(t.endswith(" m") for t in depths.texts(".near span"))
        depths.see("versus")
        words = depths.texts("#versus")[0]
        assert words.count("farther off") == 2 and "NaN" not in words
