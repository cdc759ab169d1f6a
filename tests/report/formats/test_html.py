"""The page: what is in the file, and what a reader sees and does in a browser."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from densebench.host.errors import DensebenchError
from densebench.records.panels import INDEX, load_panels
from densebench.records.schema import RunRecord
from densebench.report.board.board import load_board
from densebench.report.formats import pictures
from densebench.report.formats.html import _block
from densebench.report.outputs import write_formats

BLOCK = re.compile(r'<script type="application/json" id="([^"]+)">(.*?)</script>', re.DOTALL)
VIEW = "tiny_retrieval, reference"
LOADED_SECONDS = 1.0  # of the page's thread, which others on the machine do not lengthen
READABLE = 4.5  # the contrast that WCAG AA asks of text


def write(results: Path, page: Path, images: bool = True) -> None:
    write_formats(load_board(results), {"html": page}, images)


def blocks(page: Path) -> dict[str, Any]:
    return {name: json.loads(text) for name, text in BLOCK.findall(page.read_text("utf-8"))}


@pytest.fixture(scope="session")
def page(board: Path) -> Path:
    file = board.parent / "page.html"
    write(board, file)
    return file


class TestFile:
    def test_it_names_no_address_to_load_from(self, page: Path) -> None:
        text = page.read_text("utf-8")
        assert not re.search(r"""(src|srcset|data|poster)\s*=\s*["']?(?!data:)\w+:?//""", text)
        assert not re.search(r"@import|url\(\s*[\"']?(?!data:)", text)
        links = re.findall(r"<link[^>]*>", text)
        assert links == ['<link rel="icon" href="data:,">']
        assert "http://www.w3.org/2000/svg" in text  # the only address, which nothing loads
        assert len(re.findall(r"https?://", text)) == 1

    def test_the_policy_allows_its_own_script_and_style_alone(self, page: Path) -> None:
        text = page.read_text("utf-8")
        (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', text)
        assert policy.startswith("default-src 'none'; img-src data:; ")
        for tag in ("script", "style"):
            (inline,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
            digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
            assert f"{tag}-src 'sha256-{digest}'" in policy

    def test_numbers_and_links_are_those_of_the_records(self, page: Path, board: Path) -> None:
        data = blocks(page)["data"]
        (table,) = [table for table in data["tables"] if table["title"] == VIEW]
        rows = {row["label"]: row for row in table["rows"]}
        assert list(rows)[:3] == ["tuned", "rgb_s14", "hog_s14"]
        assert (rows["tuned"]["value"], rows["tuned"]["low"]) == (0.62, 0.60)
        assert rows["tuned"]["classes"] == [0.9, 0.1, None]
        base = rows["tuned"]["base"]
        assert base == {"row": 1, "difference": pytest.approx(0.12)}
        record = json.loads((page.parent / rows["tuned"]["record"]).read_text())
        assert record["backbone"]["name"] == "tuned"

    def test_curves_go_over_the_shares_of_one_protocol(self, page: Path) -> None:
        tables = blocks(page)["data"]["tables"]
        (table,) = [table for table in tables if table["title"] == VIEW]
        found = blocks(page)["data"]["curves"][table["curves"]]
        curves = {curve["label"]: curve["points"] for curve in found}
        assert [point[:2] for point in curves["rgb_s14"]] == [[8, 0.3], [2, 0.4], [1, 0.5]]
        assert len(curves["hog_s14"]) == 1
        (other,) = [t for t in tables if t["title"].startswith("another")]
        assert other["curves"] is None

    def test_without_images_nothing_of_them_is_left(self, board: Path, tmp_path: Path) -> None:
        file = tmp_path / "page.html"
        write(board, file, images=False)
        text = file.read_text("utf-8")
        assert "data:image" not in text
        assert list(blocks(file)) == ["data"]
        assert "picture06" not in text

    def test_it_says_whose_images_it_shows(self, page: Path) -> None:
        assert blocks(page)["data"]["shown"] == ["another", "tiny_retrieval"]

    def test_pictures_stay_within_the_budget(
        self, board: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file, counts = tmp_path / "page.html", []
        for budget in (10**9, 60_000, 20_000, 10):
            monkeypatch.setattr(pictures, "BUDGET", budget)
            write(board, file)
            found = [v for name, v in blocks(file).items() if name != "data"]
            assert sum(len(json.dumps(example)) for example in found) <= budget
            near = sum(m.get("memory") is not None for e in found for m in e["models"])
            counts.append((len(found), near))
            assert all(e["trimmed"] == ("memory" not in e["models"][0]) for e in found)
        assert counts == sorted(counts, reverse=True)
        assert len(set(counts)) >= 3
        assert counts[-1] == (0, 0)

    def test_a_broken_panel_is_named_and_the_page_left(
        self, kept_runs: dict[str, tuple[RunRecord, Path]], put: Callable[..., Path], tmp_path: Path
    ) -> None:
        path = put(tmp_path / "results", kept_runs["rgb_s14"][1], 0.5)
        file, folder = tmp_path / "page.html", path.with_suffix(".panels")
        folder.unlink()  # a link to the run's own
        shutil.copytree(kept_runs["rgb_s14"][1].with_suffix(".panels"), folder)
        write(tmp_path / "results", file)
        before = file.read_bytes()
        index = load_panels(folder)
        assert index is not None
        for name, content in ((index.panels[0].truth, "<svg/>"), (INDEX, "{}")):
            (folder / name).write_text(content)
            with pytest.raises(DensebenchError, match=re.escape(name)):
                write(tmp_path / "results", file)
        assert file.read_bytes() == before

    def test_numbers_that_json_has_not_are_none(self) -> None:
        values = {"a": [float("nan"), (1.0, float("-inf"))], "b": {"c": float("inf"), "d": True}}
        ((_, text),) = BLOCK.findall(_block("data", values))
        assert json.loads(text) == {"a": [None, [1.0, None]], "b": {"c": None, "d": True}}

    def test_a_thousand_classes(
        self, keep: Callable[..., Path], results: Path, own_places: Path
    ) -> None:
        iou = {f"class {number}": number / 1000 for number in range(1000)}
        keep(0.5, dataset={"classes": tuple(iou)}, score={"iou": iou})
        file = results.parent / "all.html"
        formats = {"markdown": "a.md", "csv": "a.csv", "latex": "a.tex", "html": "all.html"}
        files = {name: results.parent / to for name, to in formats.items()}
        write_formats(load_board(results), files)
        ((row,),) = (table["rows"] for table in blocks(file)["data"]["tables"])
        assert row["classes"] == list(iou.values())

    def test_no_record(self, tmp_path: Path) -> None:
        (tmp_path / "results").mkdir()
        write(tmp_path / "results", tmp_path / "page.html")
        assert blocks(tmp_path / "page.html")["data"]["tables"] == []


@settings(max_examples=50)
@given(st.text(), st.text())
def test_no_text_ends_its_block(text: str, key: str) -> None:
    block = _block("data", {key: [text, "</script><!--"]})
    ((_, content),) = BLOCK.findall(block)
    assert json.loads(content) == {key: [text, "</script><!--"]}
    assert not set("<>&\u2028\u2029") & set(content)


class TestCommand:
    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "densebench", "leaderboard", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def test_it_writes_the_page(self, board: Path, tmp_path: Path) -> None:
        done = self.run("--results", board, "--html", tmp_path / "p.html", "--no-images")
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"4 tables in {tmp_path / 'p.html'}\n"
        assert "data:image" not in (tmp_path / "p.html").read_text("utf-8")
        assert not (board.parent / "README.md").exists()

    def test_no_images_without_a_page_is_refused(self, board: Path) -> None:
        done = self.run("--results", board, "--no-images")
        assert done.returncode == 2
        assert done.stderr.startswith("error: --no-images is about the page")


# ---- in a browser


class Reader:
    """Somebody with the page open; every check of the console and the network is theirs."""

    def __init__(self, driver: Any, file: Path) -> None:
        self.driver, self.file = driver, file

    def open(self, view: str = VIEW, width: int = 1280, dark: bool = False) -> "Reader":
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.driver.get("about:blank")
        self.driver.get(f"file://{self.file}#{view}")
        return self

    def ask(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def click(self, selector: str) -> None:
        self.driver.find_element("css selector", selector).click()

    def choose(self, field: str, text: str) -> None:
        from selenium.webdriver.support.select import Select

        Select(self.driver.find_element("id", field)).select_by_visible_text(text)

    def press(self, *keys: str) -> None:
        from selenium.webdriver.common.keys import Keys

        for key in keys:
            typed = getattr(Keys, key) if len(key) > 1 else key
            self.driver.switch_to.active_element.send_keys(typed)

    def reach(self, selector: str) -> None:
        """Tab on until the focus is on such an element."""
        for _ in range(80):
            self.press("TAB")
            if self.ask("return document.activeElement.matches(arguments[0])", selector):
                return
        raise AssertionError(f"Tab does not reach {selector}")

    def see(self, section: str) -> None:
        """Scroll to a part, and wait until it is drawn."""
        self.driver.execute_async_script(
            "const done = arguments[1]; const part = document.getElementById(arguments[0]);"
            "part.scrollIntoView(); const wait = () => pending.has(part) ? setTimeout(wait, 10)"
            " : Promise.all([...part.querySelectorAll('img')].map((i) => i.decode()))"
            ".then(() => requestAnimationFrame(() => done())); wait();",
            section,
        )

    def texts(self, selector: str) -> list[str]:
        return self.ask(
            "return [...document.querySelectorAll(arguments[0])].map((e) => e.innerText)", selector
        )

    def names(self) -> list[str]:
        return [text.split("\n")[0] for text in self.texts("#results tbody th")]

    def worked(self) -> float:
        """Seconds that the page's thread has computed since it was opened."""
        found = self.driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
        return next(m["value"] for m in found if m["name"] == "TaskDuration")

    def problems(self) -> list[str]:
        """What the console says, and every request that left the page."""
        told = [entry["message"] for entry in self.driver.get_log("browser")]
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                url = message["params"]["request"]["url"]
                if url.partition("#")[0] != f"file://{self.file}" and not url.startswith("data:"):
                    told.append(url)
        return told


@pytest.fixture
def reader(browser: Any, page: Path) -> Iterator[Reader]:
    """A reader of the board's page, who at the end has met no error and no request."""
    person = Reader(browser, page)
    person.problems()
    yield person
    assert person.problems() == []


@pytest.fixture
def errors(browser: Any, mixed: Path, own_places: Path) -> Iterator[Reader]:
    """A reader of a board of two metrics."""
    file = mixed.parent / "mixed.html"
    write(mixed, file)
    person = Reader(browser, file)
    person.problems()
    yield person
    assert person.problems() == []


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
        assert means == ["60.00", "", "", ""]
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
        assert "picture07" in reader.texts(".source figcaption")[0]

    def test_a_clicked_patch_shows_its_neighbours(self, reader: Reader, page: Path) -> None:
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

    def test_before_and_after_stand_side_by_side(self, reader: Reader) -> None:
        reader.open().see("pairs")
        assert reader.texts("#pairs h3") == ["rgb_s14 → tuned"]
        assert reader.texts("#pairs .big") == ["+12.00"]
        assert reader.texts("#pairs .gains span") == ["red", "green"]
        assert len(reader.texts("#pairs figcaption")) == 4


class TestKeyboard:
    def test_everything_can_be_done_without_a_mouse(self, reader: Reader) -> None:
        reader.open()
        reader.press("TAB")
        assert reader.texts(":focus") == ["Skip to the results"]
        reader.reach("#theme")
        reader.press("ENTER")
        assert reader.texts("#theme") == ["Theme: light"]
        reader.reach("#filter")
        reader.press("r", "g", "b")
        reader.reach("#sort-other-pixel_accuracy")
        outline = reader.ask("return getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid"
        reader.press("SPACE")
        assert reader.ask("return document.activeElement.closest('th').ariaSort") == "descending"
        reader.see("examples")
        reader.reach("#examples-images button + button")
        reader.press("ENTER")
        assert reader.ask("return document.activeElement.title") == "picture07"
        reader.reach(".pick button")
        before = reader.texts(".near")
        reader.press("HOME", "ARROW_UP", "ARROW_RIGHT", "ARROW_UP")
        chosen = reader.ask("return document.activeElement.ariaLabel")
        assert chosen == "patch in row 1, column 2 of 2"
        assert reader.texts(".near") != before
        reader.press("TAB")
        assert not reader.ask("return document.activeElement.matches('.pick button')")

    def test_headings_landmarks_and_names(self, reader: Reader) -> None:
        reader.open().see("pairs")
        assert reader.ask("return document.querySelectorAll('h1').length") == 1
        assert reader.ask("return document.documentElement.lang") == "en"
        for landmark in ("header", "main", "footer", "form[role=search]"):
            assert (
                reader.ask("return document.querySelectorAll(arguments[0]).length", landmark) == 1
            )
        nameless = reader.ask(
            "return [...document.querySelectorAll('select, input, button')].filter((e) =>"
            "!(e.labels?.length || e.ariaLabel || e.textContent.trim() || e.querySelector('img')))"
            ".length"
        )
        assert nameless == 0
        assert reader.ask(
            "return [...document.querySelectorAll('section:not([hidden])')].every((s) =>"
            "document.getElementById(s.getAttribute('aria-labelledby')).textContent)"
        )


class TestLooks:
    def contrasts(self, reader: Reader) -> dict[str, float]:
        """The contrast of text to what is under it, of the least readable of each kind."""
        return reader.ask(
            """
            const canvas = document.createElement("canvas");
            const paint = canvas.getContext("2d", { willReadFrequently: true });
            const rgb = (colour, under) => {
              paint.fillStyle = under; paint.fillRect(0, 0, 1, 1);
              paint.fillStyle = colour; paint.fillRect(0, 0, 1, 1);
              return [...paint.getImageData(0, 0, 1, 1).data].slice(0, 3);
            };
            const light = (c) => {
              const [r, g, b] = c.map((v) => v / 255)
                .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
              return 0.2126 * r + 0.7152 * g + 0.0722 * b;
            };
            const page = getComputedStyle(document.documentElement).backgroundColor;
            const worst = {};
            for (const kind of ["h1", ".about", ".minor", ".up", ".down", ".heat td", "figcaption",
                                "label", "#results td", "th button", ".near span", "#count"]) {
              for (const e of document.querySelectorAll(kind)) {
                const style = getComputedStyle(e);
                const pair = [rgb(style.color, page), rgb(style.backgroundColor, page)];
                const [a, b] = pair.map(light);
                const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
                worst[kind] = Math.min(worst[kind] ?? 21, contrast);
              }
            }
            return worst;
            """
        )

    @pytest.mark.parametrize("dark", [False, True])
    def test_text_is_readable_in_both_themes(self, reader: Reader, dark: bool) -> None:
        reader.open(dark=dark).see("classes")
        reader.see("examples")
        found = self.contrasts(reader)
        assert len(found) == 12
        assert not {kind: value for kind, value in found.items() if value < READABLE}

    def test_the_theme_follows_the_system_until_one_is_chosen(self, reader: Reader) -> None:
        colour = "return getComputedStyle(document.documentElement).backgroundColor"
        reader.open()
        reader.ask("localStorage.clear()")
        light = reader.open().ask(colour)
        dark = reader.open(dark=True).ask(colour)
        assert (light, dark) == ("rgb(255, 255, 255)", "rgb(18, 20, 23)")
        seen = []
        for _ in range(3):
            reader.click("#theme")
            seen.append((reader.texts("#theme")[0], reader.ask(colour)))
        assert seen == [("Theme: light", light), ("Theme: dark", dark), ("Theme: auto", dark)]
        reader.click("#theme")
        assert reader.open(dark=True).ask(colour) == light  # remembered
        reader.ask("localStorage.clear()")

    def test_a_phone_scrolls_tables_and_not_the_page(self, reader: Reader) -> None:
        for view in (VIEW, "All tasks, reference"):
            reader.open(view, width=390).see("results")
            assert reader.ask("return document.documentElement.scrollWidth") == 390


class TestSafety:
    def test_a_hostile_name_is_only_a_name(self, reader: Reader, hostile: str) -> None:
        reader.open().see("examples")
        assert reader.names()[-1] == hostile
        reader.see("pairs")
        assert reader.driver.title == "densebench leaderboard"
        assert reader.ask("return document.scripts.length") == 2 + len(blocks(reader.file)) - 1

    def test_the_policy_stops_every_request(self, browser: Any, page: Path) -> None:
        asked: list[str] = []

        class Ears(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        with HTTPServer(("127.0.0.1", 0), Ears) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            address = f"http://127.0.0.1:{server.server_port}"
            person = Reader(browser, page).open()
            stopped = person.driver.execute_async_script(
                "const done = arguments[1]; const stopped = [];"
                "document.addEventListener('securitypolicyviolation', (e) => {"
                "  stopped.push(e.effectiveDirective); if (stopped.length === 3) done(stopped); });"
                "fetch(arguments[0] + '/fetch').catch(() => {});"
                "new Image().src = arguments[0] + '/image';"
                "const script = document.createElement('script');"
                "script.src = arguments[0] + '/script'; document.body.append(script);",
                address,
            )
            urllib.request.urlopen(f"{address}/control").close()
            server.shutdown()
        assert sorted(stopped) == ["connect-src", "img-src", "script-src-elem"]
        assert asked == ["/control"]
        person.problems()  # these were wanted


def test_fifty_backbones_on_twelve_tasks_are_there_at_once(
    browser: Any, crowd: Path, tmp_path: Path
) -> None:
    file = tmp_path / "page.html"
    write(crowd, file)
    person = Reader(browser, file)
    person.problems()
    browser.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
    for view in ("All tasks, reference", "task_07, reference"):
        person.open(view)
        assert len(person.names()) == 50
        assert 0.01 < person.worked() < LOADED_SECONDS
    person.see("classes")
    assert person.ask("return document.querySelectorAll('.heat td').length") == 50 * 27
    person.see("examples")
    assert len(person.texts(".model")) == 50
    assert person.problems() == []
