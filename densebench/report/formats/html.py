"""The leaderboard as one self-contained page for people.

Template, style, script and views are files in ``page``; the numbers are a block of JSON,
and the panels of each image a block of its own, which the script reads when it is looked at. The
page's policy allows no other script than its own, and nothing from any network.
"""

import base64
import hashlib
import html
import json
import math
from pathlib import Path
from typing import Any

from densebench import __version__
from densebench.report.board.board import Board
from densebench.report.board.columns import class_title, described
from densebench.report.board.ranking import SHARPER, STATEMENT
from densebench.report.formats.page_data import board_data
from densebench.report.formats.pictures import Examples, embedded
from densebench.report.page.parts import load_page

GENERATED = '<meta name="generator" content="densebench '
POLICY = (
    "default-src 'none'; img-src data:; style-src '{style}'; script-src '{script}'; "
    "base-uri 'none'; form-action 'none'"
)
# Inside <script>, `</script` or `<!--` would end or change the block; these escapes are JSON too.
ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def html_page(board: Board, folder: Path, images: bool = True) -> str:
    """The page of a board.

    Args:
        board: What it shows.
        folder: Where it is to lie; the names of records start from there.
        images: Embed panels, which show images of the datasets.

    Raises:
        DensebenchError: an index of panels, a picture or a record cannot be read.
    """
    examples = embedded(board.tables if images else [])
    examples += [Examples([], 0)] * (len(board.tables) - len(examples))
    page = load_page()
    blocks = [_block("data", board_data(board, folder, examples))]
    blocks += [
        _block(f"example-{table}-{number}", example)
        for table, found in enumerate(examples)
        for number, example in enumerate(found.shown)
    ]
    text = page.template.replace("@VERSION@", __version__)
    policy = POLICY.format(style=_digest(page.style), script=_digest(page.script))
    text = text.replace("@POLICY@", policy).replace("@NUMBERS@", html.escape(_numbers(board)))
    text = text.replace("@TESTS@", html.escape(f"{STATEMENT} {SHARPER}".replace("`", "")))
    text = text.replace("@STYLE@", page.style).replace("@SCRIPT@", page.script)
    return text.replace("@DATA@", "\n".join(blocks))  # last: names in it may look like a mark


def _numbers(board: Board) -> str:
    """What the numbers are, and in which order."""
    if not board.tables:
        return ""
    with_classes = (t.metric for t in board.tables if t.record.score.classes)
    of_classes = {m.name: m.model_copy(update={"title": class_title(m)}) for m in with_classes}
    mains = [part for m in board.mains for part in (m, of_classes.get(m.name)) if part]
    titles = " or ".join(metric.title for metric in board.mains)
    return (
        f"{described([*mains, *board.metrics[len(board.mains) :]])}; every {titles} opens its "
        f"record, which is in this page; rows are in the order of {titles} until a heading sorts "
        "them."
    )


def _block(name: str, value: Any) -> str:
    """A block of data that no name in it can end."""
    text = json.dumps(_finite(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character, escape in ESCAPES.items():
        text = text.replace(character, escape)
    return f'<script type="application/json" id="{name}">{text}</script>'


def _finite(value: Any) -> Any:
    """The value with nothing where JSON has no number for it."""
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _digest(text: str) -> str:
    """The source by which a policy names an inline script or style."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
