"""What the site shows beside the pages of this folder: notebooks, figures, the board, and more.

A link that is right in the repository is right in the site: those to a file that is a page there
lead to that page, those to any other file of the repository become plain text.
"""

import json
import os
import re
import tempfile
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import densebench

ROOT = Path(__file__).parents[1]
AT_THE_ROOT = {
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
}
BOARD, BOARD_PAGE = "leaderboard/README.md", "board.html"
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")
FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)


def sources() -> dict[str, str]:
    """The place in the site of each file of the repository that is shown, by its own place."""
    places = {name: page for name, page in AT_THE_ROOT.items() if (ROOT / name).is_file()}
    places |= {f"benchmarks/results/{file.name}": f"figures/{file.name}" for file in figures()}
    places |= {f"docs/{name}": name.replace(".ipynb", ".md") for name in notebooks()}
    pages = (file.relative_to(ROOT / "docs") for file in (ROOT / "docs").rglob("*"))
    return (
        {BOARD: BOARD_PAGE}
        | {f"docs/{page.as_posix()}": page.as_posix() for page in pages}
        | places
    )


def figures() -> list[Path]:
    """What the benchmarks wrote."""
    return sorted((ROOT / "benchmarks" / "results").glob("*.md"))


def notebooks() -> list[str]:
    """The notebooks, from the folder of the pages on."""
    found = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
    return [f"notebooks/{file.name}" for file in found]


def as_markdown(notebook: Path) -> str:
    """A notebook as a page: its text, its code, and the text that a cell left."""
    parts = []
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        shown = [output.get("text") or output["data"]["text/plain"] for output in cell["outputs"]]
        if shown:
            text = "".join("".join(part) for part in shown).rstrip("\n")
            parts.append(f"```text\n{text}\n```")
    return "\n\n".join(parts) + "\n"


def board() -> str:
    """The page of the committed records, without images."""
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / BOARD_PAGE
        densebench.leaderboard(ROOT / "leaderboard" / "results", html=page)
        return page.read_text(encoding="utf-8")


def relinked(text: str, source: str, place: str) -> str:
    """The text of a page with the links of the repository as those of the site.

    Args:
        text: Of the page.
        source: The page's place in the repository.
        place: Its place in the site.
    """
    known = sources()

    def link(found: re.Match[str]) -> str:
        image, words, target, anchor = found[1], found[2], found[3], found[4] or ""
        if re.match(r"\w+:", target):
            return found[0]
        wanted = os.path.normpath(PurePosixPath(source).parent / target)
        if wanted not in known:
            return words
        there = os.path.relpath(known[wanted], PurePosixPath(place).parent)
        return f"{image}[{words}]({PurePosixPath(there)}{anchor})"

    parts = FENCE.split(text)
    return "".join(part if i % 2 else LINK.sub(link, part) for i, part in enumerate(parts))


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what lies elsewhere."""
    for source, place in sources().items():
        if source == BOARD:
            files.append(File.generated(config, place, content=board()))
        elif source.endswith(".ipynb"):
            files.append(File.generated(config, place, content=as_markdown(ROOT / source)))
        elif not source.startswith("docs/"):
            text = (ROOT / source).read_text(encoding="utf-8")
            files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Mend the links of each page."""
    place = page.file.src_uri
    source = next(source for source, target in sources().items() if target == place)
    return relinked(markdown, source, place)
