"""README.md and the pages of docs are code: commands parse, names exist, examples run."""

import ast
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args

import pytest
import typer

from densebench import cards
from densebench.cards.suites import suite_members
from densebench.cards.toml import tomllib
from densebench.cli import app
from densebench.cli.shared import key_value, names
from densebench.posttrain.recipe import load_recipe
from densebench.prepare.sources import official_table
from densebench.protocols import load_protocol, protocol_names, task_params

pytestmark = pytest.mark.usefixtures("own_places")

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")),
]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^(?:\S*/)?densebench$")
SHELL = ("", "bash")
PLAIN = "text"
# Of other programs than ours.
FOREIGN = {"--nproc-per-node", "--strict", "--only", "--tiny"}
SECONDS = 900
# Of this project's tests alone.
TESTS_OWN = {"DENSEBENCH_GPU_TESTS"}
# Its Python says again what another page's says.
SLOW_PYTHON = {"start"}
QUICK = {"hog_s14", "rgb_s14", "hog_mixer_s14", "mine.py:load", "scenes"}


@dataclass(frozen=True)
class Block:
    page: str
    language: str
    text: str


@dataclass(frozen=True)
class Line:
    """A call of the command; one in running text may leave arguments out."""

    page: str
    text: str
    arguments: tuple[str, ...]
    complete: bool


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@lru_cache
def text_of(page: Path) -> str:
    """A page whole; of a notebook the text, since its code is run elsewhere."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".md":
        return text
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown"]
    return "\n\n".join("".join(cell["source"]) for cell in cells)


def blocks() -> list[Block]:
    return [Block(name_of(p), *found) for p in PAGES for found in FENCE.findall(text_of(p))]


def lines() -> list[Line]:
    return [line for page in PAGES for line in lines_of(page)]


def lines_of(page: Path) -> list[Line]:
    rest = FENCE.sub("", text_of(page))
    shown = [
        line
        for language, text in FENCE.findall(text_of(page))
        if language in SHELL
        for line in text.replace("\\\n", " ").splitlines()
    ]
    shown += [line for line in rest.splitlines() if line.startswith("    ")]
    quoted = re.findall(r"`(densebench [^`]+)`", rest.replace("\n", " "))
    return [*_calls(page, shown, True), *_calls(page, quoted, False)]


def _calls(page: Path, texts: list[str], complete: bool) -> Iterator[Line]:
    for text in texts:
        if "densebench" not in text or text.lstrip().startswith(("#", "import", "from")):
            continue
        for part in text.strip().removeprefix("$ ").split("&&"):
            words = shlex.split(part, comments=True)
            start = next((i for i, word in enumerate(words) if COMMAND.match(word)), None)
            if start is not None and (start == 0 or words[start - 1] == "-m"):
                open_ended = "..." in words
                arguments = tuple(word for word in words[start + 1 :] if word != "...")
                yield Line(name_of(page), part.strip(), arguments, complete and not open_ended)


TEXT = "\n".join(text_of(page) for page in PAGES)
LINES = list({line.text: line for line in lines()}.values())


def parsed(line: Line) -> tuple[str, dict[str, Any]]:
    """The command of a line and its parameters; the command line's own parser refuses what is bad.

    A placeholder such as N stands for a number, FILE or NAME for themselves.
    """
    command, left, path = typer.main.get_command(app), list(line.arguments), []
    while left and left[0] in getattr(command, "commands", {}):
        path.append(left[0])
        command = command.commands[left.pop(0)]
    assert path, f"no command: {line.text}"
    if "--help" in left:
        return " ".join(path), {}
    numbered = ["1" if word == "N" else word for word in left]
    for word in filter(str.isupper, left):
        Path(word).touch()  # in the test's own folder, for options that want a file
    try:
        return " ".join(path), command.make_context(path[-1], numbered).params
    except Exception as error:
        if line.complete or type(error).__name__ not in ("MissingParameter", "NoArgsIsHelpError"):
            raise AssertionError(f"{line.text}: {getattr(error, 'message', error)}") from error
        return " ".join(path), {}


def introduced(name: str) -> bool:
    """Whether the pages themselves made the name, or the reader has to."""
    made = re.findall(r"--name (\w+)", TEXT) + re.findall(r'^name = "(\w+)"', TEXT, re.MULTILINE)
    return (
        name in made
        or name.isupper()
        or ".py:" in name
        or name.startswith(("timm:", "open_", "hf:"))
    )


def check_names(part: Any, given: Any) -> None:
    texts = given if isinstance(given, list | tuple) else [given]
    for text in filter(None, texts):
        for name in filter(None, str(text).split(",")):
            if not introduced(name):
                for found in names(part, name):
                    cards.card_path(part, found)


class TestCommands:
    @pytest.mark.parametrize("line", LINES, ids=lambda line: f"{line.page}: {line.text}")
    def test_it_parses_and_its_names_exist(self, line: Line) -> None:
        path, params = parsed(line)
        check_names("backbones", params.get("backbone"))
        check_names("tasks", params.get("task"))
        check_names("tasks", params.get("then"))
        if path == "compare":
            check_names("backbones", [params.get("first"), params.get("second")])
        if path.startswith("weights"):
            check_names("backbones", params.get("name"))
        if path == "show" and params and not introduced(params["name"]):
            assert any(params["name"] in cards.card_names(kind) for kind in _kinds())
        if path == "reproduce" and params and not introduced(params["suite"]):
            assert suite_members(params["suite"], "tasks")
        if path == "data prepare" and params:
            assert set(params["names"]) <= {*official_table().datasets, "subsets"}

    def test_every_override_is_a_parameter(self) -> None:
        known: set[str] = set()
        for name in protocol_names():
            known |= load_protocol(name).Params.model_fields.keys()
        for span in re.findall(r"`([^`]*--set [^`]*)`", TEXT):
            given = dict(key_value(text) for text in re.findall(r"--set (\S+)", span))
            of_recipes = {key: value for key, value in given.items() if "." in key}
            assert load_recipe("neco_dinov2", of_recipes)
            assert given.keys() - of_recipes.keys() <= known, span

    def test_every_command_of_the_tree_is_told(self) -> None:
        told = {parsed(line)[0].split()[0] for line in LINES}
        assert told >= typer.main.get_command(app).commands.keys()

    def test_every_option_in_the_text_is_one_of_ours(self) -> None:
        known = set(FOREIGN)
        for command in _leaves(typer.main.get_command(app)):
            known |= {name for option in command.params for name in option.opts}
        ours = re.sub(r"^.*\bpip install\b.*$", "", TEXT, flags=re.MULTILINE)
        assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", ours)) - {"--help"} <= known


def _kinds() -> Any:
    return get_args(cards.CardKind)


def _leaves(command: Any) -> Iterator[Any]:
    for below in getattr(command, "commands", {}).values():
        yield from _leaves(below)
    yield command


class TestText:
    @pytest.mark.parametrize("page", PAGES, ids=name_of)
    def test_blocks_of_a_language_are_of_it(self, page: Path) -> None:
        for language, text in FENCE.findall(text_of(page)):
            if language == "python":
                ast.parse(text)
            elif language == "toml":
                values = tomllib.loads(text)
                for model in card_models(values):
                    card = cards.validate(model, values, page.name)
                    if isinstance(card, cards.TaskCard):
                        task_params(card, page.name)
            else:
                assert language in (*SHELL, PLAIN), f"nothing checks blocks of {language}"

    def test_settings_are_read_somewhere(self) -> None:
        source = "".join(file.read_text() for file in (ROOT / "densebench").rglob("*.py"))
        told = set(re.findall(r"DENSEBENCH_[A-Z_]+", TEXT)) - TESTS_OWN
        for name in told:
            assert f'"{name}"' in source or f"{name}=" in source, name
        assert told >= {f"DENSEBENCH_{name}" for name in ("CACHE", "DATA", "HOME", "MEMORY")}

    def test_recipes_and_suites_have_their_names(self) -> None:
        for name in set(re.findall(r"`(neco_[a-z0-9_]+)`", TEXT)):
            kinds = [kind for kind in _kinds() if name in cards.card_names(kind)]
            assert kinds or introduced(name), name


def card_models(values: dict[str, Any]) -> list[Any]:
    """What a block of TOML on a page is a card of."""
    if "tasks" in values:
        return [cards.SuiteCard]
    if "protocol" in values:
        return [cards.TaskCard]
    return [cards.FAMILIES.load(values["source"]).card]


def _is_quick(line: Line) -> bool:
    """Whether a call needs neither data nor weights."""
    path, params = parsed(line)
    if not line.complete or not params:
        return False
    if path == "compare" and params["results"] is None:
        return False  # of the records that lie in this repository; see below
    if path in ("run", "compare", "reproduce", "sweep"):
        told = [params.get(key) for key in ("backbone", "task", "suite", "first", "second")]
        words = {word for text in filter(None, told) for word in str(text).split(",")}
        return all(word in QUICK or word.startswith("scenes_") for word in words)
    quick_ones = ("list", "show", "cache list", "sweep status", "sweep resume")
    return path in quick_ones or params.get("html") is not None


@pytest.mark.slow
def test_the_quick_examples_run_one_after_the_other(tmp_path: Path) -> None:
    for block in blocks():
        named = re.match(r"# (\w+\.(?:py|toml))\n", block.text)
        if named:
            (tmp_path / named[1]).write_text(block.text)
    quick = [line for line in LINES if _is_quick(line)]
    commands = {line.arguments[0] for line in quick}
    assert commands >= {"run", "compare", "leaderboard", "list", "show", "reproduce", "sweep"}
    for line in quick:
        print(line.text)
        call = [sys.executable, "-m", "densebench", *line.arguments]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            call,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        assert done.returncode == 0, (line.text, done.stderr)


@pytest.mark.parametrize("block", [b for b in blocks() if b.text.startswith("$ ")])
def test_what_a_command_prints_is_what_it_prints(block: Block) -> None:
    """From the records of this repository."""
    first, *told = block.text.splitlines()
    printed = printed_lines(first.removeprefix("$ "))
    missing = [line for line in told if line.strip() not in printed | {"...", ""}]
    assert not missing


@lru_cache
def printed_lines(command: str) -> frozenset[str]:
    call = [sys.executable, "-m", *shlex.split(command)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80"}
    done = subprocess.run(
        call, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return frozenset(line.strip() for line in done.stdout.splitlines())


WITH_PYTHON = [
    pytest.param(page, id=name_of(page), marks=[pytest.mark.slow] * (page.stem in SLOW_PYTHON))
    for page in PAGES
    if any(language == "python" for language, _ in FENCE.findall(text_of(page)))
]


@pytest.mark.parametrize("page", WITH_PYTHON)
def test_python_runs_twice(page: Path, tmp_path: Path) -> None:
    """In one interpreter, as in a notebook whose cells are run again."""
    python = [text for language, text in FENCE.findall(text_of(page)) if language == "python"]
    (tmp_path / "page.py").write_text("\n".join(python * 2))
    done = subprocess.run(
        [sys.executable, "page.py"],
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
