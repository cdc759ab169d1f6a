"""The page put together: the template, what ``scripts`` share, every view that lies in ``views``.

A view is one file: a ``<section>``, where it has one a ``<style>``, and a ``<script>`` that calls
``view(id, ...)`` with what draws it. Its place on the page is the number in ``data-order``; nothing
else lists it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

FIRST = ("core", "address", "columns", "records", "overall", "charts", "pictures", "patches")
LAST = "start"
ORDER = re.compile(r'<section id="[^"]+" data-order="(\d+)"')
STYLE = re.compile(r"<style>\n(.*?)</style>\n", re.DOTALL)
SCRIPT = re.compile(r"<script>\n(.*?)</script>\n", re.DOTALL)


@dataclass(frozen=True)
class Page:
    """The page before its data: marks like ``@DATA@`` stand where something is still put in."""

    template: str
    style: str
    script: str


def load_page() -> Page:
    """The page with all views.

    Raises:
        ValueError: a view does not say its place.
    """
    folder = files("densebench.report") / "page"
    files_of_views = (file for file in (folder / "views").iterdir() if file.name.endswith(".html"))
    views = [file.read_text("utf-8") for file in files_of_views]
    views.sort(key=_place)
    markup = "\n".join(SCRIPT.sub("", STYLE.sub("", text)).rstrip() for text in views)
    *first, last = ((folder / "scripts" / f"{n}.js").read_text("utf-8") for n in (*FIRST, LAST))
    return Page(
        template=(folder / "page.html").read_text("utf-8").replace("@VIEWS@", markup),
        style=(folder / "page.css").read_text("utf-8") + "".join(_parts(STYLE, views)),
        script="\n".join([*first, *_parts(SCRIPT, views), last]),
    )


def _place(text: str) -> int:
    found = ORDER.search(text)
    if found is None:
        raise ValueError(f"a view without data-order in its section: {text[:60]!r}")
    return int(found[1])


def _parts(kind: re.Pattern[str], views: Sequence[str]) -> list[str]:
    return [part for text in views for part in kind.findall(text)]
