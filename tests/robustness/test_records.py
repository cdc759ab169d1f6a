"""Records that were edited, and what is made of records that say strange things."""

import csv
import json
import os
import shutil
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

BOARD = "leaderboard --results results --out out.md --html out.html --csv out.csv"
AGAIN = "run --backbone rgb_s14 --task data/retrieval.toml --results results"
COMPARE = "compare rgb_s14 rgb_s14 --task tiny_retrieval --results results"
EDITS = 45  # evenly spread over all that a record says


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict | list):
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in inner:
            yield from leaves(item, (*path, key))
    else:
        yield path


def edited(value: Any) -> Any:
    """Another value of the same kind, which nothing but a comparison could tell from the first."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + (1 if isinstance(value, int) else 0.01)
    return f"{value}x" if isinstance(value, str) else "x"


def record_of(place: Path) -> Path:
    (record,) = (place / "results").glob("rgb_s14/*/*.json")
    return record


@pytest.mark.parametrize("command", [BOARD, COMPARE], ids=["board", "compare"])
@pytest.mark.parametrize("how", ["edited", "nan"])
@pytest.mark.parametrize("number", range(EDITS))
def test_an_edited_record(
    attempt: Callable, place: Path, number: int, how: str, command: str
) -> None:
    """No row: the file is named."""
    file = record_of(place)
    record = json.loads(file.read_text())
    paths = list(leaves(record))
    *above, last = paths[number * len(paths) // EDITS]
    inner = record
    for key in above:
        inner = inner[key]
    inner[last] = edited(inner[last]) if how == "edited" else float("nan")
    file.write_text(json.dumps(record, indent=1))
    done = attempt(*command.split(), unwanted=("out.md", "out.html", "out.csv"))
    assert file.name in done.err


STRANGE = {
    "script": "<script>alert(1)</script>",
    "image": "<img src=x onerror=alert(1)>",
    "link": "[x](javascript:alert(1))",
    "lines": "a\n\n# b\r\nc",
    "cell": "a | b || c",
    "formula": "=1+1",
    "plus": "+1",
    "minus": "-1",
    "at": "@SUM(1)",
    "tab": "\t=1",
    "escape": "\x1b[31mred\x1b]0;title\x07",
    "markup": "x [red]y[/] [/bold]",
    "quote": "a\"b'c`d",
    "tex": "\\input{/etc/passwd} $ % & # _",
    "turned": "a\u202eb\u2066c",
    "long": "n" * 3000,
    "unseen": "a\x00\x08b",
    "other script": "日本 \u0663",
}
SAID = ("backbone", "task", "about")
SHOWN = {
    "markdown": "leaderboard --results strange --out out",
    "html": "leaderboard --results strange --html out",
    "csv": "leaderboard --results strange --csv out",
    "latex": "leaderboard --results strange --latex out",
    "terminal": "compare {} {}",
}


class Tags(HTMLParser):
    """Elements and the places that links lead to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [f"{tag} {name}={value}" for name, value in attrs if name.startswith("on")]
        self.found += [f"{value}" for name, value in attrs if name in ("href", "src") and value]


def said(place: Path, where: str, text: str) -> list[Path]:
    """Records of a whole run that say something strange, with what lies beside them."""
    from densebench.records.store import Companions, load_evidence, load_record, save_record

    file = record_of(place)
    record = load_record(file)
    data = record.model_dump()
    if where == "backbone":
        data["backbone"]["name"] = text
    elif where == "task":
        data["task"] = text
    else:
        data["backbone"]["weights"] = text
    changed = type(record).model_validate(data)
    companions = Companions(evidence=load_evidence(file, record))
    return [save_record(changed, place / "strange", companions)]


@pytest.mark.parametrize("shown", SHOWN)
@pytest.mark.parametrize("where", SAID)
@pytest.mark.parametrize("strange", STRANGE)
def test_what_is_made_of_strange_names(
    attempt: Callable, place: Path, strange: str, where: str, shown: str
) -> None:
    """Nothing runs, no cell is a formula, nothing but text goes to a terminal."""
    try:
        (file,) = said(place, where, STRANGE[strange])
    except Exception as error:  # a record cannot even be made of it
        assert type(error).__name__ in ("DensebenchError", "ValidationError", "OSError"), error
        return
    done = attempt(*[part.format(file) for part in SHOWN[shown].split()], may_work=True)
    assert "\x1b" not in done.out + done.err
    made = place / "out"
    if done.code or not made.is_file():
        return
    text = made.read_text(encoding="utf-8")
    if shown == "csv":
        cells = [cell for row in csv.reader(text.splitlines()) for cell in row]
        assert not [cell for cell in cells if cell[:1] in ("=", "@", "\t") or cell[:2] == "+1"]
    if shown == "markdown":
        assert "<script" not in text and "<img src=x" not in text
        assert "](javascript" not in text
    if shown == "html":
        tags = Tags()
        tags.feed(text)
        assert not [found for found in tags.found if "alert" in found or "javascript:" in found]
        assert "<script>alert" not in text


