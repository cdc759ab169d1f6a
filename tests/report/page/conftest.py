"""Somebody who reads the page in a browser."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from densebench.report.board.board import load_board
from densebench.report.outputs import write_formats

BLOCK = re.compile(r'<script type="application/json" id="([^"]+)">(.*?)</script>', re.DOTALL)
VIEW = "tiny_retrieval, reference"


def write(results: Path, page: Path, partial: bool = False) -> Path:
    write_formats(load_board(results, partial), {"html": page})
    return page


def blocks_of(page: Path) -> dict[str, Any]:
    return {name: json.loads(text) for name, text in BLOCK.findall(page.read_text("utf-8"))}


@pytest.fixture(scope="session")
def write_page() -> Callable[..., Path]:
    """Writes the page of a folder of records."""
    return write


@pytest.fixture(scope="session")
def blocks() -> Callable[[Path], dict[str, Any]]:
    """The blocks of data of a page."""
    return blocks_of


@pytest.fixture(scope="session")
def page(board: Path) -> Path:
    return write(board, board.parent / "read.html")


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
def read(browser: Any) -> Iterator[Callable[[Path], Reader]]:
    """Gives a reader of a page, who at the end has met no error and no request."""
    people: list[Reader] = []

    def give(file: Path) -> Reader:
        people.append(Reader(browser, file))
        people[-1].problems()
        return people[-1]

    yield give
    assert [problem for person in people for problem in person.problems()] == []


@pytest.fixture
def reader(read: Callable[[Path], Reader], page: Path) -> Reader:
    """A reader of the board's page."""
    return read(page)
