"""The page as a whole: by keyboard alone, its looks, its safety, its speed."""

import threading
import urllib.request
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

Reader = Any  # who reads the page; see conftest.py
VIEW = "tiny_retrieval, reference"
LOADED_SECONDS = 1.0  # of the page's thread, which others on the machine do not lengthen
READABLE = 4.5  # the contrast that WCAG AA asks of text


class TestKeyboard:
    def test_everything_can_be_done_without_a_mouse(self, reader: Reader) -> None:
        reader.open()
        reader.press("TAB")
        assert reader.texts(":focus") == ["Skip to the results"]
        reader.press("ENTER")
        assert reader.ask("return document.activeElement.id") == "results"
        assert reader.texts("#results-title") == [VIEW]
        reader.open()
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
        assert reader.ask("return document.activeElement.title") == "picture08"
        reader.reach(".pick button")
        before = reader.texts(".near")
        reader.press("HOME", "ARROW_UP", "ARROW_RIGHT", "ARROW_UP")
        chosen = reader.ask("return document.activeElement.ariaLabel")
        assert chosen == "patch in row 1, column 2 of 2"
        assert reader.texts(".near") != before
        reader.press("TAB")
        assert not reader.ask("return document.activeElement.matches('.pick button')")
        reader.reach("#versus-second")
        second = "return document.getElementById('versus-second').value"
        before = reader.ask(second)
        reader.press("ARROW_UP")
        assert reader.ask(second) != before

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

    @pytest.mark.parametrize("width", [360, 900, 1600])
    def test_tables_scroll_and_not_the_page(self, reader: Reader, width: int) -> None:
        for view in (VIEW, "All tasks, reference"):
            reader.open(view, width=width).see("results")
            if view == VIEW:
                reader.see("versus")
            page = "const page = document.documentElement; "
            assert reader.ask(page + "return page.scrollWidth - page.clientWidth") == 0
            assert reader.ask(self.OVERLAPS) == []

    # What stands side by side: fields of bars, headings, pictures with their captions.
    OVERLAPS = """
        const boxes = (group) => [...group.children].filter((e) => e.offsetParent)
          .map((e) => [e, e.getBoundingClientRect()]).filter(([, b]) => b.width && b.height);
        const met = [];
        const side = "#controls, .bar, .top, #results thead tr, .versus, .model, .source, figure, "
          + ".near, main";
        for (const group of document.querySelectorAll(side)) {
          const all = boxes(group);
          all.forEach(([one, a], i) => all.slice(i + 1).forEach(([other, b]) => {
            if (getComputedStyle(one).position === "sticky" && one.tagName === "TH") return;
            if (a.right > b.left + 1 && b.right > a.left + 1 && a.bottom > b.top + 1
                && b.bottom > a.top + 1) met.push([one.outerHTML.slice(0, 80), other.id]);
          }));
        }
        return met;
    """

    def test_it_is_whole_when_photographed_or_printed(self, reader: Reader) -> None:
        reader.open()
        drawn = (
            "const done = arguments[0]; const wait = () => pending.size ? setTimeout(wait, 20)"
            " : done(VIEWS.map((v) => byId(v.id)).filter((e) => !e.hidden && e.clientHeight < 60)"
            ".map((e) => e.id)); wait();"
        )
        assert reader.driver.execute_async_script(drawn) == []  # nobody has scrolled
        place = "return getComputedStyle(document.getElementById('controls')).position"
        assert reader.ask(place) == "static"
        over = (
            "window.scrollTo(0, 1e6); return [...document.querySelectorAll('main *, form *')]"
            ".filter((e) => ['fixed', 'sticky'].includes(getComputedStyle(e).position))"
            ".map((e) => e.className || e.tagName)"
        )
        assert set(reader.ask(over)) <= {"source", "TH", "text"}
        reader.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
        assert set(reader.ask(over)) == set()
        hidden = "return getComputedStyle(document.getElementById('controls')).display"
        assert reader.ask(hidden) == "none"
        reader.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


class TestSafety:
    def test_a_hostile_name_is_only_a_name(
        self, reader: Reader, hostile: str, blocks: Callable[[Path], Any]
    ) -> None:
        reader.open().see("examples")
        assert reader.names()[-1] == hostile
        reader.see("pairs")
        assert reader.driver.title == "densebench leaderboard"
        assert reader.ask("return document.scripts.length") == 2 + len(blocks(reader.file)) - 1

    def test_the_policy_stops_every_request(self, reader: Reader) -> None:
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
            person = reader.open()
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
    browser: Any,
    read: Callable[[Path], Reader],
    write_page: Callable[..., Path],
    crowd: Path,
    tmp_path: Path,
) -> None:
    person = read(write_page(crowd, tmp_path / "page.html"))
    browser.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
    for view in ("All tasks, reference", "task_07, reference"):
        person.open(view)
        assert len(person.names()) == 50
        assert 0.01 < person.worked() < LOADED_SECONDS
    person.see("classes")
    assert person.ask("return document.querySelectorAll('.heat td').length") == 50 * 27
    person.see("examples")
    assert len(person.texts(".model")) == 50
