"""The site: links and anchors of every page, a menu with all of them, nothing from elsewhere."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

import densebench

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
OF_THE_ROOT = ("README", "SECURITY", "CONTRIBUTING", "CHANGELOG")
PAGES = [
    *(ROOT / f"{name}.md" for name in OF_THE_ROOT if (ROOT / f"{name}.md").is_file()),
    *sorted(DOCS.rglob("*.md")),
    *sorted((DOCS / "notebooks").glob("*.ipynb")),
]
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
OUTSIDE = ("http://", "https://", "mailto:")
SECONDS = 300

needs_mkdocs = pytest.mark.skipif(
    find_spec("mkdocs") is None, reason="the site needs the extra `docs`"
)


def text_of(page: Path) -> str:
    """A page without its blocks of code; of a notebook the text."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        sources = ("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
        text = "\n\n".join(sources)
    return FENCE.sub("", text)


def anchors(page: Path) -> set[str]:
    """Of a page's headings, as the site and the usual viewers of markdown name them."""
    found = re.findall(r"^#+ (.+)$", text_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_and_anchors_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(text_of(page)):
        if link.startswith(OUTSIDE):
            continue
        target, _, anchor = link.partition("#")
        file = page.parent / target if target else page
        assert file.exists(), link
        assert not anchor or anchor in anchors(file), link


def test_every_public_name_is_on_the_page_of_the_api() -> None:
    page = (DOCS / "api.md").read_text(encoding="utf-8")
    told = set(re.findall(r"heading: densebench\.(\w+)", page))
    assert told == set(densebench.__all__) - {"__version__"}


@pytest.fixture
def hooks() -> ModuleType:
    spec = spec_from_file_location("site_hooks", DOCS / "site_hooks.py")
    assert spec and spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@needs_mkdocs
def test_links_of_the_repository_become_those_of_the_site(hooks: ModuleType) -> None:
    text = (
        "[a](../benchmarks/results/coverage.md#images) [b](../SECURITY.md) [c](start.md) "
        "[d](../pyproject.toml) [e](https://example.org/x.md) [f](../leaderboard/README.md)\n"
        "```\n[g](../SECURITY.md)\n```\n"
    )
    expected = (
        "[a](figures/coverage.md#images) [b](security.md) [c](start.md) "
        "d [e](https://example.org/x.md) [f](board.html)\n"
        "```\n[g](../SECURITY.md)\n```\n"
    )
    assert hooks.relinked(text, "docs/statistics.md", "statistics.md") == expected
    deeper = hooks.relinked("[a](../../SECURITY.md)", "docs/protocols/knn.md", "protocols/knn.md")
    assert deeper == "[a](../security.md)"


class Fetched(HTMLParser):
    """What a browser fetches of a page by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag in ("script", "img", "iframe", "source"):
            self.addresses.append(values.get("src") or "")
        if tag == "link" and values.get("rel") not in ("canonical", "prev", "next"):
            self.addresses.append(values.get("href") or "")


@needs_mkdocs
@pytest.mark.slow
def test_it_builds_strictly_and_needs_no_network(tmp_path: Path) -> None:
    """``strict`` makes an error of a page that is not in the menu, and of a link without an end."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=SECONDS
    )
    assert done.returncode == 0, done.stderr
    pages = sorted(tmp_path.rglob("*.html"))
    assert {"index.html", "api.html", "board.html"} <= {page.name for page in pages}
    for page in pages:
        fetched = Fetched()
        fetched.feed(page.read_text(encoding="utf-8"))
        assert not [address for address in fetched.addresses if address.startswith("http")], page
    style = "".join(file.read_text() for file in (tmp_path / "assets").rglob("*.css"))
    assert "url(http" not in style