def picture(format_: str) -> Callable[[Path], object]:
    return lambda path: Image.new("RGB", (28, 28)).save(path, format_)


IN_PANELS: dict[str, Callable[[Path], object]] = {
    "link": lambda path: path.symlink_to("/etc/hostname"),
    "link to a picture": lambda path: path.symlink_to(path.parents[4] / "good.png"),
    "link above": lambda path: path.symlink_to("../../../../good.png"),
    "dangling": lambda path: path.symlink_to("nowhere"),
    "loop": lambda path: path.symlink_to(path.name),
    "zero": lambda path: path.symlink_to("/dev/zero"),
    "pipe": os.mkfifo,
    "folder": Path.mkdir,
    "empty": Path.touch,
    "text": lambda path: path.write_text("no picture"),
    "svg": lambda path: path.write_text("<svg xmlns='http://www.w3.org/2000/svg'/>"),
    "html": lambda path: path.write_text("<script>alert(1)</script>"),
    "eps": picture("EPS"),
    "gif": picture("GIF"),
    "other picture": picture("PNG"),
}


@pytest.mark.parametrize("kind", IN_PANELS)
@pytest.mark.parametrize("number", range(3))
def test_no_panel(attempt: Callable, place: Path, kind: str, number: int) -> None:
    """What lies in place of one picture of the panels is not brought into the page."""
    folder = next(place.glob("results/rgb_s14/*/*.panels"))
    pictures = sorted(path for path in folder.iterdir() if path.suffix != ".json")
    old = pictures[number % len(pictures)]
    old.unlink()
    IN_PANELS[kind](old)
    done = attempt("leaderboard", "--results", "results", "--html", "out", may_work=True)
    made = place / "out"
    assert done.code == 2 or "<script>alert" not in made.read_text()
    assert done.code == 2 or "left out" in done.err or old.name not in made.read_text(), done


PAGES = {
    "markdown": "leaderboard --results results --out",
    "readme": "leaderboard --results results --out",
    "html": "leaderboard --results results --html",
    "csv": "leaderboard --results results --csv",
    "latex": "leaderboard --results results --latex",
    "table": "reproduce neco-voc --dry-run --markdown",
}
MINE: dict[str, bytes] = {
    "text": b"# my own notes\n",
    "empty line": b"\n",
    "bytes": bytes(range(256)),
    "almost": b"Generated buy hand\n",
    "late": b"mine\n" * 200 + b"Generated by `densebench leaderboard`\n",
    "picture": b"\x89PNG\r\n\x1a\n",
    "lines of windows": b"# notes\r\n",
}


@pytest.mark.parametrize("mine", MINE)
@pytest.mark.parametrize("page", PAGES)
def test_a_file_of_somebody_elses_stays(
    attempt: Callable, place: Path, page: str, mine: str
) -> None:
    file = place / ("results/README.md" if page == "readme" else "mine")
    file.write_bytes(MINE[mine])
    attempt(*PAGES[page].split(), str(file))
    assert file.read_bytes() == MINE[mine]


FORMATS = {"markdown": "--out", "html": "--html", "csv": "--csv", "latex": "--latex"}
TWO = list(permutations(FORMATS, 2))
UNWRITABLE: dict[str, Callable[[Path], object]] = {
    "folder": Path.mkdir,
    "pipe": os.mkfifo,
    "below a file": lambda path: None,
    "mine": lambda path: path.write_bytes(b"my own notes"),
}


@pytest.mark.parametrize("kind", UNWRITABLE)
@pytest.mark.parametrize(("good", "bad"), TWO, ids=[f"{good}-{bad}" for good, bad in TWO])
def test_of_two_files_none_is_written_where_one_cannot_be(
    attempt: Callable, place: Path, good: str, bad: str, kind: str
) -> None:
    target = "good.png/bad" if kind == "below a file" else "bad"
    UNWRITABLE[kind](place / target)
    words = (FORMATS[good], "out", FORMATS[bad], target)
    attempt("leaderboard", "--results", "results", *words, unwanted=("out",))


def test_the_same_record_twice_is_one_run(attempt: Callable, place: Path) -> None:
    file = record_of(place)
    for name in ("again.json", "again.evidence.npz"):
        shutil.copy(file.with_name(name.replace("again", file.stem)), file.with_name(name))
    assert attempt(*BOARD.split(), may_work=True, unwanted=()).code in (0, 2)
